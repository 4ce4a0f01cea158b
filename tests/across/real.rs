//! Middleware of others across the border: the same layers over the same app answer the same under waitress without Ziggurat, as one Python call
//! under Ziggurat, and with native layers between them. The table in `docs/middleware.md` is what this has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::{Value, json};
use ziggurat_middleware::Body;

use crate::cases::{Ask, CASES, Case};
use crate::program_support::virtual_env;
use crate::support::{Executor, Site, apps};

/// Native layers that change nothing about an answer.
fn native() -> Vec<Value> {
    vec![json!("headers"), json!({ "access_log": { "to": "@FOLDER/access" } }), json!({ "body_limit": "20MiB" })]
}

/// Where the middleware stands.
#[derive(Clone, Copy)]
enum Stand {
    /// Python layers directly above the app: one call.
    Fused,
    /// Native layers between it and the app.
    Outermost,
    /// Native layers and a Python layer above it, and native layers below.
    Between,
}

impl Stand {
    const ALL: [Self; 3] = [Self::Fused, Self::Outermost, Self::Between];

    fn layers(self, case: &Case) -> String {
        // Claims of proxies reach Python where somebody has judged them.
        let mut layers = vec![json!({ "forwarded": { "trust": "192.0.2.0/24" } })];
        if matches!(self, Self::Between) {
            layers.extend(native());
            layers.push(json!({ "wsgi": "across:Through" }));
        }
        for layer in case.layers() {
            if matches!(self, Self::Between) {
                layers.extend(native());
            }
            layers.push(json!({ "wsgi": layer }));
        }
        if !matches!(self, Self::Fused) {
            layers.extend(native());
        }
        Value::from(layers).to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn middleware_of_others_answers_the_same_with_and_without_native_layers_between() {
    let peer = Peer::start();
    let mut table = String::from(HEAD);
    let mut differ = Vec::new();
    for case in CASES {
        let mut results = Vec::new();
        for (nth, stand) in Stand::ALL.into_iter().enumerate() {
            let executor = if case.package.is_empty() { Executor::Workers(2) } else { Executor::Pool(2) };
            let site = Site::new(&stand.layers(case), "real:app", executor);
            let (mut same, mut cookies) = (true, (None, None));
            // Each stand has a stack of its own there too: some count.
            let stack = format!("{} {nth}", case.name);
            for ask in case.asks {
                let (expected, cookie) = peer.ask(&stack, ask, cookies.0.as_deref());
                cookies.0 = cookie.or(cookies.0);
                let (seen, cookie) = ask_site(&site, ask, cookies.1.as_deref()).await;
                cookies.1 = cookie.or(cookies.1);
                if !expected.is_same(&seen) {
                    differ.push(format!(
                        "{stack}: {} {}\n  expected {expected:?}\n  seen     {seen:?}\n{}",
                        ask.method,
                        ask.target,
                        site.log()
                    ));
                    same = false;
                }
            }
            // What a checker finds when it is closed is no answer's business.
            for complaint in ["close() of the app's response raised", "AssertionError", "Warning"] {
                assert!(!site.log().contains(complaint), "{stack}: {}", site.log());
            }
            results.push(if same { "same" } else { "differs" });
        }
        let [fused, outermost, between] = results[..] else { unreachable!() };
        writeln!(table, "| {} | {} | {} | {fused} | {outermost} | {between} |", case.name, version(case.package), case.what).unwrap();
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    table.push_str(FOOT);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/middleware.md");
    if std::env::var_os("ZIGGURAT_BLESS").is_some() {
        fs::write(&page, &table).unwrap();
    }
    assert!(
        fs::read_to_string(&page).unwrap_or_default() == table,
        "docs/middleware.md is stale: run this test with ZIGGURAT_BLESS=1 to write it anew"
    );
}

const HEAD: &str = "# Tested Python middleware\n\n\
    This page lists the Python middleware that is tested as layers of a pipeline. Each is put over the same app in four ways:\n\n\
    | | stack |\n\
    | --- | --- |\n\
    | reference | under waitress, without Ziggurat |\n\
    | fused | Python layers directly above the app: one call into Python |\n\
    | outermost | native layers between the middleware and the app |\n\
    | between | native layers and another Python layer above the middleware, native layers below it |\n\n\
    \"same\" means that every response had the same status, headers and body as under waitress. `tests/across/real.rs` runs the comparison and writes this page.\n\n\
    | middleware | version | what is tested | fused | outermost | between |\n\
    | --- | --- | --- | --- | --- | --- |\n";

const FOOT: &str = "\nNot compared:\n\n\
    - headers about the time, the server or the transport: `Date`, `Expires`, `Server`, `Via`, `Connection`, `Transfer-Encoding`\n\
    - `Content-Length`, if one of the two responses has none\n\
    - the traceback of an error page, which names files of the server; its status, its headers and the exception are compared\n\n\
    Middleware that reads `X-Forwarded-*` needs a native [`forwarded`](layers/forwarded.md) layer above it that trusts the proxy. Without one, these headers do not reach Python.\n\n\
    [layers/wsgi.md](layers/wsgi.md) lists the options of a Python layer. [The guide](guide/python.md) writes one.\n";

/// The version that is installed for tests.
fn version(package: &str) -> String {
    let pinned = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements-test.txt")).unwrap();
    if package.is_empty() {
        return String::new();
    }
    let line = pinned.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix("=="));
    line.map_or_else(|| "Python's own".to_owned(), str::to_owned)
}

/// What is compared of an answer.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: BTreeMap<String, BTreeSet<String>>,
    length: Option<String>,
    body: String,
}

impl Seen {
    fn is_same(&self, other: &Self) -> bool {
        let length_is_same = self.length.is_none() || other.length.is_none() || self.length == other.length;
        length_is_same && self.status == other.status && self.headers == other.headers && self.body == other.body
    }

