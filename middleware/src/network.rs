//! Networks of addresses.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::options::from_text;

/// A network such as `10.0.0.0/8`, or a single address.
///
/// An IPv4 address that a dual-stack socket wrote as IPv6 (`::ffff:10.0.0.1`, RFC 4291 section 2.5.5.2) is the IPv4 address, in a network, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Those of all addresses, one for each family.
    pub(crate) const ALL: [Self; 2] =
        [Self(IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0))), Self(IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)))];

    /// Its first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.0.addr()
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

/// All addresses of IPv4, and the IPv6 addresses that are routed on the Internet (RFC 4291 section 2.4).
const INTERNET: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3)),
];

/// Whether rules let in everybody but those whom they name: at least half of the Internet, by IPv4 or by IPv6. Each rule is a network and whether it is let in, and the first
/// rule with an address decides about it. An address without a rule is not let in.
#[must_use]
pub fn lets_everybody_in(rules: &[(Network, bool)]) -> bool {
    let rules: Vec<_> = rules.iter().collect();
    INTERNET.iter().any(|internet| share(&rules, internet) >= 0.5)
}

/// Which part of a network is let in.
fn share(rules: &[&(Network, bool)], within: &IpNet) -> f64 {
    let meets = |net: &IpNet| net.contains(within) || within.contains(net);
    let about: Vec<_> = rules.iter().copied().filter(|(net, _)| meets(&net.0)).collect();
    match about.first() {
        Some((net, is_let_in)) if net.0.contains(within) => f64::from(u8::from(*is_let_in)),
        None => 0.0,
        // A rule about a part of it.
        Some(_) => within.subnets(within.prefix_len() + 1).into_iter().flatten().map(|half| share(&about, &half) / 2.0).sum(),
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
    #[test]
    fn rules_that_leave_out_less_than_half_of_the_internet_let_everybody_in() {
        let lets =
            |rules: &[(&str, bool)]| lets_everybody_in(&rules.iter().map(|(net, allows)| (network(net), *allows)).collect::<Vec<_>>());
        for rules in [
            &[("0.0.0.0/0", true)][..],
            &[("::/0", true)],
            &[("2000::/3", true)],
            &[("0.0.0.0/1", true), ("128.0.0.0/1", true)],
            &[("10.0.0.7", false), ("10.0.0.0/8", false), ("0.0.0.0/0", true)],
            &[("2001:db8::7", false), ("::/0", true)],
            &[("10.0.0.0/8", true), ("0.0.0.0/0", false), ("::/0", true)],
        ] {
            assert!(lets(rules), "{rules:?}");
        }
        for rules in [
            &[][..],
            &[("10.0.0.0/8", true), ("fd00::/8", true)],
            &[("0.0.0.0/0", false), ("::/0", false), ("0.0.0.0/0", true)],
            &[("0.0.0.0/1", false), ("128.0.0.0/1", false), ("0.0.0.0/0", true)],
            &[("192.0.2.0/24", true), ("0.0.0.0/2", true)],
        ] {
            assert!(!lets(rules), "{rules:?}");
        }
    }
}
