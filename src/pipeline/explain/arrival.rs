//! From the connection to the stack: the listener that takes the URL, and what the server does with every request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::uri::{PathAndQuery, Scheme as UriScheme};
use http::{HeaderMap, Uri};
use ziggurat_middleware::forwarded::is_claim;
use ziggurat_middleware::{Body, ClientCertificate, ConnectionInfo, Problem, Request, RequestSummary, Scheme, TlsInfo};

use super::question::From;
use super::{Hop, Question, Role};
use crate::pipeline::Pipeline;
use crate::server::{Address, Listen, Protocol, vet};
use crate::tls::{Handshake, TlsOptions};

/// A request that has come to the stack, or was refused before.
pub(super) struct Arrival {
    pub(super) hops: Vec<Hop>,
    pub(super) request: Request,
    /// Method and URL, as they are shown.
    pub(super) shown: String,
    /// The peer of the connection.
    pub(super) from: String,
    pub(super) refused: Option<Problem>,
}

/// A listener that the request comes to.
struct Entrance<'a> {
    listen: &'a Listen,
    line: Option<usize>,
    tls: Option<&'a TlsOptions>,
}

impl Arrival {
    pub(super) fn new(pipeline: &Pipeline, question: &Question) -> Result<Self, String> {
        let (method, uri) = (question.method()?, question.uri()?);
        let entrance = Entrance::of(pipeline, &uri);
        let peer = question.from()?.unwrap_or_else(|| entrance.peer());
        let headers = question.headers(uri.authority().map(|authority| authority.as_str()))?;
        // The TLS of a front server is not that of its client.
        let own_tls = entrance.tls.filter(|_| !entrance.is_gateway());
        let handshake = own_tls.map(|options| handshake(options, pipeline, question, &uri));
        let mut hops = vec![entrance.hop(&uri, question.client_cert.is_some(), handshake.as_ref())];
        let mut server = Hop::new(Role::Server, "server");
        let mut parts = Request::new(Body::empty()).into_parts().0;
        parts.method = method;
        parts.uri = Uri::from(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        parts.headers = headers;
        let sent = parts.headers.clone();
        let shown = format!("{} {}", parts.method, question.url);
        let is_misdirected = |host: &str| handshake.as_ref().is_some_and(|handshake| handshake.is_misdirected(host));
        let refused = vet(&mut parts, pipeline.server(), !entrance.is_gateway(), is_misdirected).err();
        match &refused {
            Some(problem) => {
                server.notes.push(problem.shown().to_owned());
                server.answers = true;
                server.status = Some(problem.status().as_u16());
            }
            None => server.notes = normalized(&sent, &parts.headers, pipeline),
        }
        hops.push(server);
        parts.extensions.insert(entrance.connection(peer, &uri));
        if let Some(handshake) = handshake {
            parts.extensions.insert(tls(handshake.client, handshake.name));
            if let Some(user) = handshake.user {
                parts.extensions.insert(user);
            }
        } else if entrance.is_gateway() && question.client_cert.is_some() {
            parts.extensions.insert(tls(certificate(question), None));
        }
        let summary = RequestSummary::new(&parts.method, &parts.uri, &parts.extensions);
        parts.extensions.insert(summary);
        Ok(Self { hops, request: Request::from_parts(parts, Body::empty()), shown, from: peer.to_string(), refused })
    }
}

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix => f.write_str("a Unix socket"),
        }
    }
}

impl<'a> Entrance<'a> {
    /// The listener that fits the URL best; the first one of the file where several do.
    fn of(pipeline: &'a Pipeline, uri: &Uri) -> Self {
        let entries = pipeline.file.listen.iter().map(Some).chain(std::iter::repeat(None));
        let entrances = pipeline.listen.iter().zip(entries).map(|(listen, entry)| Self {
            listen,
            line: entry.filter(|_| !pipeline.is_elsewhere).map(|entry| pipeline.source.position(entry.span.start).0),
            tls: entry.and_then(|entry| entry.tls.as_ref()).map(|tls| &tls.value),
        });
        let wants_tls = is_https(uri);
        let fit = |entrance: &Self| {
            let is_port = entrance.port().is_some_and(|port| Some(port) == port_of(uri));
            let has_scheme = entrance.is_gateway() || wants_tls.is_none_or(|wants| wants == entrance.tls.is_some());
            (has_scheme, is_port, !entrance.is_gateway())
        };
        let best = entrances.enumerate().max_by_key(|(nth, entrance)| (fit(entrance), std::cmp::Reverse(*nth)));
        best.map_or_else(|| Self { listen: &pipeline.listen[0], line: None, tls: None }, |(_, entrance)| entrance)
    }

