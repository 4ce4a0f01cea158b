//! Callables that break each rule, and some that break none. A finding is raised here, so that a test sees it.

use std::ffi::CString;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Border, LintedCallable};
use crate::wsgi::interpreter::initialize;

/// Calls an app as a server or a middleware does, and says what was raised.
const CALLER: &str = r#"
import io, sys
from wsgiref.util import setup_testing_defaults

def environ_of(**more):
    environ = {'ziggurat.lint': 'error', 'wsgi.input': io.BytesIO(), 'wsgi.errors': io.StringIO(), 'wsgi.multithread': True, **more}
    setup_testing_defaults(environ)
    return environ

def ask(app, environ):
    try:
        response = app(environ, lambda status, headers, exc_info=None: lambda data: None)
        if hasattr(response, '__iter__'):
            for chunk in response:
                pass
        if hasattr(response, 'close'):
            response.close()
    except AssertionError as error:
        return str(error)
    return ''
"#;

/// What an app says, and whom it calls: the statements of `app(environ, start)`.
fn said(environ: &str, app: &str) -> String {
    initialize().unwrap();
    Python::attach(|py| {
        let names = PyDict::new(py);
        let indented: String = app.lines().map(|line| format!("    {line}\n")).collect();
        let module = format!("{CALLER}\ndef app(environ, start):\n{indented}");
        py.run(&CString::new(module).unwrap(), Some(&names), None).unwrap();
        let app = names.get_item("app").unwrap().unwrap();
        let border = Border::new(Some("`layer:Layer` at `wsgi`".into()), "`site:app` at `main`".into());
        let linted = Py::new(py, LintedCallable::new(app.unbind(), border)).unwrap();
        names.set_item("linted", linted).unwrap();
        let asked = CString::new(format!("ask(linted, {environ})")).unwrap();
        py.eval(&asked, Some(&names), None).unwrap().extract().unwrap()
    })
}

/// A rule, statements of an app that break it, and a part of the message.
const BROKEN: &[(&str, &str, &str)] = &[
    ("start_response", "return [b'x']", "before it called start_response()"),
    ("start_response", "return []", "did not call start_response()"),
    ("start_response", "yield b'x'\nstart('200 OK', [])", "before it called start_response()"),
    ("start_response", "start('200 OK', [])\nstart('200 OK', [])\nreturn []", "a second time without exc_info"),
    ("start_response", "start('200 OK', [])\nyield b'x'\nstart('500 No', [])", "after the first octets"),
    ("start_response", "start('200 OK', [], ('a', 'b', 'c'))\nreturn []", "not what sys.exc_info() gives"),
    ("start_response", "start('200 OK', [], sys.exc_info())\nreturn []", "not what sys.exc_info() gives"),
    ("status", "start(200, [])\nreturn []", "`int`, not str"),
    ("status", "start(b'200 OK', [])\nreturn []", "`bytes`, not str"),
    ("status", "start('200', [])\nreturn []", "three digits, a space and a phrase"),
    ("status", "start('20 OK', [])\nreturn []", "three digits, a space and a phrase"),
    ("status", "start('200 OK\\r\\nX: y', [])\nreturn []", "control characters"),
    ("headers", "start('200 OK', ())\nreturn []", "`tuple`, not a list"),
    ("headers", "start('200 OK', {})\nreturn []", "`dict`, not a list"),
    ("headers", "start('200 OK', [['A', 'b']])\nreturn []", "not a tuple of two str"),
    ("headers", "start('200 OK', [('A', 'b', 'c')])\nreturn []", "not a tuple of two str"),
    ("headers", "start('200 OK', [(b'A', 'b')])\nreturn []", "not a tuple of two str"),
    ("headers", "start('200 OK', [('A', 1)])\nreturn []", "not a tuple of two str"),
    ("headers", "start('200 OK', [('A b', 'c')])\nreturn []", "not the name of a header"),
    ("headers", "start('200 OK', [('A:', 'c')])\nreturn []", "not the name of a header"),
    ("headers", "start('200 OK', [('A', 'b\\nC: d')])\nreturn []", "control characters"),
    ("headers", "start('200 OK', [('A', '\\u20ac')])\nreturn []", "latin-1"),
    ("headers", "start('200 OK', [('Connection', 'close')])\nreturn []", "hop-by-hop"),
    ("headers", "start('200 OK', [('Transfer-Encoding', 'chunked')])\nreturn []", "hop-by-hop"),
    ("headers", "start('200 OK', [('Status', '200 OK')])\nreturn []", "which is of CGI"),
    ("headers", "start('200 OK', [('Content-Length', 'many')])\nreturn []", "not a number"),
    ("body", "start('200 OK', [])\nreturn 'text'", "returned `str`"),
    ("body", "start('200 OK', [])\nreturn b'text'", "returned `bytes`"),
    ("body", "start('200 OK', [])\nreturn None", "no iterable"),
    ("body", "start('200 OK', [])\nreturn ['text']", "`str`, not bytes"),
    ("body", "start('200 OK', [])\nyield 'text'", "`str`, not bytes"),
    ("body", "start('200 OK', [])\nyield bytearray(b'text')", "`bytearray`, not bytes"),
    ("content_length", "start('200 OK', [('Content-Length', '3')])\nreturn [b'text']", "longer than its Content-Length of 3"),
    ("content_length", "start('200 OK', [('Content-Length', '5')])\nreturn [b'text']", "1 octets shorter"),
    ("content_length", "start('200 OK', [('Content-Length', '3')])\nyield b'te'\nyield b'xt'", "longer than"),
    ("content_length", "start('200 OK', [('Content-Length', '5')])\nyield b'te'\nyield b'xt'", "shorter than"),
    ("bodiless", "start('204 No Content', [])\nreturn [b'text']", "its status has none"),
    ("bodiless", "start('304 Not Modified', [])\nyield b'text'", "its status has none"),
    ("write", "start('200 OK', [])(b'text')\nreturn []", "uses write()"),
];

