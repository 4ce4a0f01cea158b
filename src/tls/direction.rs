//! Whether a request belongs on the connection that it comes on.

use super::certificate::Certificate;

impl Certificate {
    /// Whether a request for the host of `authority` does not belong on a connection that has begun with this certificate, and whose client has asked TLS for `name`
    /// (RFC 9110 section 15.5.20):
    ///
    /// - Its host has another policy about certificates of clients, by `policy_of`, than the connection began under.
    /// - Its host is not the one that the client has asked for, and the certificate is not for it. A client that has not named a host to TLS, as a health check by
    ///   address, would get the same certificate again, and is served.
    pub(crate) fn misdirects(&self, authority: &str, name: Option<&str>, policy_of: impl FnOnce(&str) -> usize) -> bool {
        let host = without_port(authority).trim_end_matches('.');
        if policy_of(host) != self.policy() {
            return true;
        }
        name.is_some_and(|name| !host.eq_ignore_ascii_case(name) && !self.covers(&host.to_ascii_lowercase()))
    }
}

/// The host of an authority.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_not_part_of_the_host() {
        for (authority, host) in
            [("a.test", "a.test"), ("a.test:8443", "a.test"), ("[::1]", "[::1]"), ("[::1]:443", "[::1]"), ("a.test:", "a.test")]
        {
            assert_eq!(without_port(authority), host);
        }
    }
}
