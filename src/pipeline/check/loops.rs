//! Proxies and gateways that send requests back to an address that the file itself listens on.

use std::net::IpAddr;

use crate::apps::gateway;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{Event, File, Part};
use crate::pipeline::tree::{Node, Value};
use crate::server::{Address, Protocol};
use crate::upstream::{Host, Target};

/// Findings about every `proxy`, `fastcgi`, `scgi` and `uwsgi` of the file. Other names of this machine than `localhost` are not known.
pub(super) fn check(file: &File) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for stack in file.stacks() {
        stack.walk(|event, _| {
            if let Event::App(app) = event
                && let Some(protocol) = protocol(app.kind.name)
            {
                findings.extend(servers(app).filter_map(|server| own_address(file, server, protocol)));
            }
        });
    }
    findings
}

/// The protocol in which an app of this kind asks its servers.
fn protocol(kind: &str) -> Option<Protocol> {
    match kind {
        "proxy" => Some(Protocol::Http),
        "fastcgi" => Some(Protocol::FastCgi),
        "scgi" => Some(Protocol::Scgi),
        "uwsgi" => Some(Protocol::Uwsgi),
        _ => None,
    }
}

/// The values that name the servers of a proxy.
fn servers(proxy: &Part) -> impl Iterator<Item = &Node> {
    let to = option(&proxy.options, "to");
    let list = match to.map(|to| (&to.value, to)) {
        Some((Value::Array(items), _)) => items.as_slice(),
        Some((_, one)) => std::slice::from_ref(one),
        None => &[],
    };
    list.iter().filter_map(|server| option(server, "at").or(Some(server)))
}

fn option<'a>(options: &'a Node, name: &str) -> Option<&'a Node> {
    let Value::Object(entries) = &options.value else { return None };
    entries.iter().find(|entry| entry.key == name).map(|entry| &entry.value)
}

fn own_address(file: &File, server: &Node, protocol: Protocol) -> Option<Diagnostic> {
    let Value::String(text) = &server.value else { return None };
    let target = if protocol == Protocol::Http { text.parse::<Target>().ok()? } else { gateway::target(text)? };
    // What speaks another protocol refuses the request.
    let mut own = file.listen.iter().filter(|entry| entry.listen.protocol == protocol);
    let span = &own.find(|entry| is_reached(&entry.listen.address, &target.host))?.span;
    let finding = Diagnostic::error(Id::ProxyLoop, "the proxy sends requests back to this server", server.span.clone());
    Some(finding.related(span.clone(), "the file listens on it").hint("name the address of the other server, or listen on another port"))
}

/// Whether a connection to `host` is accepted at `address`.
fn is_reached(address: &Address, host: &Host) -> bool {
    match (address, host) {
        (Address::Unix(own), Host::Unix(path)) => own.components().eq(path.components()),
        (Address::Tcp { host: own, port }, Host::Ip(to)) => *port == to.port() && *port != 0 && is_own(own.as_deref(), to.ip()),
        (Address::Tcp { host: own, port }, Host::Name(name, to)) => {
            let is_same = own.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name));
            *port == *to && (is_same || is_localhost(name) && LOOPBACK.iter().any(|ip| is_own(own.as_deref(), *ip)))
        }
        _ => false,
    }
}

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];

/// Whether a socket at the host `own` accepts connections to `ip`. `None` is every interface.
fn is_own(own: Option<&str>, ip: IpAddr) -> bool {
    // A connection to the unspecified address reaches this machine, by its loopback address.
    let ip = match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => LOOPBACK[0],
        IpAddr::V6(v6) if v6.is_unspecified() => LOOPBACK[1],
        ip => ip,
    };
    let Some(own) = own else { return ip.is_loopback() };
    match own.parse::<IpAddr>() {
        Ok(own) if own.is_unspecified() => ip.is_loopback() && own.is_ipv4() == ip.is_ipv4(),
        Ok(own) => own == ip,
        Err(_) => is_localhost(own) && LOOPBACK.contains(&ip),
    }
}

fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pipeline::Pipeline;

    #[test]
    fn an_app_asks_its_own_listener_where_both_speak_the_same_protocol() {
        let is_loop = |listen: &str, app: &str| {
            let text = format!(r#"{{ "listen": [{listen}], "app": {app} }}"#);
            let read = Pipeline::from_text("pipeline.json", &text, Path::new("/"), &crate::builtin(), &|_| None);
            read.is_err_and(|report| report.to_json()[0]["id"] == "proxy-loop")
        };
        for protocol in ["fastcgi", "scgi", "uwsgi"] {
            let listen = format!(r#"{{ "at": "127.0.0.1:9000", "protocol": "{protocol}", "trust": "127.0.0.1" }}"#);
            assert!(is_loop(&listen, &format!(r#"{{ "{protocol}": "127.0.0.1:9000" }}"#)), "{protocol}");
            assert!(is_loop(&listen, &format!(r#"{{ "{protocol}": {{ "to": ["10.0.0.5:9000", "localhost:9000"] }} }}"#)), "{protocol}");
            assert!(!is_loop(&listen, &format!(r#"{{ "{protocol}": "127.0.0.1:9001" }}"#)), "{protocol}");
            assert!(!is_loop(&listen, r#"{ "proxy": "http://127.0.0.1:9000" }"#), "{protocol}");
            let socket = format!(r#"{{ "at": "unix:run/app.sock", "protocol": "{protocol}" }}"#);
            assert!(is_loop(&socket, &format!(r#"{{ "{protocol}": "unix:run/app.sock" }}"#)), "{protocol}");
        }
        assert!(!is_loop(r#""127.0.0.1:9000""#, r#"{ "uwsgi": "127.0.0.1:9000" }"#));
        assert!(is_loop(r#""127.0.0.1:9000""#, r#"{ "proxy": "http://127.0.0.1:9000" }"#));
    }

    #[test]
    fn an_address_is_its_own_by_any_name_that_is_known() {
        for (listen, to, is_loop) in [
            ("127.0.0.1:8000", "http://127.0.0.1:8000/v2", true),
            ("127.0.0.1:8000", "https://127.0.0.1:8000", true),
            ("127.0.0.1:8000", "http://localhost:8000", true),
            ("127.0.0.1:8000", "http://0.0.0.0:8000", true),
            ("127.0.0.1:8000", "http://127.0.0.1:8001", false),
            ("127.0.0.1:8000", "http://127.0.0.2:8000", false),
            ("127.0.0.1:8000", "http://[::1]:8000", false),
            ("127.0.0.1:80", "http://LOCALHOST", true),
            ("localhost:8000", "http://[::1]:8000", true),
            ("localhost:8000", "http://app:8000", false),
            ("app:8000", "http://App:8000", true),
            (":8000", "http://127.0.0.1:8000", true),
            (":8000", "http://[::1]:8000", true),
            (":8000", "http://10.0.0.5:8000", false),
            ("0.0.0.0:8000", "http://127.0.0.9:8000", true),
            ("0.0.0.0:8000", "http://[::1]:8000", false),
            ("[::]:8000", "http://localhost:8000", true),
            ("10.0.0.5:8000", "http://10.0.0.5:8000", true),
            ("10.0.0.5:8000", "http://localhost:8000", false),
            ("unix:run/site.sock", "unix:run/./site.sock", true),
            ("unix:run/site.sock", "unix:run/app.sock", false),
            ("systemd", "http://127.0.0.1:8000", false),
        ] {
            let (address, target): (Address, Target) = (listen.parse().unwrap(), to.parse().unwrap());
            assert_eq!(is_reached(&address, &target.host), is_loop, "{listen} {to}");
        }
    }
}
