//! Requests by which an app fills its caches before a template is forked.

use std::thread;

use http::{Request, header};
use pyo3::prelude::*;
use tokio::sync::oneshot;

use super::super::application::Application;
use crate::call::head::Head;
use crate::call::responder::Responder;
use crate::call::{Call, Reply, ReplyBody, RequestBody};

/// Asks the app for `path` and reads all of the answer. What goes wrong goes to the log: a template does not need it.
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
        class: 0,
        since: std::time::Instant::now(),
    };
    // The answer is read by another thread: the app waits with a long one until somebody reads.
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
    Python::attach(|py| application.serve(py, call));
    reading.join().unwrap_or_else(|_| Err("no answer".to_owned()))
}
