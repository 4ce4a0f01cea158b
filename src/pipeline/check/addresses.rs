//! Addresses of `listen` that cannot be bound beside each other.

use std::net::IpAddr;

use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{File, ListenEntry};
use crate::server::Address;

pub(super) fn check(file: &File) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for (at, ListenEntry { listen, span, .. }) in file.listen.iter().enumerate() {
        let overlapping = file.listen[..at].iter().find(|earlier| overlap(&earlier.listen.address, &listen.address));
        let Some(ListenEntry { listen: earlier, span: first, .. }) = overlapping else { continue };
        let (message, hint) = if earlier.address == listen.address {
            (format!("`{listen}` is listened on twice"), "keep one of them")
        } else {
            (
                format!("`{earlier}` takes `{listen}` too"),
                "the address of every interface includes the others with its port: keep one of them",
            )
        };
        findings.push(
            Diagnostic::error(Id::InvalidValue, message, span.clone())
                .label("cannot be bound")
                .related(first.clone(), "the first one")
                .hint(hint),
        );
    }
    findings
}

/// Whether one of the sockets keeps the other from being bound. Port 0 is a different port each time.
fn overlap(one: &Address, other: &Address) -> bool {
    let (Address::Tcp { host: one, port }, Address::Tcp { host: other, port: other_port }) = (one, other) else { return one == other };
    *port != 0
        && port == other_port
        && (one == other || covers(one.as_deref(), other.as_deref()) || covers(other.as_deref(), one.as_deref()))
}

/// Whether `all` means every interface of the family of `one`. A name is not resolved here.
fn covers(all: Option<&str>, one: Option<&str>) -> bool {
    let ip = |host: &str| host.parse::<IpAddr>().ok();
    match (all, one) {
        (None, None) => true,
        (None, Some(one)) => ip(one).is_some(),
        (Some(all), Some(one)) => {
            ip(all).is_some_and(|all| all.is_unspecified() && ip(one).is_some_and(|one| one.is_ipv4() == all.is_ipv4()))
        }
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_where_the_system_refuses_the_second() {
        let overlap = |one: &str, other: &str| overlap(&one.parse().unwrap(), &other.parse().unwrap());
        for (one, other) in [
            (":8000", "127.0.0.1:8000"),
            ("0.0.0.0:80", "10.0.0.1:80"),
            (":80", "0.0.0.0:80"),
            ("localhost:80", "localhost:80"),
            ("unix:a", "unix:a"),
            ("fd:3", "fd:3"),
        ] {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        for (one, other) in [
            (":0", ":0"),
            (":80", ":81"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("0.0.0.0:80", "[::1]:80"),
            ("unix:a", "unix:b"),
            ("fd:3", "fd:4"),
        ] {
            assert!(!overlap(one, other), "{one} {other}");
        }
    }
}
