//! What is imported responds as the original does: gunicorn, uWSGI and Paste Deploy with waitress run their configuration, the program runs what
//! `ziggurat import` makes of it, and both get the same requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use crate::support::{PATIENCE, Program, command, folder_of, virtual_env};

/// Pages, a form, a redirect, and what the environ says.
const SITE: &str = r#"
import json, os, sys

KEYS = ["REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_PROTOCOL", "HTTP_HOST",
        "HTTP_COOKIE", "HTTP_X_A", "wsgi.url_scheme", "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once", "site.mark"]


def app(environ, start_response):
    page = environ["PATH_INFO"].rsplit("/", 1)[-1]
    status, headers, body = "200 OK", [("Content-Type", "text/html; charset=utf-8"), ("X-Page", page)], f"<h1>{page}</h1>".encode() * 100
    if page == "environ":
        # A server may leave out what is empty.
        body = json.dumps({key: environ.get(key) or "" for key in KEYS} | {"A": os.environ.get("A"), "configured": CONFIGURED}).encode()
    elif page == "form":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))[::-1]
    elif page == "moved":
        status, body = "302 Found", b""
        headers += [("Location", "/elsewhere?x=1"), ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; HttpOnly")]
    elif page == "missing":
        status, body = "404 Not Found", b"nothing here"
    elif page == "empty":
        status, headers, body = "204 No Content", [("X-Page", "empty")], b""
    start_response(status, headers)
    return [body]


CONFIGURED = None


def make(global_conf, **local_conf):
    conf = {**{key: value for key, value in global_conf.items() if key not in ("here", "__file__")}, **local_conf}
    text = json.dumps(conf, sort_keys=True).replace(global_conf["here"], "HERE")

    def configured(environ, start_response):
        global CONFIGURED
        CONFIGURED = text
        return app(environ, start_response)

    return configured


class Mark:
    """Leaves its mark in the environ, and a header in the response."""

    def __init__(self, app, global_conf, **local_conf):
        self.app, self.mark = app, local_conf["mark"]

    def __call__(self, environ, start_response):
        environ["site.mark"] = environ.get("site.mark", "") + self.mark

        def start(status, headers, exc_info=None):
            return start_response(status, [*headers, ("X-Mark", self.mark)], exc_info)

        return self.app(environ, start)


def mark(global_conf, **local_conf):
    return lambda app: Mark(app, global_conf, **local_conf)
"#;

/// A distribution that advertises the factories.
const ENTRY_POINTS: &str = "[paste.app_factory]\nmain = site_under_test:make\n[paste.filter_factory]\nmark = site_under_test:mark\n[paste.filter_app_factory]\nmark_app = site_under_test:Mark\n";

/// Requests below a prefix.
const PAGES: &[(&str, &str, &str, &str)] = &[
    ("GET", "/", "", ""),
    ("GET", "/page", "", ""),
    ("GET", "/environ", "", ""),
    ("GET", "/environ?x=1&y=%20b+c&z", "Cookie: a=1; b=2\r\nX-A: one\r\n", ""),
    ("GET", "/a%20b/%C3%A9%2Fc/environ", "", ""),
    ("HEAD", "/page", "", ""),
    ("HEAD", "/environ", "", ""),
    ("POST", "/form", "Content-Type: application/x-www-form-urlencoded\r\n", "name=value&more=%20"),
    ("POST", "/environ", "Content-Type: text/plain\r\n", "hello"),
    ("PUT", "/environ", "", ""),
    ("DELETE", "/missing", "", ""),
    ("OPTIONS", "/environ", "", ""),
    ("GET", "/moved", "", ""),
    ("GET", "/missing", "", ""),
    ("GET", "/empty", "", ""),
];

/// What is compared of a response.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn ask(address: SocketAddr, (method, target, headers, body): (&str, &str, &str, &str)) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{headers}{length}\r\n{body}").unwrap();
    let mut octets = Vec::new();
    // A reset after the response is an end like any other.
    let _ = stream.read_to_end(&mut octets);
    let text = String::from_utf8_lossy(&octets);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {target}: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let mut all: Vec<(String, String)> =
        lines.map(|line| line.split_once(':').unwrap()).map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let is_chunked = all.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if is_chunked { joined(body) } else { body.to_owned() };
    all.retain(|(name, _)| {
        matches!(name.as_str(), "content-type" | "location" | "set-cookie" | "www-authenticate" | "allow") || name.starts_with("x-")
    });
    all.sort();
    Answer { status, headers: all, body }
}