    const fn port(&self) -> Option<u16> {
        match self.listen.address {
            Address::Tcp { port, .. } => Some(port),
            _ => None,
        }
    }

    /// Whether front servers connect here. They say who their client is, and by which scheme it comes.
    fn is_gateway(&self) -> bool {
        self.listen.protocol != Protocol::Http
    }

    /// A client of this machine.
    fn peer(&self) -> From {
        match self.listen.address {
            Address::Unix(_) if !self.is_gateway() => From::Unix,
            _ => From::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        }
    }

    fn hop(&self, uri: &Uri, shows_certificate: bool, handshake: Option<&Handshake>) -> Hop {
        let mut hop = Hop::new(Role::Listener, self.listen.to_string());
        hop.line = self.line;
        let protocol = match self.listen.protocol {
            Protocol::Http => {
                let versions = self.listen.http.protocols().into_iter().map(|version| if version == b"h2" { "HTTP/2" } else { "HTTP/1.1" });
                let versions = versions.chain(self.listen.http.has_http3().then_some("HTTP/3"));
                versions.collect::<Vec<_>>().join(", ")
            }
            _ => format!("{} from a front server, which says who the client is, and by which scheme it comes", self.listen.scheme()),
        };
        hop.notes.push(format!("{}, {protocol}", if self.tls.is_some() { "TLS" } else { "clear text" }));
        if self.is_gateway() {
            return hop;
        }
        if self.listen.transport.proxy_protocol.is_some() {
            hop.notes.push("the header of the PROXY protocol says who the client is".to_owned());
        }
        match is_https(uri) {
            Some(true) if self.tls.is_none() => hop
                .notes
                .push("the URL is https and no listener has `tls`: the request comes as from a proxy in front that ends TLS".to_owned()),
            Some(false) if self.tls.is_some() => {
                hop.notes.push("the URL is http and every listener has `tls`: the handshake fails".to_owned())
            }
            _ => {}
        }
        if let (Some(asked), Some(port)) = (uri.port_u16(), self.port())
            && asked != port
            && port != 0
        {
            hop.notes.push(format!("no listener has the port {asked}"));
        }
        hop.notes.extend(handshake.iter().flat_map(|handshake| &handshake.notes).cloned());
        if shows_certificate && self.tls.is_none() {
            hop.notes.push("a client shows no certificate over clear text".to_owned());
        }
        hop
    }