    /// What is seen of an answer, and the cookie it sets.
    fn new(ask: &Ask, status: u16, headers: impl Iterator<Item = (String, String)>, mut body: Vec<u8>) -> (Self, Option<String>) {
        let (mut kept, mut cookie) = (BTreeMap::<_, BTreeSet<_>>::new(), None);
        for (name, mut value) in headers {
            if ["date", "server", "via", "connection", "transfer-encoding", "expires"].contains(&name.as_str()) {
                continue;
            }
            value = value.trim().to_owned();
            if name == "set-cookie" {
                cookie = value.split(';').next().map(|cookie| cookie.trim().to_owned());
                // The rest is random.
                value.truncate(value.find('=').unwrap_or_default());
            }
            kept.entry(name).or_default().insert(value);
        }
        if kept.get("content-encoding").is_some_and(|codings| codings.contains("gzip")) && body.len() > 10 {
            // When it was made.
            body[4..8].fill(0);
        }
        if ask.method == "HEAD" {
            // waitress sends what the app gives, and no client reads it.
            body.clear();
        }
        let mut length = kept.remove("content-length").map(|values| values.into_iter().collect::<String>());
        if let Some(words) = ask.holds {
            let text = String::from_utf8_lossy(&body);
            assert!(words.iter().any(|word| text.contains(word)), "{text}");
            body = words.iter().map(|word| format!("{word}: {}\n", text.contains(word))).collect::<String>().into_bytes();
            length = None;
        }
        (Self { status, headers: kept, length, body: body.escape_ascii().to_string() }, cookie)
    }
}

async fn ask_site(site: &Site, ask: &Ask, cookie: Option<&str>) -> (Seen, Option<String>) {
    let mut request = ziggurat_middleware::request(ask.method.parse::<Method>().unwrap(), ask.target, Body::from(ask.body));
    for (name, value) in ask.headers.iter().copied().chain(cookie.map(|cookie| ("cookie", cookie))) {
        request.headers_mut().append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    if !ask.body.is_empty() {
        request.headers_mut().insert("content-length", ask.body.len().into());
    }
    let answer = site.send(request).await;
    assert!(!answer.broken, "{}", site.log());
    let headers = answer.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    Seen::new(ask, answer.status.as_u16(), headers, answer.body)
}

/// waitress, with all the stacks.
struct Peer {
    child: Child,
    port: u16,
}

impl Peer {
    fn start() -> Self {
        let stacks =
            CASES.iter().flat_map(|case| (0..Stand::ALL.len()).map(|nth| (format!("{} {nth}", case.name), Value::from(case.layers()))));
        let stacks: serde_json::Map<String, Value> = stacks.collect();
        let mut command = Command::new(virtual_env().join("bin/python"));
        command.arg("plain.py").current_dir(apps()).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{}", Value::from(stacks)).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { port: line.trim().parse().unwrap_or_else(|_| panic!("waitress does not start")), child }
    }

    fn ask(&self, stack: &str, ask: &Ask, cookie: Option<&str>) -> (Seen, Option<String>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // What comes in chunks would have to be put together.
        let mut head = format!("{} {} HTTP/1.0\r\nHost: test\r\nX-Stack: {stack}\r\n", ask.method, ask.target);
        for (name, value) in ask.headers.iter().copied().chain(cookie.map(|cookie| ("cookie", cookie))) {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if !ask.body.is_empty() {
            write!(head, "Content-Length: {}\r\n", ask.body.len()).unwrap();
        }
        stream.write_all(format!("{head}\r\n{}", ask.body).as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n").expect("an answer");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let headers =
            head.lines().skip(1).filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Seen::new(ask, status, headers, answer[end + 4..].to_vec())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
