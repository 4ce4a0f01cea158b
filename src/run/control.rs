//! The control socket: `ziggurat status` and `ziggurat reload` send HTTP requests to the running process.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tower::service_fn;
use ziggurat_middleware::cache::Purge;
use ziggurat_middleware::units::Duration;
use ziggurat_middleware::{Body, IntoApp, Next, Place, Problem, Request, Response};

use super::plan::PlanResult;
use super::reload::{ReloadResult, Waiting};
use crate::apps::dashboard::Asked;
use crate::pipeline::{Explanation, Question};
use crate::server::{Listener, Options, Server};

/// The socket and the server behind it.
pub(super) struct Control {
    path: PathBuf,
    server: Server,
}

/// A command of the socket, and where its result goes.
pub(super) enum ControlCommand {
    Status(oneshot::Sender<Value>),
    /// With the file that the client means, if it names one.
    Reload(Option<PathBuf>, Waiting),
    /// What a reload would change; also with the file that the client means.
    Plan(Option<PathBuf>, oneshot::Sender<PlanResult>),
    Reopen(oneshot::Sender<()>),
    /// Removes stored responses, and says how many, by place.
    Purge(Purge, oneshot::Sender<Value>),
    /// What becomes of a request now.
    Explain(Question, oneshot::Sender<Result<Explanation, String>>),
}

/// The length of the queue of commands.
pub(super) const WAITING: usize = 16;

impl Control {
    /// Starts to accept commands. Must be called within a runtime.
    pub(super) fn start(path: PathBuf, listener: Listener, commands: mpsc::Sender<ControlCommand>) -> std::io::Result<Self> {
        // Its clients are people and scripts of the same user: few at once, and none worth a long drain.
        let options = Options { max_connections: 64, drain: Duration::secs(2), ..Options::default() };
        Ok(Self { path, server: Server::start(vec![listener], stack(commands), &options)? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Responds to requests under way, and removes the socket.
    pub(super) async fn close(self) {
        self.server.drain().await;
    }
}

fn stack(commands: mpsc::Sender<ControlCommand>) -> Next {
    let app = service_fn(move |request: Request| {
        let commands = commands.clone();
        async move { Ok::<_, Infallible>(answer(&commands, request.method(), request.uri()).await) }
    });
    app.into_next(&Place::new("server.control"))
}

async fn answer(commands: &mpsc::Sender<ControlCommand>, method: &Method, uri: &Uri) -> Response {
    let path = uri.path();
    let allowed = match path {
        "/status" | "/plan" | "/explain" => "GET, HEAD",
        "/reload" | "/reopen" | "/purge" => "POST",
        _ => {
            return Problem::new(StatusCode::NOT_FOUND)
                .detail("there is `/status`, `/plan`, `/explain`, `/reload`, `/reopen` and `/purge`")
                .into_response();
        }
    };
    if !allowed.split(", ").any(|one| one == method.as_str()) {
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, HeaderValue::from_static(allowed)).into_response();
    }
    let answer = match path {
        "/status" => ask(commands, ControlCommand::Status).await.map(|status| (StatusCode::OK, status)),
        "/plan" => ask(commands, |waiting| ControlCommand::Plan(named_file(uri), waiting)).await.map(plan),
        "/purge" => match json_query(uri) {
            Some(purge) => ask(commands, |answer| ControlCommand::Purge(purge, answer)).await.map(|purged| (StatusCode::OK, purged)),
            None => Some((StatusCode::BAD_REQUEST, json!({ "detail": "the query does not say what to remove" }))),
        },
        "/explain" => match json_query(uri) {
            Some(question) => ask(commands, |answer| ControlCommand::Explain(question, answer)).await.map(explanation),
            None => Some((StatusCode::BAD_REQUEST, json!({ "detail": "the query is no question" }))),
        },
        "/reload" => ask(commands, |waiting| ControlCommand::Reload(named_file(uri), waiting)).await.map(outcome),
        _ => ask(commands, ControlCommand::Reopen).await.map(|()| (StatusCode::OK, json!({ "reopened": true }))),
    };
    match answer {
        Some((status, value)) => json_response(status, &value),
        None => Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("the server is stopping").into_response(),
    }
}

/// The file of `/reload?file=PATH` or `/plan?file=PATH`, percent-encoded.
fn named_file(uri: &Uri) -> Option<PathBuf> {
    let path = uri.query()?.strip_prefix("file=")?;
    Some(OsString::from_vec(percent_decode_str(path).collect()).into())
}

/// The answer to what the app `dashboard` asks.
pub(super) async fn answer_dashboard(commands: &mpsc::Sender<ControlCommand>, asked: Asked) -> Option<(StatusCode, Value)> {
    match asked {
        Asked::Status => ask(commands, ControlCommand::Status).await.map(|status| (StatusCode::OK, status)),
        Asked::Explanation(line) => {
            ask(commands, |answer| ControlCommand::Explain(Question::of_line(&line), answer)).await.map(explanation)
        }
    }
}

/// What `/explain?JSON` asks and `/purge?JSON` names, percent-encoded.
fn json_query<T: DeserializeOwned>(uri: &Uri) -> Option<T> {
    let json: Vec<u8> = percent_decode_str(uri.query()?).collect();
    serde_json::from_slice(&json).ok()
}

fn explanation(explained: Result<Explanation, String>) -> (StatusCode, Value) {
    let explained = explained.and_then(|explanation| serde_json::to_value(explanation).map_err(|error| error.to_string()));
    explained.map_or_else(|message| (StatusCode::UNPROCESSABLE_ENTITY, json!({ "detail": message })), |value| (StatusCode::OK, value))
}

pub(super) async fn ask<T>(
    commands: &mpsc::Sender<ControlCommand>,
    command: impl FnOnce(oneshot::Sender<T>) -> ControlCommand,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    commands.send(command(answer)).await.ok()?;
    answered.await.ok()
}

fn outcome(outcome: ReloadResult) -> (StatusCode, Value) {
    match outcome {
        Ok(reloaded) => (
            StatusCode::OK,
            json!({
                "reloaded": true,
                "file": reloaded.file.map(|file| file.display().to_string()),
                "ms": reloaded.milliseconds,
                "generation": reloaded.generation,
                "summary": reloaded.summary,
            }),
        ),
        Err(report) => {
            (StatusCode::UNPROCESSABLE_ENTITY, json!({ "reloaded": false, "report": report.render(false), "findings": report.to_json() }))
        }
    }
}

fn plan(plan: PlanResult) -> (StatusCode, Value) {
    match plan {
        Ok(plan) => (StatusCode::OK, plan),
        Err(report) => (StatusCode::UNPROCESSABLE_ENTITY, json!({ "report": report.render(false), "findings": report.to_json() })),
    }
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(format!("{value:#}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
