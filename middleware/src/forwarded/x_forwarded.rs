//! `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `-Prefix`: lists to which each proxy appends.

use http::{HeaderMap, HeaderName};

use super::chain::{follow, scheme};
use super::node::{self, Node};
use super::trust::Trust;
use super::{Claim, Malformed, prefix};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

pub(super) fn read(headers: &HeaderMap, trust: &Trust) -> Result<Claim, Malformed> {
    let hops = from_right(headers, FOR).map(|hop| Node::parse(hop).ok_or(Malformed("X-Forwarded-For")));
    let end = follow(hops, trust)?;
    let at_end = |name| {
        let mut values = from_right(headers, name);
        // A proxy that overwrites the header instead of adding to it leaves fewer values than hops.
        (0..=end.distance).map_while(|_| values.next()).last()
    };
    Ok(Claim {
        client: end.client,
        scheme: parsed("X-Forwarded-Proto", at_end(PROTO), scheme)?,
        host: parsed("X-Forwarded-Host", at_end(HOST), node::host)?,
        port: parsed("X-Forwarded-Port", at_end(PORT), node::port)?,
        prefix: parsed("X-Forwarded-Prefix", at_end(PREFIX), prefix::parse)?,
    })
}

/// The values of all lines of a list, from the right, without empty ones (RFC 9110 section 5.6.1.2).
fn from_right(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).iter().rev();
    let values = lines.flat_map(|line| line.as_bytes().rsplit(|octet| *octet == b','));
    values.map(<[u8]>::trim_ascii).filter(|value| !value.is_empty())
}

fn parsed<T>(name: &'static str, value: Option<&[u8]>, parse: fn(&[u8]) -> Option<T>) -> Result<Option<T>, Malformed> {
    value.map(|value| parse(value).ok_or(Malformed(name))).transpose()
}