/// The body of chunks.
fn joined(mut chunks: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        chunks = &rest[size + 2..];
    }
    whole
}

/// A server with its own configuration. Dropping it ends it.
struct Original {
    child: Child,
    address: SocketAddr,
}

impl Original {
    /// Starts it, and waits until it says where it listens: after one of these words.
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut original = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let (sender, lines) = channel();
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(original.child.stdout.take().unwrap()), Box::new(original.child.stderr.take().unwrap())];
        for pipe in pipes {
            let sender = sender.clone();
            thread::spawn(move || BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        }
        drop(sender);
        let mut said = String::new();
        loop {
            let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the original does not listen:\n{said}"));
            said += &format!("{line}\n");
            let after =
                ["Listening at: http://", "bound to TCP address ", "Serving on http://"].iter().find_map(|mark| line.split_once(mark));
            if let Some((_, address)) = after {
                let address = address.split([' ', '/']).next().unwrap();
                // It goes on talking.
                thread::spawn(move || lines.iter().for_each(drop));
                original.address = address.parse().unwrap_or_else(|_| panic!("{line}"));
                return original;
            }
        }
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn in_venv(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(virtual_env().join("bin").join(program));
    command.current_dir(folder).env_remove("PYTHONPATH");
    command
}

/// Imports `file`, serves it, and asks both servers for the pages below each prefix, and for more.
fn both_respond_alike(
    name: &str,
    file: &str,
    text: &str,
    original: impl FnOnce(&Path) -> Command,
    prefixes: &[&str],
    more: &[(&str, &str, &str, &str)],
) {
    let folder = folder_of(&[
        ("site_under_test.py", SITE),
        ("files/site.css", "body { color: red }\n"),
        ("other.inc", "[DEFAULT]\ncolour = red\n[app:main]\nuse = egg:site-under-test#main\nfrom = %(here)s/other\n"),
        ("site_under_test-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: site-under-test\nVersion: 1.0\n"),
        ("site_under_test-1.0.dist-info/entry_points.txt", ENTRY_POINTS),
        (file, text),
    ]);
    let imported = command(folder.path()).args(["import", file, "-o", "pipeline.json"]).output().unwrap();
    assert_eq!(imported.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&imported.stderr));
    let original = Original::start(&mut original(folder.path()));
    let mut run = command(folder.path());
    run.arg("run");
    let program = Program::spawn(run, folder);
    let targets = prefixes
        .iter()
        .flat_map(|prefix| PAGES.iter().map(move |(method, path, headers, body)| (*method, format!("{prefix}{path}"), *headers, *body)));
    let more = more.iter().map(|(method, path, headers, body)| (*method, (*path).to_owned(), *headers, *body));
    for (method, target, headers, body) in targets.chain(more) {
        let request = (method, target.as_str(), headers, body);
        let (mut theirs, mut ours) = (ask(original.address, request), ask(program.address(), request));
        // The program says what the text in files is encoded in.
        if target.starts_with("/files/") {
            for (_, value) in theirs.headers.iter_mut().chain(&mut ours.headers) {
                *value = value.replace("; charset=utf-8", "");
            }
        }
        if method == "HEAD" {
            // waitress and uWSGI send what the app returns.
            theirs.body.clear();
        }
        assert_eq!(ours, theirs, "{name}: {method} {target} {headers}\n{}", program.log());
    }
}

