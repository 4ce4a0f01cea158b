//! What each kind of app says of a request.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use ziggurat::apps::cgi::Cgi;
use ziggurat::apps::gateway::{FastCgi, Scgi, Uwsgi};
use ziggurat::apps::metrics::ShowMetrics;
use ziggurat::apps::proxy::Proxy;
use ziggurat::apps::redirect::Redirect;
use ziggurat::apps::respond::Respond;
use ziggurat::middleware::http::Method;
use ziggurat::middleware::{App, Body, Deadline, Mount, Request, TestStack, request};
use ziggurat::wsgi::Wsgi;

fn get(target: &str) -> Request {
    request(Method::GET, target, Body::empty())
}

/// What an app says: its notes, the status if it is known, and what else it may answer.
fn told<A: App>(options: &str, request: Request) -> (Vec<String>, Option<u16>, Vec<String>) {
    let explained = TestStack::explain_app::<A>(options, request);
    let possible = explained.possible.iter().map(|possible| format!("{} {}", possible.status.as_u16(), possible.condition));
    (explained.notes, explained.answer.map(|response| response.status().as_u16()), possible.collect())
}

#[test]
fn respond_and_redirect_give_the_response_itself() {
    let explained = TestStack::explain_app::<Respond>(r#"{ "status": 503, "body": "closed" }"#, get("/"));
    let response = explained.answer.unwrap();
    assert_eq!((response.status().as_u16(), response.body().as_full()), (503, Some(&b"closed"[..])));
    let explained = TestStack::explain_app::<Redirect>(r#""https://{host}{path}{query}""#, get("/a?b"));
    assert_eq!(explained.notes, ["sends the client to `https://test/a?b`"]);
    assert_eq!(explained.answer.unwrap().headers()["location"], "https://test/a?b");
}

#[test]
fn metrics_are_for_get_and_head() {
    assert_eq!(told::<ShowMetrics>("{}", get("/")).1, Some(200));
    assert_eq!(told::<ShowMetrics>("{}", request(Method::POST, "/", Body::empty())).1, Some(405));
}

#[test]
fn proxy_names_its_servers_and_how_one_is_chosen() {
    let (notes, status, possible) = told::<Proxy>(r#""http://10.0.0.5:9000""#, get("/"));
    assert_eq!(notes, ["passes the request on to `http://10.0.0.5:9000`", "the server gets the `host` of the request"]);
    assert_eq!(status, None);
    assert_eq!(possible[0], "502 if no server gives a valid response");
    let options = r#"{ "to": ["http://a:1", "http://b:1"], "balance": "round_robin", "host": "app.internal", "sticky": { "cookie": "s" }, "timeout": "9s", "queue": { "limit": 0 } }"#;
    let (notes, _, possible) = told::<Proxy>(options, get("/"));
    assert_eq!(notes[0], "passes the request on to one of `http://a:1`, `http://b:1`: in turns");
    assert_eq!(notes[1], "a client with the cookie `s` gets the server of its last response");
    assert_eq!(notes[2], "the server gets `app.internal` as `host`");
    assert!(
        possible[1].ends_with("requests are under way at each server") && possible[2] == "504 if no response begins within 9s",
        "{possible:?}"
    );
    let mut in_a_loop = get("/");
    in_a_loop.headers_mut().insert("via", ["1.1 ziggurat"; 10].join(", ").parse().unwrap());
    let (notes, status, _) = told::<Proxy>(r#""http://a:1""#, in_a_loop);
    assert_eq!((notes[0].as_str(), status), ("`Via` names this server ten times", Some(508)));
    let mut hurried = get("/");
    hurried.extensions_mut().insert(Deadline(Duration::from_secs(2)));
    assert_eq!(told::<Proxy>(r#""http://a:1""#, hurried).2[2], "504 if no response begins within 2s");
}

#[test]
fn fastcgi_looks_for_the_script() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display();
    fs::write(folder.path().join("index.php"), "").unwrap();
    let options = format!(r#"{{ "to": "127.0.0.1:9000", "root": "{root}" }}"#);
    let (notes, ..) = told::<FastCgi>(&options, get("/index.php/a%20b"));
    assert_eq!(
        notes,
        [format!("the script is `{root}/index.php`, PATH_INFO is `/a b`"), "passes the request on to `127.0.0.1:9000`".to_owned()]
    );
    assert_eq!(told::<FastCgi>(&options, get("/none.php")).1, Some(404));
    assert_eq!(told::<FastCgi>(r#""127.0.0.1:9000""#, get("/a")).0[0], "SCRIPT_NAME is ``, PATH_INFO is `/a`");
}

#[test]
fn gateways_need_a_length() {
    let chunked = || {
        let mut request = request(Method::POST, "/", Body::empty());
        request.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
        request
    };
    let expected = (vec!["a request to this app needs a length".to_owned()], Some(411), vec![]);
    assert_eq!(told::<Scgi>(r#""127.0.0.1:4000""#, chunked()), expected);
    assert_eq!(told::<Uwsgi>(r#""127.0.0.1:4000""#, chunked()), expected);
    assert_eq!(told::<Uwsgi>(r#""unix:app.sock""#, get("/x")).0[1], "passes the request on to `unix:app.sock`");
}

#[test]
fn cgi_looks_for_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("hello");
    fs::write(&program, "").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let options = format!(r#"{{ "root": "{}" }}"#, folder.path().display());
    let (notes, _, possible) = told::<Cgi>(&options, get("/hello/x"));
    assert_eq!(notes, [format!("runs `{}`, PATH_INFO is `/x`", program.canonicalize().unwrap().display())]);
    assert_eq!(possible.len(), 3);
    assert_eq!(told::<Cgi>(&options, get("/none")).1, Some(404));
}

#[test]
fn wsgi_says_where_python_begins_and_what_bounds_the_call() {
    let mut mounted = get("/x%20y");
    mounted.extensions_mut().insert(Mount { prefix: "/blog".into(), target: "/blog/x%20y".parse().unwrap() });
    let (notes, status, possible) =
        told::<Wsgi>(r#"{ "app": "shop:app", "workers": 2, "threads": 1, "queue": { "limit": 5, "wait": "1s" } }"#, mounted);
    assert_eq!(
        notes,
        ["Python begins here: 2 worker processes, 1 thread each", "calls `shop:app`: SCRIPT_NAME is `/blog`, PATH_INFO is `/x y`"]
    );
    assert_eq!((status, possible), (None, vec!["503 if 5 requests wait for a thread already, or none is free within 1s".to_owned()]));
    let (notes, _, possible) = told::<Wsgi>(r#"{ "app": "shop:app", "workers": 0, "deadline": "3s" }"#, get("/"));
    assert_eq!(notes[0], "Python begins here: 4 threads of the server's process");
    assert_eq!(possible[1], "504 if the app has not begun its response after 3s");
}
