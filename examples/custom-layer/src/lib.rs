//! The layer `partner_key` for Ziggurat, and the program that has it.

mod keys;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use ziggurat::prelude::*;

use crate::keys::KeyFile;

/// Lets in whoever sends a known partner key, and tells the app whose it is.
///
/// Others are answered 401. The app finds the key's owner in `REMOTE_USER` (`AUTH_TYPE` is `PartnerKey`) and in a header; the key itself is not passed on.
/// The metric `partner_key_requests_total` counts who was let in and who was not.
///
/// ```json
/// { "layers": [{ "partner_key": { "keys": "keys", "except": ["/healthz"] } }], "app": { "wsgi": "whoami:app" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartnerKey {
    /// The file of keys: a line `owner:hash` for each, with the key's SHA-256 in hexadecimal. A changed file counts within a second; one that has
    /// become wrong is reported in the log, and the keys known before stay.
    keys: PathBuf,
    /// The header that carries the key.
    #[serde(default = "x_partner_key")]
    header: HeaderKey,
    /// The header that tells the app whose key it is. What a client sends in it never gets through.
    #[serde(default = "x_partner")]
    owner: HeaderKey,
    /// Paths that need no key, a health probe for instance.
    #[serde(default)]
    except: Vec<String>,
}

fn x_partner_key() -> HeaderKey {
    HeaderKey(HeaderName::from_static("x-partner-key"))
}

fn x_partner() -> HeaderKey {
    HeaderKey(HeaderName::from_static("x-partner"))
}

impl Middleware for PartnerKey {
    const NAME: &'static str = "partner_key";
    /// `{ "partner_key": "keys" }` is short for `{ "partner_key": { "keys": "keys" } }`.
    const SHORTHAND: Option<&'static str> = Some("keys");

    fn validate(&self, findings: &mut Findings) {
        if self.owner == self.header {
            findings.push(Finding::new("the owner would be told in the header of the key").at("owner").hint("choose another header"));
        }
        for (nth, path) in self.except.iter().enumerate().filter(|(_, path)| !path.starts_with('/')) {
            findings.push(Finding::new(format!("`{path}` is not a path")).at("except").at(nth).hint("a path begins with `/`"));
        }
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let keys = KeyFile::open(context.resolve(&self.keys)).map_err(|finding| finding.at("keys"))?;
        let gate = Arc::new(Gate { keys, options: self, known: Counter::default(), unknown: Counter::default() });

        let (figures, place) = (Arc::clone(&gate), context.place().clone());
        context.on_scrape(move |metrics| {
            let family = metrics.counter("partner_key_requests_total", "Requests by whether their partner key was known.");
            family.sample(&[("place", place.as_str()), ("key", "known")], &figures.known);
            family.sample(&[("place", place.as_str()), ("key", "unknown")], &figures.unknown);
        });

        // One closure for the way down, and one for the way up: outer layers, the access log for one, learn who it was from the response.
        Ok(around(move |request: &mut Request| {
            let owner = gate.admit(request)?;
            Ok(move |mut response: Response| {
                if let Some(owner) = owner {
                    response.extensions_mut().insert(owner);
                }
                response
            })
        }))
    }
}

/// What decides about every request.
struct Gate {
    keys: KeyFile,
    options: PartnerKey,
    known: Counter,
    unknown: Counter,
}

impl Gate {
    /// Tells the app whose key the request carries; nobody's where the path needs none.
    fn admit(&self, request: &mut Request) -> Result<Option<RemoteUser>, Problem> {
        let needs_none = self.options.except.iter().any(|path| path == request.uri().path());
        let headers = request.headers_mut();
        headers.remove(&self.options.owner.0);
        let mut keys = headers.get_all(&self.options.header.0).iter();
        let owner = match (keys.next(), keys.next()) {
            (Some(key), None) => self.keys.owner(key.as_bytes()),
            _ => None,
        };
        headers.remove(&self.options.header.0);
        let Some(owner) = owner else {
            return if needs_none { Ok(None) } else { Err(self.refuse()) };
        };
        self.known.add(1);
        headers.insert(self.options.owner.0.clone(), owner.header);
        let owner = RemoteUser { user: owner.name, auth_type: "PartnerKey".into() };
        request.extensions_mut().insert(owner.clone());
        Ok(Some(owner))
    }

    fn refuse(&self) -> Problem {
        self.unknown.add(1);
        // A 401 names the scheme that is wanted (RFC 9110 section 15.5.2).
        Problem::new(StatusCode::UNAUTHORIZED)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("PartnerKey"))
            .detail(format!("a known key is needed in the header `{}`", self.options.header))
    }
}

/// Ziggurat with the layers of this crate.
pub fn program() -> Ziggurat {
    Ziggurat::new().layer::<PartnerKey>()
}
