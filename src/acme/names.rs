//! Which names an authority certifies: the rules that can be told without asking it.

use std::net::IpAddr;

/// Why there can be no certificate for a name, and what to do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unobtainable {
    pub(crate) reason: &'static str,
    pub(crate) hint: &'static str,
}

/// Names that do not exist in the public DNS (RFC 6761, RFC 6762, RFC 8375, and those that ICANN has set aside).
const PRIVATE_SUFFIXES: [&str; 15] = [
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "test",
    "example",
    "invalid",
    "onion",
    "home.arpa",
    "alt",
];

/// What stands against a certificate for this name. `is_public` is whether the authority is one that everybody trusts: those certify only names of the public DNS.
pub(crate) fn unobtainable(name: &str, is_public: bool) -> Option<Unobtainable> {
    let no = |reason, hint| Some(Unobtainable { reason, hint });
    if name.starts_with("*.") {
        return no(
            "a certificate for a wildcard takes the challenge DNS-01, which this server cannot meet",
            "list the names one by one, or get the certificate with another client and name its files in `cert` and `key`",
        );
    }
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return no("this is an IP address, and certificates are ordered for names", "give the server a name in the DNS");
    }
    if name.contains("://") || name.contains('/') {
        return no("this is a URL, not a name", "write the host alone, as in `www.example.com`");
    }
    if name.contains(':') {
        return no("this has a port, and certificates are for names", "write the host alone, as in `www.example.com`");
    }
    if !name.is_ascii() {
        return no("this is not ASCII", "write the name as the DNS has it, as in `xn--bcher-kva.example`");
    }
    if !is_dns_name(name) {
        return no(
            "this is not a name of the DNS",
            "labels of letters, digits and hyphens, of at most 63 characters each and 253 in all, without a dot at the end",
        );
    }
    if !is_public {
        return None;
    }
    if !name.contains('.') {
        return no("a public authority certifies no name without a dot", "write the full name, or name a private authority in `directory`");
    }
    let is_below = |suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if PRIVATE_SUFFIXES.into_iter().any(is_below) || name.ends_with(".in-addr.arpa") || name.ends_with(".ip6.arpa") {
        return no(
            "this name is not in the public DNS, so no public authority can see that it is yours",
            "name a private authority in `directory`, or make a certificate for development with `ziggurat certs --self-signed`",
        );
    }
    None
}

/// Lower case: the readers of names make them so.
fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253
        && name.split('.').all(is_label)
        && !name.split('.').next_back().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_the_public_dns_are_obtainable() {
        for name in ["example.com", "www.example.com", "xn--bcher-kva.de", "a-b.co.uk", "1.example.com", "latest.dev"] {
            assert_eq!(unobtainable(name, true), None, "{name}");
        }
    }

    #[test]
    fn each_name_that_cannot_be_had_has_its_reason() {
        for (name, reason) in [
            ("*.example.com", "wildcard"),
            ("192.0.2.1", "IP address"),
            ("[2001:db8::1]", "IP address"),
            ("2001:db8::1", "IP address"),
            ("https://example.com", "URL"),
            ("example.com:443", "port"),
            ("b\u{fc}cher.example", "ASCII"),
            ("exa mple.com", "DNS"),
            ("example.com.", "DNS"),
            ("", "DNS"),
            ("a..b", "DNS"),
            ("-a.com", "DNS"),
            ("a_b.com", "DNS"),
            ("1.2.3.400", "DNS"),
            ("localhost", "dot"),
            ("intranet", "dot"),
            ("printer.local", "public DNS"),
            ("db.internal", "public DNS"),
            ("a.test", "public DNS"),
            ("router.home.arpa", "public DNS"),
        ] {
            assert!(unobtainable(name, true).is_some_and(|found| found.reason.contains(reason)), "{name}: {:?}", unobtainable(name, true));
        }
    }

    #[test]
    fn a_private_authority_certifies_internal_names() {
        for name in ["localhost", "db.internal", "printer.local", "intranet"] {
            assert_eq!(unobtainable(name, false), None, "{name}");
        }
        for name in ["*.internal", "10.0.0.1", "a b"] {
            assert!(unobtainable(name, false).is_some(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_that_can_be_had_is_a_sound_file_name(name: String) {
            if unobtainable(&name, false).is_none() {
                prop_assert!(!name.contains(['/', '\0']) && name != "." && name != ".." && !name.is_empty() && name.len() <= 253);
            }
        }
    }
}
