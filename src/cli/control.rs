//! `ziggurat status`, `ziggurat reload`, `ziggurat purge` and `ziggurat explain --live`: requests to a running server over its control socket.

use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time::timeout;
use ziggurat_middleware::cache::Purge;

use super::{FAILURE, File, MISUSE, SUCCESS, color, complain, plan, print, status};
use crate::pipeline::{Explanation, Question, Report, control_socket};

/// How long a status may take. A reload takes as long as the new stack needs to start.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a plan may take. The settings of a Django site are imported for it.
const PLAN_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest response that is read.
const MAX_RESPONSE: usize = 64 << 20;

/// Prints the status of the server that runs this file.
pub(super) fn status(file: &File, json: bool) -> u8 {
    match send(&file.path, Method::GET, "/status", Some(STATUS_TIMEOUT)) {
        Ok((200, status)) if json => print(&format!("{status:#}\n")),
        Ok((200, status)) => print(&status::table(&status)),
        Ok(response) => unexpected(&response),
        Err(code) => code,
    }
}

/// Has the server that runs this file reload it, and prints the outcome.
pub(super) fn reload(file: &File) -> u8 {
    const CONCLUSION: &str = "not reloaded: what runs goes on";
    let socket = match named_socket(&file.path) {
        Ok(socket) => socket,
        Err(report) => return complain(&format!("{}\n{CONCLUSION}", report.render(color()).trim_end()), FAILURE),
    };
    let response = match socket.and_then(|socket| request(&socket, Method::POST, &about("/reload", file), None)) {
        Ok(response) => response,
        Err(code) => return code,
    };
    let text = |key: &str| response.1[key].as_str().unwrap_or_default().to_owned();
    match response.0 {
        200 => print(&format!("reloaded {} after {} ms: {}\n", text("file"), response.1["ms"], text("summary"))),
        422 => complain(&format!("{}\n{CONCLUSION}", text("report").trim_end()), FAILURE),
        _ => unexpected(&response),
    }
}

/// Prints what a reload of the server that runs this file would change.
pub(super) fn plan(file: &File, json: bool) -> u8 {
    let planned = match named_socket(&file.path) {
        // As the server would refuse it.
        Err(report) if json => Ok((422, json!({ "report": report.render(false), "findings": report.to_json() }))),
        Err(report) => Ok((422, json!({ "report": report.render(color()) }))),
        Ok(socket) => socket.and_then(|socket| request(&socket, Method::GET, &about("/plan", file), Some(PLAN_TIMEOUT))),
    };
    match planned {
        Ok((200, plan)) if json => print(&format!("{plan:#}\n")),
        Ok((200, plan)) => {
            if let Some(report) = plan["report"].as_str().filter(|report| !report.is_empty()) {
                complain(report, SUCCESS);
            }
            print(&plan::table(&plan))
        }
        Ok((422, refused)) if json => {
            print(&format!("{refused:#}\n"));
            FAILURE
        }
        Ok((422, refused)) => {
            let report = refused["report"].as_str().unwrap_or_default();
            complain(&format!("{}\na reload would be refused: what runs would go on", report.trim_end()), FAILURE)
        }
        Ok(response) => unexpected(&response),
        Err(code) => code,
    }
}

/// The target with the file: the same socket may belong to a server that runs another one.
fn about(path: &str, file: &File) -> String {
    let file = std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone());
    format!("{path}?file={}", percent_encode(file.as_os_str().as_bytes(), NON_ALPHANUMERIC))
}

/// What the server that runs this file says of a request.
pub(super) fn explain_live(file: &File, question: &Question) -> Result<Explanation, u8> {
    let json = serde_json::to_vec(question).unwrap_or_default();
    let target = format!("/explain?{}", percent_encode(&json, NON_ALPHANUMERIC));
    match send(&file.path, Method::GET, &target, Some(STATUS_TIMEOUT))? {
        (200, explanation) => serde_json::from_value(explanation).map_err(|error| complain(&format!("error: {error}"), FAILURE)),
        (422, body) => Err(complain(&format!("error: {}", body["detail"].as_str().unwrap_or_default()), MISUSE)),
        response => Err(unexpected(&response)),
    }
}

