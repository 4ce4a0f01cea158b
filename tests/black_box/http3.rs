//! The program over HTTP/3, with a client that shares no code with it: aioquic.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Program, virtual_env};

const APP: &str = "import sys, time\n\
    def app(environ, start_response):\n    \
        if environ['PATH_INFO'] == '/slow':\n        \
            start_response('200 OK', [])\n        \
            print('begun', file=sys.stderr, flush=True)\n        \
            def parts():\n            \
                for number in range(4):\n                \
                    time.sleep(0.3)\n                \
                    yield b'%d' % number\n        \
            return parts()\n    \
        body = environ['wsgi.input'].read()\n    \
        names = ['SERVER_PROTOCOL', 'wsgi.url_scheme', 'HTTPS', 'SSL_PROTOCOL', 'SSL_TLS_SNI', 'REMOTE_ADDR', 'CONTENT_LENGTH']\n    \
        start_response('200 OK', [('X-' + name.replace('.', '-'), environ.get(name, '')) for name in names])\n    \
        return [body]\n";

const PIPELINE: &str = r#"{
    "listen": { "at": "127.0.0.1:0", "tls": { "cert": "site.pem", "key": "site.key" }, "http": ["1.1", "2", "3"] },
    "layers": ["access_log"],
    "app": { "wsgi": { "app": "app:app", "workers": 1, "threads": 4 } }
}"#;

fn start() -> Program {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["site.test".to_owned()]).unwrap();
    Program::start(PIPELINE, &[("app.py", APP), ("site.pem", &cert.pem()), ("site.key", &signing_key.serialize_pem())])
}

/// Begins to send these requests over one connection.
fn send(program: &Program, requests: &Value) -> std::process::Child {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/black_box/http3_client.py");
    let mut command = Command::new(virtual_env().join("bin/python"));
    command.args([script, &program.address().port().to_string()]);
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    client.stdin.take().unwrap().write_all(requests.to_string().as_bytes()).unwrap();
    client
}

/// The responses to these requests over one connection.
fn responses(program: &Program, requests: &Value) -> Vec<Value> {
    let output = send(program, requests).wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{}", program.log()))
}

fn request(method: &str, path: &str, more: &[(&str, &str)], body: &[&str]) -> Value {
    let headers = [(":method", method), (":scheme", "https"), (":authority", "site.test"), (":path", path)];
    let headers: Vec<_> = headers.iter().chain(more).map(|(name, value)| json!([name, value])).collect();
    json!({ "headers": headers, "body": body })
}

#[test]
fn an_app_sees_a_request_over_http3_as_any_other() {
    let program = start();
    let long = "x".repeat(200_000);
    let requests = json!([
        request("GET", "/", &[], &[]),
        request("POST", "/", &[], &["with", "out a ", "length"]),
        request("POST", "/", &[], &[&long])
    ]);
    let answers = responses(&program, &requests);
    let header = |answer: &Value, name: &str| {
        let headers = answer["headers"].as_array().unwrap();
        headers.iter().find(|header| header[0] == name).map(|header| header[1].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    for answer in &answers {
        assert_eq!(answer["status"], 200, "{answer}\n{}", program.log());
        for (name, value) in [
            ("x-server_protocol", "HTTP/3.0"),
            ("x-wsgi-url_scheme", "https"),
            ("x-https", "on"),
            ("x-ssl_protocol", "TLSv1.3"),
            ("x-ssl_tls_sni", "site.test"),
            ("x-remote_addr", "127.0.0.1"),
        ] {
            assert!(header(answer, name) == value, "{name}: {answer}");
        }
    }
    assert_eq!((answers[1]["body"].as_str(), header(&answers[1], "x-content_length").as_str()), (Some("without a length"), "16"));
    assert_eq!(answers[2]["body"].as_str().map(str::len), Some(200_000));
    assert!(program.log().contains("\"POST / HTTP/3.0\" 200 16"), "{}", program.log());
}

#[test]
fn what_http3_does_not_allow_never_reaches_the_app() {
    let program = start();
    let bad = [
        request("GET", "/", &[(":path", "/other")], &[]),
        request("GET", "/", &[(":status", "200")], &[]),
        request("GET", "/", &[("x", "y"), (":method", "GET")], &[]),
        request("GET", "/", &[("connection", "x")], &[]),
        request("POST", "/", &[("content-length", "5")], &["xxx"]),
        request("POST", "/", &[("content-length", "5")], &["xxxxxxxxx"]),
    ];
    for answer in responses(&program, &json!(bad)) {
        assert_eq!(answer["status"], 400, "{answer}");
    }
    assert_eq!(responses(&program, &json!([request("GET", "/", &[], &[])]))[0]["status"], 200);
}

#[test]
fn a_reload_and_the_end_leave_responses_over_http3_whole() {
    for signal in ["HUP", "TERM"] {
        let mut program = start();
        let client = send(&program, &json!([request("GET", "/slow", &[], &[])]));
        program.wait_for_log("begun");
        program.signal(signal);
        program.wait_for_log(if signal == "HUP" { "reloaded after" } else { "stopping" });
        let output = client.wait_with_output().unwrap();
        let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&answers[0]["status"], answers[0]["body"].as_str()), (&json!(200), Some("0123")), "{}", program.log());
        if signal == "TERM" {
            assert!(program.wait().success());
        }
    }
}