#[test]
fn what_is_imported_from_gunicorn_responds_as_gunicorn() {
    let conf = |folder: &Path| {
        let mut gunicorn = in_venv("gunicorn", folder);
        gunicorn.args(["-c", "gunicorn.conf.py"]);
        gunicorn
    };
    let https = ("GET", "/environ", "X-Forwarded-Proto: https\r\n", "");
    for (name, text) in [
        ("sync", "bind = '127.0.0.1:0'\nworkers = 2\nwsgi_app = 'site_under_test:app'\n"),
        ("one worker", "bind = ['127.0.0.1:0']\nworkers = 1\nraw_env = ['A=b c']\nwsgi_app = 'site_under_test:app'\n"),
        (
            "threads",
            "bind = f\"127.0.0.1:{0}\"\nworkers = 1\nthreads = 2 + 2\nkeepalive = 2\nlimit_request_fields = 50\nwsgi_app = 'site_under_test:app'\n",
        ),
        (
            "recycled",
            "bind = '127.0.0.1:0'\nmax_requests = 5\nmax_requests_jitter = 2\npreload_app = True\nwsgi_app = 'site_under_test:app'\n",
        ),
    ] {
        both_respond_alike(name, "gunicorn.conf.py", text, conf, &[""], &[https]);
    }
    let line = "gunicorn -b 127.0.0.1:0 --threads 2 -e A=x 'site_under_test:make({\"here\": \"/x\"}, title=\"a b\")'";
    let shell = |folder: &Path| {
        let mut gunicorn = in_venv("gunicorn", folder);
        gunicorn.args(["-b", "127.0.0.1:0", "--threads", "2", "-e", "A=x", "site_under_test:make({\"here\": \"/x\"}, title=\"a b\")"]);
        gunicorn
    };
    both_respond_alike("command line", "Procfile", &format!("web: {line}\n"), shell, &[""], &[https]);
}

#[test]
fn what_is_imported_from_uwsgi_responds_as_uwsgi() {
    if Command::new("uwsgi").arg("--version").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let uwsgi = |option: &'static str, file: &'static str| {
        move |folder: &Path| {
            let mut uwsgi = Command::new("uwsgi");
            uwsgi.args(["--die-on-term", "--plugin", "python3", option, file]).current_dir(folder).env_remove("PYTHONPATH");
            uwsgi
        }
    };
    let files: &[(&str, &str, &str, &str)] = &[("GET", "/files/site.css", "", ""), ("HEAD", "/files/site.css", "", "")];
    let ini = "[uwsgi]\nhttp-socket = 127.0.0.1:0\n";
    for (name, text, prefixes, more) in [
        ("one process", "module = site_under_test:app\nenv = A=b c\nneed-app = true\n", &[""][..], &[][..]),
        (
            "processes",
            "master = true\nprocesses = 2\nthreads = 2\nenable-threads = true\nwsgi-file = %dsite_under_test.py\ncallable = app\n",
            &[""],
            &[],
        ),
        ("files", "wsgi = site_under_test\ncallable = app\nstatic-map = /files=files\nadd-header = X-Served: yes\n", &[""], files),
        (
            "mounts",
            "mount = /blog=site_under_test:app\nmount = /shop/x=site_under_test:app\nmodule = site_under_test:app\nmanage-script-name = true\n",
            &["", "/blog", "/shop/x", "/blogs"],
            &[],
        ),
    ] {
        both_respond_alike(name, "uwsgi.ini", &format!("{ini}{text}"), uwsgi("--ini", "uwsgi.ini"), prefixes, more);
    }
    let yaml = "uwsgi:\n  http-socket: 127.0.0.1:0\n  module: site_under_test:app\n  env:\n    - A=one\n";
    both_respond_alike("yaml", "uwsgi.yaml", yaml, uwsgi("--yaml", "uwsgi.yaml"), &[""], &[]);
    let xml =
        "<uwsgi>\n  <http-socket>127.0.0.1:0</http-socket>\n  <module>site_under_test:app</module>\n  <threads>2</threads>\n</uwsgi>\n";
    both_respond_alike("xml", "uwsgi.xml", xml, uwsgi("--xml", "uwsgi.xml"), &[""], &[]);
}