#[test]
fn each_rule_that_an_app_breaks_is_found_and_the_app_is_named() {
    for (rule, app, message) in BROKEN {
        let said = said("environ_of()", app);
        assert!(said.starts_with(&format!("`site:app` at `main` breaks PEP 3333 ({rule}): ")) && said.contains(message), "{app}: {said}");
    }
}

/// An environ, and a part of the message.
const ENVIRONS: &[(&str, &str)] = &[
    ("type('Own', (dict,), {})(environ_of())", "is `Own`, not dict"),
    ("{**environ_of(), 1: 'a'}", "the key 1, which is no str"),
    ("environ_of(REMOTE_USER=None)", "`REMOTE_USER` in the environ that it passes on is `NoneType`, not str"),
    ("environ_of(CONTENT_LENGTH=7)", "is `int`, not str"),
    ("environ_of(CONTENT_LENGTH='-1')", "`CONTENT_LENGTH` in the environ that it passes on is not a number"),
    ("environ_of(PATH_INFO=b'/')", "is `bytes`, not str"),
    ("environ_of(PATH_INFO='/\\u20ac')", "not in latin-1"),
    ("environ_of(PATH_INFO='page')", "`PATH_INFO` in the environ that it passes on does not begin with `/`"),
    ("environ_of(SCRIPT_NAME='/')", "`SCRIPT_NAME` in the environ that it passes on is `/`"),
    ("environ_of(HTTP_CONTENT_TYPE='text/plain')", "has no `HTTP_`"),
    ("{key: value for key, value in environ_of().items() if key != 'SERVER_NAME'}", "has no `SERVER_NAME`"),
    ("environ_of(**{'wsgi.input': None})", "`wsgi.input` in the environ that it passes on has no `read`"),
    ("environ_of(**{'wsgi.errors': print})", "`wsgi.errors` in the environ that it passes on has no `write`"),
];

#[test]
fn an_environ_that_breaks_the_rules_is_found_and_the_middleware_is_named() {
    for (environ, message) in ENVIRONS {
        let said = said(environ, "start('200 OK', [])\nreturn []");
        assert!(said.starts_with("`layer:Layer` at `wsgi` breaks PEP 3333 (environ): ") && said.contains(message), "{environ}: {said}");
    }
}

#[test]
fn what_keeps_the_rules_is_no_finding() {
    for (environ, app) in [
        ("environ_of()", "start('200 OK', [('Content-Length', '4'), ('Content-Type', 'text/plain')])\nreturn [b'te', b'xt']"),
        ("environ_of()", "start('200 OK', [('Content-Length', '4')])\nyield b''\nyield b'te'\nyield b'xt'"),
        ("environ_of()", "start('299 Fine, too', [('X', '')])\nyield b'text'"),
        ("environ_of()", "start('204 No Content', [])\nreturn []"),
        ("environ_of()", "start('304 Not Modified', [('Content-Length', '4')])\nreturn []"),
        ("environ_of(REQUEST_METHOD='HEAD')", "start('200 OK', [('Content-Length', '4')])\nreturn []"),
        ("environ_of(REQUEST_METHOD='HEAD')", "start('200 OK', [('Content-Length', '4')])\nreturn [b'text']"),
        ("environ_of()", "start('200 OK', [('X-Sendfile', '/a'), ('Content-Length', '4')])\nreturn []"),
        (
            "environ_of()",
            "start('200 OK', [])\ntry: raise ValueError\nexcept ValueError: start('500 No', [], sys.exc_info())\nreturn [b'no']",
        ),
        ("environ_of(**{'own.key': 1})", "start('200 OK', [])\nreturn iter([b'text'])"),
        ("{**environ_of(), 'ziggurat.lint': 'off'}", "return 'text'"),
        ("{key: value for key, value in environ_of().items() if key != 'ziggurat.lint'}", "return 'text'"),
    ] {
        assert_eq!(said(environ, app), "", "{app}");
    }
}

#[test]
fn an_exc_info_after_the_first_octets_is_for_the_server_to_raise() {
    let app = "start('200 OK', [])\nyield b'x'\ntry: raise ValueError\nexcept ValueError: start('500 No', [], sys.exc_info())";
    assert_eq!(said("environ_of()", app), "");
}
