//! `sendfile` below real apps.

use crate::support::Program;

const PIPELINE: &str = r#"{
    "listen": "127.0.0.1:0",
    "layers": ["access_log", { "sendfile": { "at": "/protected", "root": "private" } }],
    "app": { "wsgi": "site_of_downloads:application" }
}"#;

/// Django, with the header set by hand and by an answer that a middleware of Django's has touched.
const DJANGO: &str = r"import os
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY='x', ALLOWED_HOSTS=['*'], ROOT_URLCONF=__name__,
    MIDDLEWARE=['django.middleware.security.SecurityMiddleware', 'django.middleware.http.ConditionalGetMiddleware'],
)
HERE = os.path.dirname(os.path.abspath(__file__))

def download(request, name):
    response = HttpResponse('of the app', content_type='application/pdf')
    response['X-Accel-Redirect'] = '/protected/' + name
    response['Content-Disposition'] = 'attachment; filename=r.pdf'
    response.set_cookie('seen', '1')
    return response

def by_path(request, name):
    response = HttpResponse()
    response['X-Sendfile'] = os.path.join(HERE, 'private', name)
    # As django-sendfile2 does.
    response['Content-Length'] = 10
    return response

urlpatterns = [path('download/<path:name>', download), path('path/<path:name>', by_path)]
application = get_wsgi_application()
";

/// Its body streams, and tells when it is closed.
const STREAMING: &str = r"import sys

class Body:
    def __iter__(self):
        yield b'of the app'
        while True:
            yield b'.' * 65536
    def close(self):
        print('the body was closed', file=sys.stderr, flush=True)

def application(environ, start_response):
    start_response('200 OK', [('X-Accel-Redirect', '/protected/large'), ('Content-Type', 'application/zip')])
    return Body()
";

fn request(program: &Program, line: &str, headers: &str) -> String {
    program.exchange(format!("{line} HTTP/1.1\r\nHost: test\r\n{headers}Connection: close\r\n\r\n"))
}

fn has(answer: &str, lines: &[&str]) {
    for line in lines {
        assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line}: {answer}");
    }
}

#[test]
fn django_hands_its_downloads_to_the_layer() {
    let files = [("site_of_downloads.py", DJANGO), ("private/report.pdf", "0123456789"), ("secret", "SECRET")];
    let mut program = Program::start(PIPELINE, &files);

    let whole = program.get("/download/report.pdf");
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n") && whole.ends_with("\r\n\r\n0123456789"), "{whole}");
    has(
        &whole,
        &[
            "content-length: 10",
            "content-type: application/pdf",
            "content-disposition: attachment; filename=r.pdf",
            "set-cookie: seen=1; Path=/",
            "x-content-type-options: nosniff",
            "accept-ranges: bytes",
        ],
    );
    assert!(!whole.to_ascii_lowercase().contains("x-accel-redirect"), "{whole}");
    let etag = whole.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();

    let part = request(&program, "GET /download/report.pdf", "Range: bytes=2-4\r\n");
    assert!(part.starts_with("HTTP/1.1 206 ") && part.ends_with("\r\n\r\n234"), "{part}");
    has(&part, &["content-range: bytes 2-4/10", "content-length: 3"]);

    let fresh = request(&program, "GET /download/report.pdf", &format!("If-None-Match: {etag}\r\n"));
    assert!(fresh.starts_with("HTTP/1.1 304 ") && fresh.ends_with("\r\n\r\n"), "{fresh}");

    let head = request(&program, "HEAD /download/report.pdf", "");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    has(&head, &["content-length: 10"]);

    let by_path = program.get("/path/report.pdf");
    assert!(by_path.ends_with("\r\n\r\n0123456789"), "{by_path}");
    has(&by_path, &["content-type: text/html; charset=utf-8", "content-length: 10"]);

    for target in ["/download/none.pdf", "/download/%2e%2e/secret", "/path/../secret", "/path//etc/passwd", "/download/..%252fsecret"] {
        let answer = program.get(target);
        assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("SECRET") && !answer.contains("root:"), "{target}: {answer}");
        assert!(!answer.to_ascii_lowercase().contains("x-sendfile") && !answer.contains("private"), "{target}: {answer}");
    }
    assert!(!program.log().contains("short of its Content-Length"), "{}", program.log());
    let line = program.wait_for_log("/protected/none.pdf");
    assert!(line.contains("place=sendfile") && line.contains("there is no such file"), "{line}");
}

#[test]
fn an_endless_body_is_closed_and_a_large_file_sent_whole() {
    let large = "0123456789abcdef".repeat(200_000);
    let files = [("site_of_downloads.py", STREAMING), ("private/large", large.as_str())];
    let mut program = Program::start(PIPELINE, &files);
    let answer = program.get("/");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/zip") && head.contains("content-length: 3200000"), "{head}");
    assert!(body == large);
    program.wait_for_log("the body was closed");
}
