//! A site with certificates from an authority, and a client that looks at them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::black_box::{PATIENCE, Program, command, folder_of};
use crate::no_verification::NoVerification;
use crate::pebble::{Pebble, until};

/// The options `acme` for names of this authority.
pub(crate) fn acme(pebble: &Pebble, store: &Path, names: &[&str], more: Value) -> Value {
    let mut options = json!({ "names": names, "directory": pebble.directory(), "ca": pebble.ca(), "store": store });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    options
}

/// A pipeline that listens where the authority looks: clear text and TLS.
pub(crate) fn pipeline(http: u16, tls: u16, acme: &Value) -> String {
    json!({
        "listen": [format!("127.0.0.1:{http}"), { "at": format!("127.0.0.1:{tls}"), "tls": { "acme": acme } }],
        "server": { "control": "control.sock" },
        "app": { "routes": [{ "match": { "path": "/metrics" }, "app": { "metrics": {} } }, { "app": { "respond": { "status": 200, "body": "the app" } } }] },
    })
    .to_string()
}

pub(crate) fn start(text: &str) -> Program {
    Program::start(text, &[])
}

/// The outcome of `ziggurat COMMAND pipeline.json` on a file with this text: exit code, standard output, standard error.
pub(crate) fn run(name: &str, text: &str) -> (i32, String, String) {
    let folder = folder_of(&[("pipeline.json", text)]);
    let output = command(folder.path()).args([name, "pipeline.json"]).output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What the server shows for a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) serial: String,
    pub(crate) issuer: String,
    pub(crate) answer: String,
}

/// Asks for `/` under a name, whatever the certificate. `None` if the handshake is refused.
pub(crate) fn ask(port: u16, name: &str) -> Option<Shown> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    // The authority makes its root anew at each start.
    let verifier = NoVerification(provider.signature_verification_algorithms.supported_schemes());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    let socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, socket);
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let answer = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    let leaf = stream.conn.peer_certificates()?.first()?.clone();
    let (_, parsed) = X509Certificate::from_der(&leaf).unwrap();
    Some(Shown { serial: parsed.raw_serial_as_string(), issuer: parsed.issuer().to_string(), answer })
}

/// Waits for a certificate from the authority.
pub(crate) fn issued(port: u16, name: &str) -> Shown {
    let mut shown = None;
    until("a certificate", || {
        shown = ask(port, name);
        shown.is_some()
    });
    let shown = shown.unwrap();
    assert!(shown.issuer.contains("Pebble"), "{shown:?}");
    assert!(shown.answer.ends_with("the app"), "{shown:?}");
    shown
}
