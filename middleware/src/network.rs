//! Networks of addresses.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::options::from_text;

/// A network such as `10.0.0.0/8`, or a single address.
///
/// An IPv4 address that a dual-stack socket wrote as IPv6 (`::ffff:10.0.0.1`, RFC 4291 section 2.5.5.2) is the IPv4 address, in a network, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether every address of a family is in it.
    pub(crate) fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }

    /// Whether this address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether all addresses of the other one are in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let net: Result<IpNet, _> = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address.to_canonical())));
        let net = net.map_err(|_| {
            format!(
                "`{}` is not a network\nhint: write an address such as `127.0.0.1`, or a network such as `10.0.0.0/8`",
                text.escape_debug()
            )
        })?;
        if net.trunc() != net {
            return Err(format!("`{text}` is an address inside a network\nhint: write `{}` or `{}`", net.trunc(), net.addr()));
        }
        Ok(Self(canonical(net)))
    }
}

fn canonical(net: IpNet) -> IpNet {
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(96)) {
        (address @ IpAddr::V4(_), Some(length)) if net.addr().is_ipv6() => IpNet::new(address, length).unwrap_or(net),
        _ => net,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a network such as \"10.0.0.0/8\"")
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["10.0.0.0/8", "fd00::/8", "127.0.0.1"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn networks_and_addresses_are_read_and_printed() {
        for text in ["127.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "0.0.0.0/0"] {
            assert_eq!(network(text).to_string(), text);
        }
        for (text, canonical) in [("::ffff:10.0.0.0/104", "10.0.0.0/8"), ("::ffff:10.0.0.1", "10.0.0.1"), ("::/0", "::/0")] {
            assert_eq!(network(text).to_string(), canonical);
        }
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0", "*", "10.0.0.0/8 "] {
            assert!(text.parse::<Network>().unwrap_err().contains("is not a network"), "{text}");
        }
        assert!("10.1.2.3/8".parse::<Network>().unwrap_err().contains("write `10.0.0.0/8` or `10.1.2.3`"));
    }

    #[test]
    fn an_ipv4_address_written_as_ipv6_is_the_same_address() {
        for text in ["10.0.0.0/8", "::ffff:10.0.0.0/104"] {
            assert!(network(text).contains("::ffff:10.1.2.3".parse().unwrap()) && network(text).contains("10.1.2.3".parse().unwrap()));
            assert!(!network(text).contains("::ffff:11.1.2.3".parse().unwrap()));
        }
        assert!(network("10.0.0.0/8").covers(&network("10.1.0.0/16")) && !network("10.1.0.0/16").covers(&network("10.0.0.0/8")));
    }
}
