//! The service of `cgi`.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body::Body as _;
use percent_encoding::percent_decode_str;
use tokio::process::Command;
use tokio::sync::oneshot;
use ziggurat_middleware::{Body, BoxError, Deadline, Mount, Place, Problem, Request, RequestSummary, Response, Retired, hop_by_hop};

use super::limit::Limit;
use super::process::{Failed, Log, Run};
use super::program::{Program, Programs};
use crate::apps::gateway::Params;
use crate::apps::upstream_problem::problem;
use crate::cgi::from_request;
use crate::gateway::Variables;

/// Runs programs.
pub(super) struct CgiService {
    rules: Rules,
    limit: Arc<Limit>,
}

/// What holds for each run.
pub(super) struct Rules {
    pub(super) programs: Programs,
    pub(super) env: Params,
    pub(super) timeout: Duration,
    pub(super) idle: Duration,
    pub(super) place: Place,
    pub(super) retired: Retired,
}

/// Where programs find other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl CgiService {
    pub(super) const fn new(rules: Rules, limit: Arc<Limit>) -> Self {
        Self { rules, limit }
    }

    pub(super) async fn serve(self: Arc<Self>, request: Request) -> Result<Response, BoxError> {
        let (parts, body) = request.into_parts();
        let (inner, path) = (Arc::clone(&self), parts.uri.path().to_owned());
        let program = tokio::task::spawn_blocking(move || inner.rules.programs.of_path(&path)).await??;
        let permit = self.limit.admit().await.ok_or_else(|| {
            let busy = problem(StatusCode::SERVICE_UNAVAILABLE, "too many programs run", &parts);
            busy.header(RETRY_AFTER, HeaderValue::from_static("1"))
        })?;
        let log = Log {
            place: self.rules.place.clone(),
            program: program.file.display().to_string(),
            summary: RequestSummary::of(&parts.extensions).cloned(),
        };
        let is_head = parts.method == Method::HEAD;
        let (limit, idle) = (self.rules.timeout, self.rules.idle);
        let limit = parts.extensions.get::<Deadline>().map_or(limit, |deadline| deadline.0.min(limit));
        let run = Run {
            command: self.command(&parts, &body, program),
            body,
            is_head,
            timeout: limit,
            idle,
            log,
            retired: self.rules.retired.clone(),
        };
        let (reply, answered) = oneshot::channel();
        tokio::spawn(async move {
            run.run(reply).await;
            drop(permit);
        });
        let (head, body) = match answered.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(Failed::Late)) => {
                return Err(problem(StatusCode::GATEWAY_TIMEOUT, "the program did not answer in time", &parts).into());
            }
            Ok(Err(Failed::NotStarted(error))) => return Err(Problem::of_system(&error, "the program cannot be started").into()),
            Ok(Err(Failed::Broken(_))) | Err(_) => {
                return Err(problem(StatusCode::BAD_GATEWAY, "the program gave no valid response", &parts).into());
            }
        };
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        hop_by_hop::remove_all(response.headers_mut());
        Ok(response)
    }

    fn command(&self, parts: &Parts, body: &Body, program: Program) -> Command {
        let stated = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut variables = Variables::default();
        from_request(parts, body.size_hint().exact().filter(|length| *length > 0).or(stated), &mut variables);
        variables.push("GATEWAY_INTERFACE", "CGI/1.1");
        variables.push("SERVER_SOFTWARE", "ziggurat");
        let mount = parts.extensions.get::<Mount>().map_or("", |mount| &mount.prefix);
        variables.replace("SCRIPT_NAME", format!("{}{}", percent_decode_str(mount).decode_utf8_lossy(), program.name));
        variables.replace("PATH_INFO", program.path_info);
        variables.replace("SCRIPT_FILENAME", program.file.as_os_str().as_encoded_bytes());
        variables.replace("PATH", PATH);
        for (name, value) in &self.rules.env {
            variables.replace(name, value);
        }
        let mut command = Command::new(&program.file);
        command.args(program.arguments).env_clear();
        let text = |octets: &[u8]| std::os::unix::ffi::OsStringExt::from_vec(octets.to_vec());
        // A value with a NUL cannot be in an environment.
        for (name, value) in variables.iter().filter(|(_, value)| !value.contains(&0)) {
            let (name, value): (std::ffi::OsString, std::ffi::OsString) = (text(name), text(value));
            command.env(name, value);
        }
        if let Some(folder) = program.file.parent() {
            command.current_dir(folder);
        }
        command
    }
}
