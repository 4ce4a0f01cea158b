//! Requests that let an app fill its caches before a template forks.

use std::thread;
use std::time::Instant;

use http::{Request, header};
use pyo3::prelude::*;
use tokio::sync::oneshot;

use super::super::application::Application;
use crate::call::head::Head;
use crate::call::responder::Responder;
use crate::call::{Call, Reply, ReplyBody, RequestBody};

/// Requests `path` and reads the whole response. Failures are logged: a template works without.
pub(super) fn warm_up(application: &Application, path: &str) {
    let outcome = status(application, path);
    match outcome {
        Ok(status) if !status.is_server_error() => tracing::debug!("warmed up with `{path}`: {status}"),
        Ok(status) => tracing::warn!("the app answers {status} when warmed up with `{path}`"),
        Err(why) => tracing::warn!("the app cannot be warmed up with `{path}`: {why}"),
    }
}

fn status(application: &Application, path: &str) -> Result<http::StatusCode, String> {
    let request = Request::get(path).header(header::HOST, "localhost").body(()).map_err(|error| error.to_string())?;
    let (parts, ()) = request.into_parts();
    let (sender, reply) = oneshot::channel();
    let call = Call {
        number: 0,
        head: Head::new(&parts, None),
        body: RequestBody::Whole(bytes::Bytes::new()),
        responder: Responder::Task(sender),
        hints: None,
        class: 0,
        since: Instant::now(),
        clock: None,
    };
    // Another thread reads the response, because the app blocks on a long one until somebody does.
    let reading = thread::Builder::new().spawn(move || match reply.blocking_recv() {
        Ok(Reply::Response(head, body)) => {
            if let ReplyBody::Stream(reader) = body {
                while let Some(Ok(_)) = reader.recv() {}
            }
            Ok(head.status)
        }
        Ok(Reply::Failed(problem)) => Ok(problem.status()),
        Err(_) => Err("no answer".to_owned()),
    });
    let reading = reading.map_err(|error| error.to_string())?;
    Python::attach(|py| application.serve(py, call, Instant::now()));
    reading.join().unwrap_or_else(|_| Err("no answer".to_owned()))
}