/// Has the server that runs this file remove stored responses. Returns the places of its caches, and how many each has removed.
pub(super) fn purge(file: &File, purge: &Purge) -> Result<Vec<(String, u64)>, u8> {
    let json = serde_json::to_vec(purge).unwrap_or_default();
    let target = format!("/purge?{}", percent_encode(&json, NON_ALPHANUMERIC));
    match send(&file.path, Method::POST, &target, Some(STATUS_TIMEOUT))? {
        (200, answer) => {
            let purged = answer["purged"].as_array().into_iter().flatten();
            let one =
                |cache: &Value| (cache["place"].as_str().unwrap_or_default().to_owned(), cache["responses"].as_u64().unwrap_or_default());
            Ok(purged.map(one).collect())
        }
        response => Err(unexpected(&response)),
    }
}

fn unexpected((status, body): &(u16, Value)) -> u8 {
    complain(&format!("error: the server answered {status}: {}", body["detail"].as_str().unwrap_or("no reason given")), FAILURE)
}

/// Sends a request. Returns the status and the body of the response, or the exit code after printing an error.
fn send(file: &Path, method: Method, path: &str, limit: Option<Duration>) -> Result<(u16, Value), u8> {
    request(&socket(file)?, method, path, limit)
}

/// As [`send`], to a socket that is known.
fn request(socket: &Path, method: Method, path: &str, limit: Option<Duration>) -> Result<(u16, Value), u8> {
    run(exchange(socket, method, path), limit).map_err(|error| complain(&explain(socket, &error), FAILURE))
}

/// The status of the server with this control socket.
///
/// # Errors
///
/// Why there is none, in words.
pub(super) fn ask_status(socket: &Path) -> Result<Value, String> {
    match run(exchange(socket, Method::GET, "/status"), Some(STATUS_TIMEOUT)) {
        Ok((200, status)) => Ok(status),
        Ok((status, body)) => Err(format!("error: the server answered {status}: {}", body["detail"].as_str().unwrap_or("no reason given"))),
        Err(error) => Err(explain(socket, &error)),
    }
}

/// The control socket that the file names, or the exit code after printing an error.
pub(super) fn socket(file: &Path) -> Result<PathBuf, u8> {
    named_socket(file).unwrap_or_else(|report| Err(complain(&report.render(color()), MISUSE)))
}

/// As [`socket`]. The outer error is what is wrong with the file.
fn named_socket(file: &Path) -> Result<Result<PathBuf, u8>, Report> {
    let named = match control_socket(file, &|name| std::env::var_os(name)) {
        // A mistake on the command line.
        Err(report) if !file.exists() => return Ok(Err(complain(&report.render(color()), MISUSE))),
        named => named?,
    };
    Ok(named.ok_or_else(|| {
        let hint =
            "name a socket, `\"server\": { \"control\": \"run/control.sock\" }`, and start the server with it; SIGHUP reloads without one";
        complain(&format!("error: `{}` names no control socket\nhint: {hint}", file.display()), MISUSE)
    }))
}

/// Waits for a response, up to a time limit, on a runtime of its own.
fn run<T>(response: impl Future<Output = io::Result<T>>, limit: Option<Duration>) -> io::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        match limit {
            Some(limit) => timeout(limit, response).await?,
            None => response.await,
        }
    })
}

async fn exchange(socket: &Path, method: Method, path: &str) -> io::Result<(u16, Value)> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Its errors are those of the response.
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, "localhost").body(Empty::<Bytes>::new());
    let response = sender.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await.map_err(io::Error::other)?.to_bytes();
    // A refusal of the server itself is plain text.
    let text = || json!({ "detail": String::from_utf8_lossy(&body).trim_end() });
    Ok((status, serde_json::from_slice(&body).unwrap_or_else(|_| text())))
}

fn explain(socket: &Path, error: &io::Error) -> String {
    let shown = socket.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            format!(
                "error: no server answers at `{shown}`\nhint: start it with `ziggurat run`; a socket that was named later is there after a reload (SIGHUP)"
            )
        }
        ErrorKind::PermissionDenied => {
            format!("error: no permission to open `{shown}`\nhint: run this as the user who runs the server, or as root")
        }
        ErrorKind::TimedOut => format!("error: the server at `{shown}` does not answer"),
        _ => format!("error: cannot reach the server at `{shown}`: {error}"),
    }
}
