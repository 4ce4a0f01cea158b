//! `wsgi.early_hints`: hints of an app, in a worker and in the server's process.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{PATIENCE, Program};

const SITE: &str = r#"
import os, time
LINK = [('Link', '</a.css>; rel=preload; as=style')]

def app(environ, start_response):
    path = environ['PATH_INFO']
    early_hints = environ.get('wsgi.early_hints')
    body = b'page'
    if path == '/there':
        body = str(early_hints is not None).encode()
    elif path == '/wait':
        early_hints(LINK)
        while not os.path.exists('go'):
            time.sleep(0.01)
    elif path == '/many':
        for nth in range(100):
            early_hints([('Link', '</%d.css>; rel=preload' % nth)])
    elif path == '/huge':
        early_hints([('Link', '<%s>' % ('a' * 1000000))])
        early_hints([('Link', '<%s>' % ('a' * 20000))])
        early_hints([('Set-Cookie', 'a=1'), ('Content-Length', '9'), ('Connection', 'close')])
        early_hints([])
        early_hints(iter(LINK))
    elif path == '/late':
        start_response('200 OK', [('Content-Length', '4')])
        early_hints(LINK)
        return late(early_hints)
    elif path == '/wrong':
        raised = []
        for headers in (None, 7, 'Link', [7], ['ab'], [('Link',)], [('Link', b'<a>')], [(b'Link', '<a>')], [('Link', '<a>\r\nSet-Cookie: a=1')],
                        [('Li nk', '<a>')], [('Link', '\u20ac')], [('Content-Length', 'x')]):
            try:
                early_hints(headers)
                raised.append('nothing')
            except (TypeError, ValueError) as error:
                raised.append(type(error).__name__)
        body = ' '.join(raised).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]

def late(early_hints):
    yield b'pa'
    early_hints(LINK)
    yield b'ge'
    early_hints(LINK)

class Hinting:
    '''A middleware that hints itself.'''
    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        if 'wsgi.early_hints' in environ:
            environ['wsgi.early_hints']([('Link', '</above.css>; rel=preload')])
        return self.app(environ, start_response)
"#;

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload; as=style\r\n\r\n";

fn start(workers: usize, layers: &str) -> Program {
    let pipeline = format!(
        r#"{{ "listen": "127.0.0.1:0", "layers": [{layers}], "app": {{ "wsgi": {{ "app": "hinting:app", "workers": {workers}, "threads": 2 }} }} }}"#
    );
    Program::start(&pipeline, &[("hinting.py", SITE)])
}

const LAYER: &str = r#"{ "early_hints": { "http1": true } }"#;

fn navigate(program: &Program, path: &str) -> TcpStream {
    let mut stream = program.connect();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nSec-Fetch-Mode: navigate\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

/// The octets before the final response, and its body.
fn get(program: &Program, path: &str) -> (String, String) {
    let mut answer = String::new();
    navigate(program, path).read_to_string(&mut answer).unwrap();
    let at = answer.find("HTTP/1.1 200 OK").unwrap_or_else(|| panic!("{answer}\n{}", program.log()));
    let (hints, last) = answer.split_at(at);
    (hints.to_owned(), last.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn in_both(layers: &str, test: impl Fn(&Program)) {
    for workers in [1, 0] {
        test(&start(workers, layers));
    }
}

#[test]
fn a_hint_of_an_app_arrives_while_it_still_works() {
    in_both(LAYER, |program| {
        let mut client = navigate(program, "/wait");
        let mut hint = vec![0; HINT.len()];
        client.read_exact(&mut hint).unwrap();
        assert_eq!(String::from_utf8_lossy(&hint), HINT);
        fs::write(program.folder().join("go"), "").unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("\r\n\r\npage"), "{rest}");
    });
}

#[test]
fn the_callable_is_there_exactly_where_a_layer_lets_hints_pass() {
    in_both("", |program| assert_eq!(get(program, "/there").1, "False"));
    in_both(r#""early_hints""#, |program| assert_eq!(get(program, "/there").1, "False"));
    in_both(LAYER, |program| {
        assert_eq!(get(program, "/there").1, "True");
        assert!(program.get("/there").ends_with("False"), "a request that is no navigation");
    });
}

#[test]
fn hints_of_apps_are_bounded_and_only_links_and_policies_pass() {
    in_both(LAYER, |program| {
        let (hints, body) = get(program, "/many");
        assert_eq!((hints.matches("103 Early Hints").count(), body.as_str()), (16, "page"));
        assert!(hints.contains("</0.css>") && hints.contains("</15.css>"));
        assert_eq!(get(program, "/huge"), (HINT.to_owned(), "page".to_owned()));
    });
}

#[test]
fn a_hint_after_the_head_is_dropped_and_one_after_start_response_alone_is_sent() {
    in_both(LAYER, |program| assert_eq!(get(program, "/late"), (HINT.to_owned(), "page".to_owned())));
}

#[test]
fn what_start_response_would_refuse_is_refused_of_a_hint() {
    in_both(LAYER, |program| {
        let (hints, body) = get(program, "/wrong");
        assert_eq!(
            (hints.as_str(), body.as_str()),
            ("", format!("{}ValueError{}", "TypeError ".repeat(8), " ValueError".repeat(3)).as_str())
        );
    });
}

#[test]
fn python_layers_and_native_layers_between_them_and_the_app_do_not_change_hints() {
    let layers = format!(r#"{LAYER}, "wsgi_lint", {{ "wsgi": "hinting:Hinting" }}, "compress""#);
    in_both(&layers, |program| {
        let (hints, body) = get(program, "/late");
        assert_eq!((hints, body.as_str()), (format!("HTTP/1.1 103 Early Hints\r\nlink: </above.css>; rel=preload\r\n\r\n{HINT}"), "page"));
        assert!(!program.log().contains("PEP 3333"), "{}", program.log());
    });
}
