//! Names of entries in a store.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::Place;
use crate::request_key::RequestKey;

/// The name of an entry: the place that it belongs to, and what tells the entries of that place apart. Processes with the same file have the same places.
///
/// ```
/// use ziggurat_middleware::Place;
/// use ziggurat_middleware::store::StoreKey;
///
/// assert_eq!(StoreKey::new(&Place::new("login"), "7f3a").to_string(), "login:7f3a");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoreKey(String);

impl StoreKey {
    /// The entry of `place` with this name. What is secret or long is given as a digest.
    pub fn new(place: &Place, name: impl fmt::Display) -> Self {
        Self(format!("{place}:{name}"))
    }

    /// The entry of requests with this key, by a digest: the store learns no addresses, cookies or keys, and a name is never long.
    #[must_use]
    pub fn of_requests(place: &Place, key: RequestKey<'_>) -> Self {
        let mut digest = Sha256::new();
        key.octets(|octets| digest.update(octets));
        let digest = digest.finalize();
        // Half of it: nobody finds two keys with the same 128 bits.
        let (half, _) = digest.split_at(16);
        Self::new(place, half.iter().map(|octet| format!("{octet:02x}")).collect::<String>())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;
    use crate::request_key::KeyPart;
    use crate::{Body, request};

    fn key(value: &'static str) -> StoreKey {
        let parts = ["header:x-api-key".parse::<KeyPart>().unwrap(), KeyPart::Path];
        let mut request = request(Method::GET, "/a", Body::empty());
        request.headers_mut().insert("x-api-key", HeaderValue::from_static(value));
        StoreKey::of_requests(&Place::new("api"), RequestKey::new(&parts, &request))
    }

    #[test]
    fn all_machines_and_releases_know_a_key_by_the_same_name_which_tells_nothing() {
        // Another value would reset every limit while machines are updated one by one.
        assert_eq!(key("s3cr3t").as_str(), "api:6eb55f4bf6106600ae4a8ed4a29df700");
        assert_ne!(key("s3cr3t"), key("other"));
    }
}
