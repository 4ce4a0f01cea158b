//! The environ is complete and true.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Method, Version};
use serde_json::{Map, Value};
use ziggurat_middleware::{
    Body, ClientCertificate, ConnectionInfo, Mount, OriginalUri, RemoteUser, Request, RequestId, Scheme, TlsInfo, request,
};

use crate::support::{EXECUTORS, Executor, Site};

async fn environ(site: &Site, request: Request) -> Map<String, Value> {
    let answer = site.send(request).await;
    assert_eq!(answer.status, 200, "{}", site.log());
    serde_json::from_slice(&answer.body).unwrap()
}

fn get(target: &str) -> Request {
    request(Method::GET, target, Body::empty())
}

/// Checks variables; `null` means absent.
async fn check(what: &str, make: impl Fn() -> Request, expected: Value) {
    for executor in EXECUTORS {
        let environ = environ(&Site::new("plain:environ_of", executor), make()).await;
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(environ.get(key).unwrap_or(&Value::Null), value, "{key} of {what}");
        }
    }
}

macro_rules! json {
    ($($any:tt)*) => { serde_json::json!({ $($any)* }) };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_has_all_that_pep_3333_asks_for() {
    check(
        "GET",
        || get("/a/b?c=d&e"),
        json! {
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/a/b", "QUERY_STRING": "c=d&e", "RAW_URI": "/a/b?c=d&e",
            "REQUEST_URI": "/a/b?c=d&e", "SERVER_NAME": "test", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "192.0.2.1",
            "REMOTE_PORT": "40000", "HTTP_HOST": "test", "CONTENT_LENGTH": null, "CONTENT_TYPE": null, "REMOTE_USER": null, "AUTH_TYPE": null,
            "wsgi.version": [1, 0], "wsgi.url_scheme": "http", "wsgi.run_once": false, "wsgi.multiprocess": false, "wsgi.multithread": true,
            "wsgi.input_terminated": true, "wsgi.input": "Input", "wsgi.errors": "Errors", "wsgi.file_wrapper": "type",
            "SERVER_SOFTWARE": concat!("ziggurat/", env!("CARGO_PKG_VERSION")), "ziggurat.request_id": null,
        },
    )
    .await;
    let single = environ(&Site::new("plain:environ_of", Executor::Pool(1)), get("/")).await;
    assert_eq!(single["wsgi.multithread"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_decoded_to_octets() {
    for (target, path) in [
        ("/%41%2Fb", "/A/b"),
        ("/caf%C3%A9", "/caf\u{c3}\u{a9}"),
        ("/%ff%00", "/\u{ff}\0"),
        ("/100%", "/100%"),
        ("/a+b", "/a+b"),
        ("/%zz%4", "/%zz%4"),
        ("//x//", "//x//"),
        ("*", "*"),
    ] {
        check(target, || get(target), json! { "PATH_INFO": path, "REQUEST_URI": target }).await;
    }
    check("query", || get("/?a=%20b"), json! { "QUERY_STRING": "a=%20b" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_moves_from_the_path_to_the_script_name() {
    for (prefix, target, below, script, path) in [
        ("/blog", "/blog/post?q", "/post?q", "/blog", "/post"),
        ("/blog", "/blog", "/", "/blog", ""),
        ("/blog", "/blog/", "/", "/blog", "/"),
        ("/b%20g", "/b%20g/x", "/x", "/b g", "/x"),
        ("/a/b", "/a/b/c", "/c", "/a/b", "/c"),
    ] {
        let mounted = || {
            let mut request = get(below);
            request.extensions_mut().insert(Mount { prefix: prefix.into(), target: target.parse().unwrap() });
            request
        };
        check(target, mounted, json! { "SCRIPT_NAME": script, "PATH_INFO": path, "REQUEST_URI": target }).await;
        let rewritten = || {
            let mut request = mounted();
            request.extensions_mut().insert(OriginalUri("/sent".parse().unwrap()));
            request
        };
        check(target, rewritten, json! { "SCRIPT_NAME": script, "PATH_INFO": path, "REQUEST_URI": "/sent" }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_become_variables() {
    let make = || {
        let mut request = get("/");
        for (name, value) in [
            ("x-one", "1"),
            ("x-two", "a"),
            ("x-two", "b"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x_two", "evil"),
            ("proxy", "evil"),
            ("transfer-encoding", "chunked"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("content-type", "text/x"),
            ("authorization", "Basic abc"),
            ("remote-user", "evil"),
        ] {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request.headers_mut().insert("x-latin", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        request
    };
    check(
        "headers",
        make,
        json! {
            "HTTP_X_ONE": "1", "HTTP_X_TWO": "a, b", "HTTP_COOKIE": "a=1; b=2", "HTTP_PROXY": null, "HTTP_TRANSFER_ENCODING": null,
            "HTTP_CONNECTION": null, "HTTP_UPGRADE": null,
            "CONTENT_TYPE": "text/x", "HTTP_CONTENT_TYPE": null, "HTTP_AUTHORIZATION": "Basic abc", "REMOTE_USER": null,
            "HTTP_REMOTE_USER": "evil", "HTTP_X_LATIN": "caf\u{e9}",
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_come_from_the_host_the_listener_and_trusted_proxies() {
    let local: SocketAddr = "127.0.0.1:8000".parse().unwrap();
    let v6: SocketAddr = "[::1]:8000".parse().unwrap();
    for (host, server_port, local, scheme, name, port) in [
        ("example.com", None, Some(local), Scheme::Http, "example.com", "8000"),
        ("example.com:81", None, Some(local), Scheme::Http, "example.com", "81"),
        ("example.com", Some(443), Some(local), Scheme::Https, "example.com", "443"),
        ("example.com:81", Some(443), Some(local), Scheme::Https, "example.com", "443"),
        ("[::1]", None, Some(v6), Scheme::Http, "[::1]", "8000"),
        ("[::1]:82", None, Some(v6), Scheme::Http, "[::1]", "82"),
        ("", None, Some(local), Scheme::Http, "127.0.0.1", "8000"),
        ("", None, Some(v6), Scheme::Http, "[::1]", "8000"),
        ("example.com", None, None, Scheme::Http, "example.com", "80"),
        ("example.com", None, None, Scheme::Https, "example.com", "443"),
        ("", None, None, Scheme::Http, "localhost", "80"),
    ] {
        let make = || {
            let mut request = get("/");
            request.headers_mut().insert("host", host.parse().unwrap());
            request.extensions_mut().insert(ConnectionInfo {
                client: None,
                client_port: None,
                scheme,
                server_port,
                local,
                is_vetted: false,
            });
            request
        };
        let expected = json! {
            "SERVER_NAME": name, "SERVER_PORT": port, "wsgi.url_scheme": scheme.as_str(), "REMOTE_ADDR": "", "REMOTE_PORT": null, "HTTP_HOST": host,
        };
        check(&format!("{host:?} at {local:?}"), make, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tls_has_found_out_comes_from_the_connection_and_never_from_headers() {
    let forged = || {
        let mut request = get("/");
        for name in ["ssl-client-verify", "ssl-client-s-dn", "https", "x-ssl-client-s-dn"] {
            request.headers_mut().insert(name, HeaderValue::from_static("evil"));
        }
        request
    };
    let nothing = json! {
        "HTTPS": null, "SSL_PROTOCOL": null, "SSL_CLIENT_VERIFY": null, "SSL_CLIENT_S_DN": null, "HTTP_SSL_CLIENT_VERIFY": "evil", "HTTP_HTTPS": "evil",
    };
    check("without TLS", forged, nothing).await;
    let tls = |client: Option<ClientCertificate>| {
        let mut request = forged();
        request.extensions_mut().insert(TlsInfo {
            protocol: "TLSv1.3".into(),
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            server_name: Some("site.test".into()),
            is_resumed: true,
            client: client.map(Arc::new),
        });
        request
    };
    let expected = json! {
        "HTTPS": "on", "SSL_PROTOCOL": "TLSv1.3", "SSL_CIPHER": "TLS_AES_256_GCM_SHA384", "SSL_TLS_SNI": "site.test", "SSL_SESSION_RESUMED": "Resumed",
        "SSL_CLIENT_VERIFY": "NONE", "SSL_CLIENT_S_DN": null,
    };
    check("with TLS", || tls(None), expected).await;
    let ann = || ClientCertificate {
        subject: "CN=ann,O=Caf\u{e9}".to_owned(),
        common_name: Some("ann".to_owned()),
        serial: "07".to_owned(),
        emails: vec!["ann@example.com".to_owned(), "ann@example.org".to_owned()],
        uris: vec!["spiffe://example.com/ann".to_owned()],
        pem: Some("-----BEGIN CERTIFICATE-----\n".to_owned()),
        ..ClientCertificate::default()
    };
    let expected = json! {
        "SSL_CLIENT_VERIFY": "SUCCESS", "SSL_CLIENT_S_DN": "CN=ann,O=Caf\u{c3}\u{a9}", "SSL_CLIENT_S_DN_CN": "ann", "SSL_CLIENT_M_SERIAL": "07",
        "SSL_CLIENT_SAN_Email_0": "ann@example.com", "SSL_CLIENT_SAN_Email_1": "ann@example.org", "SSL_CLIENT_SAN_Email_2": null,
        "SSL_CLIENT_SAN_Email": null, "SSL_CLIENT_SAN_DNS_0": null, "SSL_CLIENT_SAN_URI_0": "spiffe://example.com/ann",
        "SSL_CLIENT_CERT": "-----BEGIN CERTIFICATE-----\n", "REMOTE_USER": null,
    };
    check("with a certificate", || tls(Some(ann())), expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_proxies_say_is_seen_only_where_a_layer_has_judged_it() {
    for (is_vetted, seen) in [(false, None), (true, Some("203.0.113.7"))] {
        let make = || {
            let mut request = get("/");
            for name in ["x-forwarded-for", "forwarded", "x-real-ip"] {
                request.headers_mut().insert(name, HeaderValue::from_static("203.0.113.7"));
            }
            if let Some(connection) = request.extensions_mut().get_mut::<ConnectionInfo>() {
                connection.is_vetted = is_vetted;
            }
            request
        };
        let expected = json! { "HTTP_X_FORWARDED_FOR": seen, "HTTP_FORWARDED": seen, "HTTP_X_REAL_IP": seen, "REMOTE_ADDR": "192.0.2.1" };
        check("claims", make, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_an_authority_gives_the_host() {
    let make = || {
        let mut request = get("http://user@example.com:81/x?y");
        *request.version_mut() = Version::HTTP_2;
        request
    };
    let expected = json! {
        "HTTP_HOST": "example.com:81", "SERVER_NAME": "example.com", "SERVER_PORT": "81", "PATH_INFO": "/x", "REQUEST_URI": "/x?y",
        "SERVER_PROTOCOL": "HTTP/2.0",
    };
    check("absolute form", make, expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_of_outer_layers_are_passed_on() {
    let make = || {
        let mut request = get("/");
        request.extensions_mut().insert(RemoteUser { user: Arc::from("zo\u{eb}"), auth_type: "Basic".into() });
        request.extensions_mut().insert(RequestId::new(HeaderValue::from_static("id-1")).unwrap());
        request
    };
    check("facts", make, json! { "REMOTE_USER": "zo\u{c3}\u{ab}", "AUTH_TYPE": "Basic", "ziggurat.request_id": "id-1" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_an_environ_of_its_own() {
    for executor in EXECUTORS {
        let site = Site::new("hostile:app", executor);
        site.get("/spoils_environ").await;
        assert_eq!(site.get("/fine").await.text(), "fine");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_to_wsgi_errors_are_lines_of_the_log() {
    for executor in EXECUTORS {
        let site = Site::new("plain:says", executor);
        let mut request = get("/");
        request.extensions_mut().insert(RequestId::new(HeaderValue::from_static("id-1")).unwrap());
        assert_eq!(site.send(request).await.text(), "said");
        site.wait_for_log("unfinished");
        let log = site.log();
        for line in ["one", "two", "three", "four\u{fffd}", "unfinished"] {
            assert!(log.lines().any(|entry| entry.contains(line) && entry.contains("id-1")), "{line}: {log}");
        }
    }
}
