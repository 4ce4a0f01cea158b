//! `ziggurat status` and `ziggurat reload`: what is said to a running server, over its control socket.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{FAILURE, File, MISUSE, colour, complain, print, status};
use crate::pipeline::control_socket;

/// How long a status may take. (A reload takes as long as the new stack needs to start.)
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints how the server fares that runs this file.
pub(super) fn status(file: &File, json: bool) -> u8 {
    match exchange(&file.path, "GET", "/status", Some(PATIENCE)) {
        Ok((200, status)) if json => print(&format!("{status:#}\n")),
        Ok((200, status)) => print(&status::table(&status)),
        Ok(answer) => strange(&answer),
        Err(code) => code,
    }
}

/// Has the server that runs this file read it again, and says what came of it.
pub(super) fn reload(file: &File) -> u8 {
    let answer = match exchange(&file.path, "POST", "/reload", None) {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    let text = |key: &str| answer.1[key].as_str().unwrap_or_default().to_owned();
    match answer.0 {
        200 => print(&format!("reloaded after {} ms: {}\n", answer.1["ms"], text("summary"))),
        422 => complain(&format!("{}\nnot reloaded: what runs goes on", text("report").trim_end()), FAILURE),
        _ => strange(&answer),
    }
}

fn strange((status, body): &(u16, Value)) -> u8 {
    complain(&format!("error: the server answered {status}: {}", body["detail"].as_str().unwrap_or("no reason given")), FAILURE)
}

/// One request, and the status and body of its answer; or the exit code, when what is wrong has been said.
fn exchange(file: &Path, method: &str, path: &str, patience: Option<Duration>) -> Result<(u16, Value), u8> {
    let socket = match control_socket(file, &|name| std::env::var_os(name)) {
        Ok(Some(socket)) => socket,
        Ok(None) => {
            let hint = "name a socket, `\"server\": { \"control\": \"run/control.sock\" }`, and start the server with it; SIGHUP reloads without one";
            return Err(complain(&format!("error: `{}` names no control socket\nhint: {hint}", file.display()), MISUSE));
        }
        Err(report) => return Err(complain(&report.render(colour()), MISUSE)),
    };
    talk(&socket, method, path, patience).map_err(|error| complain(&explain(&socket, &error), FAILURE))
}

fn talk(socket: &PathBuf, method: &str, path: &str, patience: Option<Duration>) -> io::Result<(u16, Value)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // An answer in HTTP/1.0 ends with its connection, and is never in chunks.
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let parsed = answer.split_once("\r\n\r\n").and_then(|(head, body)| Some((head.split(' ').nth(1)?.parse().ok()?, body)));
    let (status, body) = parsed.ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "the server hung up"))?;
    // What is refused may be said in plain text.
    Ok((status, serde_json::from_str(body).unwrap_or_else(|_| serde_json::json!({ "detail": body.trim_end() }))))
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
            format!("error: `{shown}` is not yours to open\nhint: ask as the user who runs the server, or as root")
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("error: the server at `{shown}` does not answer"),
        _ => format!("error: cannot speak to the server at `{shown}`: {error}"),
    }
}