#[test]
fn what_is_imported_from_paste_deploy_responds_as_its_server() {
    const SERVE: &str = "import logging, sys\nlogging.basicConfig(level=logging.INFO)\nfrom paste.deploy import loadapp, loadserver\nuri = 'config:' + sys.argv.pop()\nloadserver(uri)(loadapp(uri))\n";
    let original = |folder: &Path| {
        let mut python = in_venv("python", folder);
        python.args(["-c", SERVE]).arg(folder.join("site.ini"));
        python
    };
    let waitress = "[server:main]\nuse = egg:waitress#main\nlisten = 127.0.0.1:0\n";
    let gunicorn = "[server:main]\nuse = egg:gunicorn#main\nhost = 127.0.0.1\nport = 0\nthreads = 2\n";
    let files: &[(&str, &str, &str, &str)] = &[
        ("GET", "/files/site.css", "", ""),
        ("HEAD", "/files/site.css", "", ""),
        ("GET", "/files/no.css", "", ""),
        ("GET", "/environ", "", ""),
    ];
    for (name, server, text, prefixes, more) in [
        (
            "app",
            waitress,
            "[DEFAULT]\ndebug = false\n[app:main]\nuse = egg:site-under-test#main\nset debug = true\nget mode = debug\ndata = %(here)s/data\nrate = 100%%\n",
            &[""][..],
            &[][..],
        ),
        (
            "pipeline",
            waitress,
            "[pipeline:main]\npipeline = prefix one two egg:Paste#httpexceptions site\n[filter:prefix]\nuse = egg:PasteDeploy#prefix\nprefix = /shop\n\
             [filter:one]\nuse = egg:site-under-test#mark\nmark = 1\n[filter:two]\npaste.filter_app_factory = site_under_test:Mark\nmark = 2\nfilter-with = three\n\
             [filter:three]\nuse = call:site_under_test:mark\nmark = 3\n[app:site]\npaste.app_factory = site_under_test:make\n",
            &[""],
            &[],
        ),
        (
            "map",
            waitress,
            "[composite:main]\nuse = egg:Paste#urlmap\n/ = site\n/blog = blog\n/blog/deep = deep\n/files = files\n[app:site]\nuse = egg:site-under-test\ntitle = Site\n\
             [filter-app:blog]\nuse = egg:site-under-test#mark_app\nnext = site\nmark = b\n[app:deep]\nuse = site\ntitle = Deep\n[app:files]\nuse = egg:Paste#static\ndocument_root = %(here)s/files\n",
            &["", "/blog", "/blog/deep", "/blogs"],
            &files[..3],
        ),
        (
            "filter over map",
            gunicorn,
            "[pipeline:main]\npipeline = outer map\n[filter:outer]\nuse = egg:site-under-test#mark\nmark = o\n[composite:map]\nuse = egg:Paste#urlmap\n/a = site\nnot_found_app = other\n\
             [app:site]\nuse = call:site_under_test:make\n[app:other]\nuse = config:other.inc\nsize = 1\n",
            &["", "/a"],
            &[],
        ),
        (
            "variables",
            &format!("{gunicorn}raw_env = A=b c\n"),
            "[filter-app:main]\nuse = egg:site-under-test#mark\nnext = site\nmark = m\n[app:site]\nuse = egg:site-under-test\n",
            &[""],
            &[],
        ),
        (
            "cascade",
            waitress,
            "[composite:main]\nuse = egg:Paste#cascade\napp1 = files\napp2 = site\n[app:files]\nuse = egg:Paste#urlmap\n/files = static\n[app:static]\nuse = egg:Paste#static\ndocument_root = %(here)s/files\n\
             [app:site]\nuse = egg:site-under-test\n",
            &[""],
            files,
        ),
    ] {
        both_respond_alike(name, "site.ini", &format!("{text}{server}"), original, prefixes, more);
    }
}
