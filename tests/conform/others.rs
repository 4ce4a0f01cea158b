//! Servers of others: what is known about them is found.

use crate::server::{Served, conform};

fn finds(served: &Served, failed: &[&str], notices: &[&str], passed: &[&str]) {
    let results = conform(served.address, &[failed, notices, passed].concat());
    for (level, expected, found) in
        [("failed", failed, &results.failed), ("notice", notices, &results.notices), ("ok", passed, &results.passed)]
    {
        let expected: Vec<&str> = expected.iter().copied().filter(|id| !found.contains(*id)).collect();
        assert!(expected.is_empty(), "{expected:?} are not {level}: {results:?}");
    }
}

#[test]
fn what_wsgiref_lacks_is_found() {
    let served = Served::python(
        "import app\nfrom wsgiref.simple_server import make_server\nserver = make_server('127.0.0.1', 0, app.application)\nprint(server.server_port, flush=True)\nserver.serve_forever()",
    );
    let failed = ["environ-absolute-form", "start-replaced-late", "length-long", "input-chunked"];
    let notices =
        ["http-version", "environ-no-proxy", "environ-underscores", "input-read-end", "slow-client", "slow-body", "idle-connection"];
    finds(&served, &failed, &notices, &["close", "write", "start-replaced", "environ-dict"]);
}

#[test]
fn what_waitress_lacks_is_found() {
    let served = Served::python(
        "import app\nfrom waitress.server import create_server\nserver = create_server(app.application, host='127.0.0.1', port=0)\nprint(server.effective_port, flush=True)\nserver.run()",
    );
    let failed = ["head", "file-head", "no-host", "two-hosts", "length-and-chunked", "coding-twice"];
    finds(
        &served,
        &failed,
        &["environ-no-proxy", "http2-line", "many-headers"],
        &["two-lengths", "space-before-colon", "slow-client", "close"],
    );
}

#[test]
fn what_gunicorn_lacks_is_found() {
    // Its socket is bound here, so that the port is known.
    let served = Served::python(
        "import os, socket, sys\nlistener = socket.create_server(('127.0.0.1', 0))\nos.set_inheritable(listener.fileno(), True)\nprint(listener.getsockname()[1], flush=True)\nos.execv(sys.executable, [sys.executable, '-m', 'gunicorn', '--threads', '4', '--bind', 'fd://%d' % listener.fileno(), 'app:application'])",
    );
    let failed = ["start-never", "start-replaced", "start-replaced-late", "no-host", "bad-host"];
    finds(&served, &failed, &["environ-no-proxy", "request-line-fragment"], &["head", "length-long", "two-lengths", "iterable-streams"]);
}