    fn connection(&self, peer: From, uri: &Uri) -> ConnectionInfo {
        let ip = match &self.listen.address {
            Address::Tcp { host, .. } => host.as_deref().and_then(|host| host.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let client = match peer {
            From::Address(address) => Some(address.to_canonical()),
            From::Unix => None,
        };
        if self.is_gateway() {
            let scheme = if is_https(uri) == Some(true) { Scheme::Https } else { Scheme::Http };
            let server_port = Some(port_of(uri).unwrap_or(scheme.default_port()));
            return ConnectionInfo { client, client_port: None, scheme, server_port, local: None, is_vetted: false };
        }
        ConnectionInfo {
            client,
            client_port: None,
            scheme: if self.tls.is_some() { Scheme::Https } else { Scheme::Http },
            server_port: None,
            local: client.map(|_| SocketAddr::new(ip, self.port().unwrap_or_default())),
            is_vetted: false,
        }
    }
}

fn is_https(uri: &Uri) -> Option<bool> {
    uri.scheme().map(|scheme| *scheme == UriScheme::HTTPS)
}

/// The port of a URL, which may be that of its scheme.
fn port_of(uri: &Uri) -> Option<u16> {
    uri.port_u16().or_else(|| is_https(uri).map(|is_https| if is_https { 443 } else { 80 }))
}

/// The name that a client of this URL asks TLS for. An address is none (RFC 6066 section 3).
fn server_name(uri: &Uri) -> Option<String> {
    let host = uri.host()?.trim_end_matches('.').to_ascii_lowercase();
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_err().then_some(host)
}

fn handshake(options: &TlsOptions, pipeline: &Pipeline, question: &Question, uri: &Uri) -> Handshake {
    Handshake::survey(options, &pipeline.base, server_name(uri), certificate(question))
}

/// The certificate that the client shows.
fn certificate(question: &Question) -> Option<ClientCertificate> {
    question.client_cert.as_ref().map(|subject| {
        let common_name = subject.split(',').find_map(|part| part.trim().strip_prefix("CN=")).map(str::to_owned);
        ClientCertificate { subject: subject.clone(), common_name, ..ClientCertificate::default() }
    })
}

/// The TLS of a connection to this name.
fn tls(client: Option<ClientCertificate>, name: Option<String>) -> TlsInfo {
    TlsInfo {
        protocol: "TLSv1.3".into(),
        cipher: "TLS_AES_256_GCM_SHA384".into(),
        server_name: name.map(Into::into),
        is_resumed: false,
        client: client.map(Arc::new),
    }
}

/// What has become of the head, and what bounds the request.
fn normalized(sent: &HeaderMap, headers: &HeaderMap, pipeline: &Pipeline) -> Vec<String> {
    let mut notes = Vec::new();
    let removed: Vec<String> = sent.keys().filter(|name| !headers.contains_key(*name)).map(|name| format!("`{name}`")).collect();
    if !removed.is_empty() {
        notes.push(format!("removes {}, which concerns the connection or is ambiguous in a CGI environment", removed.join(", ")));
    }
    let claims: Vec<String> = headers.keys().filter(|name| is_claim(name)).map(|name| format!("`{name}`")).collect();
    if !claims.is_empty() {
        notes.push(format!("what {} says of the client counts only below a `forwarded` layer that trusts the peer", claims.join(", ")));
    }
    if pipeline.stores().next().is_some() {
        notes.push("challenges of ACME below `/.well-known/acme-challenge/` are answered here while an order is under way".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_front_server_says_the_scheme_and_the_client() {
        const FILE: &str = r#"{
            "listen": LISTEN,
            "app": { "routes": [
                { "match": { "client_cert": "CN=ann" }, "app": { "respond": 202 } },
                { "match": { "scheme": "http" }, "app": { "redirect": "https://{host}{path}{query}" } },
                { "match": { "client": "192.0.2.0/24" }, "app": { "respond": 204 } },
                { "app": { "respond": 200 } }
            ] }
        }"#;
        const TLS: &str = r#""tls": { "cert": "tls/a.pem", "key": "tls/a.key" }"#;
        for listen in [
            r#"{ "at": "unix:run/site.sock", "protocol": "fastcgi" }"#.to_owned(),
            r#"["127.0.0.1:8000", { "at": "unix:run/site.sock", "protocol": "scgi" }]"#.to_owned(),
            format!(r#"{{ "at": "10.0.0.5:3031", "protocol": "uwsgi", "trust": ["10.0.0.4"], {TLS} }}"#),
        ] {
            let pipeline =
                Pipeline::from_text("pipeline.json", &FILE.replace("LISTEN", &listen), Path::new(""), &crate::builtin(), &|_| None)
                    .unwrap();
            let explain = |url: &str, from: Option<&str>, certificate: Option<&str>| {
                let question =
                    Question { client_cert: certificate.map(str::to_owned), from: from.map(str::to_owned), ..Question::of_line(url) };
                pipeline.explain(&question).unwrap()
            };
            let of_ann = explain("https://a.example/", None, Some("CN=ann"));
            let statuses = ["https://a.example/", "http://a.example/", "/"].map(|url| explain(url, None, None).status);
            assert_eq!(statuses, [Some(200), Some(308), Some(308)], "{listen}");
            assert_eq!(explain("https://a.example/", Some("192.0.2.7"), None).status, Some(204), "{listen}");
            assert_eq!((of_ann.status, of_ann.from.as_str()), (Some(202), "127.0.0.1"), "{listen}");
            let notes = of_ann.hops[0].notes.join("\n");
            assert!(notes.contains("by which scheme") && !notes.contains("no listener"), "{notes}");
        }
    }

    #[test]
    fn the_handshake_of_a_websocket_is_told_from_other_requests() {
        const HANDSHAKE: [(&str, &str); 5] = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("origin", "https://evil.example"),
        ];
        let status = |file: &str, headers: &[(&str, &str)]| {
            let pipeline = Pipeline::from_text("pipeline.json", file, Path::new(""), &crate::builtin(), &|_| None).unwrap();
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            pipeline.explain(&Question { headers, ..Question::of_line("http://a.example/x") }).unwrap().status
        };
        let csrf = r#"{ "layers": ["csrf"], "app": { "respond": 200 } }"#;
        assert_eq!(status(csrf, &HANDSHAKE), Some(403));
        assert_eq!(status(csrf, &HANDSHAKE[1..]), Some(200), "without the connection option, it is none");
        let with_body = [&HANDSHAKE[..], &[("content-length", "3")]].concat();
        assert_eq!(status(csrf, &with_body), Some(200), "with a body, it is none");
        let slash = r#"{ "layers": [{ "slash": "append" }], "app": { "respond": 200 } }"#;
        assert_eq!([status(slash, &HANDSHAKE), status(slash, &[])], [Some(200), Some(308)]);
        let gateway = r#"{ "listen": { "at": "unix:run/a.sock", "protocol": "uwsgi" }, "layers": ["csrf"], "app": { "respond": 200 } }"#;
        assert_eq!(status(gateway, &HANDSHAKE), Some(200), "a front server passes none on");
    }
}
