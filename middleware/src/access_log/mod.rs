//! `access_log`: one line per request.

use std::sync::Arc;

use http::{Method, StatusCode};
use http_body::Body as HttpBody;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Behavior, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Request, Response, around};

mod append;
mod body;
mod date;
mod entry;
mod format;
mod json;
mod sink;
#[cfg(test)]
mod tests;
mod text;
mod write;

use body::logged;
pub use date::rfc3339;
use entry::LogEntry;
use format::Format;
use sink::{Output, Sink};

/// Writes one line per request, when its response has ended. The line of an upgraded connection, such as a WebSocket, is written when the connection ends.
///
/// A line states what was sent and how long it took, up to the last octet of the body. A response that was cut short has a line, too. If the client
/// disconnected before the response began, the status is 499.
///
/// `format` is one of:
///
/// | format | a line |
/// | --- | --- |
/// | `combined` | as Apache, nginx and gunicorn write it: `192.0.2.1 - ann [22/Nov/2026:11:19:47 +0000] "GET /?q=1 HTTP/1.1" 200 512 "https://a.test/" "curl/8"` |
/// | `common` | `combined` without the last two fields |
/// | `json` | a JSON object with the fields below; unknown values are left out |
/// | a text with atoms | as in gunicorn's `access_log_format`, for instance `%(h)s %(m)s %(U)s %(s)s %(M)sms` |
///
/// The fields of `json`: `time` (RFC 3339, UTC), `client`, `user`, `method`, `scheme`, `host`, `path`, `query`, `protocol`, `status`, `bytes` (of the body,
/// or sent to the client on an upgraded connection), `received` (from the client on an upgraded connection), `close_code` (the status of a WebSocket's
/// first Close frame, whichever side sent it; 1005 if it had none), `duration_ms`, `complete` (whether the whole response was sent), `referer`, `user_agent`, `request_id`, `trace_id` (if [`server.traces`](../traces.md) is set). With
/// `"timing": true` in `server`, also `queue_ms`, `python_ms` and `upstream_ms` (parts of the app's time), and `app_ms` (the [self time](../timing.md) of the layer or app
/// that has answered, without the queue).
///
/// | atom | stands for |
/// | --- | --- |
/// | `%(h)s` | the client's address, `-` for a client on a Unix socket |
/// | `%(l)s` | `-` |
/// | `%(u)s` | the user that an authentication layer found, or `-` |
/// | `%(t)s` | the time of the request in UTC: `[22/Nov/2026:11:19:47 +0000]` |
/// | `%(r)s` | the request line: `GET /a?b HTTP/1.1` |
/// | `%(m)s` `%(U)s` `%(q)s` `%(H)s` | method, path, query, protocol |
/// | `%(s)s` | the status |
/// | `%(B)s` `%(b)s` | octets of body sent; `%(b)s` writes 0 as `-` |
/// | `%(f)s` `%(a)s` | `Referer`, `User-Agent` |
/// | `%(T)s` `%(M)s` `%(D)s` `%(L)s` | duration in whole seconds, milliseconds, microseconds, and seconds with decimals |
/// | `%(queue)s` `%(python)s` `%(upstream)s` | with `server.timing`: parts of the app's time, in seconds with decimals, or `-` |
/// | `%(app)s` | with `server.timing`: the [self time](../timing.md) of the layer or app that has answered, without the queue |
/// | `%({place}t)s` | with `server.timing`: the self time of a layer or app, as `ziggurat show` names it: `%({compress}t)s` |
/// | `%(p)s` | the process id: `<4711>` |
/// | `%({name}i)s` `%({name}o)s` | a header of the request, of the response; of several lines the values, with commas between |
/// | `%({NAME}e)s` | a variable of the environ: `REMOTE_ADDR`, `REMOTE_PORT`, `REMOTE_USER`, `AUTH_TYPE`, `REQUEST_METHOD`, `REQUEST_URI`, `QUERY_STRING`, `SERVER_PROTOCOL`, `HTTP_...`, `wsgi.url_scheme`, `ziggurat.request_id`, `ziggurat.trace_id`, `ziggurat.received`, `ziggurat.close_code` (as in `json`) |
/// | `%%` | a percent sign |
///
/// A client cannot forge lines: quotes, backslashes, control characters and all characters beyond ASCII are escaped as `\xHH`, in JSON as `\uHHHH`. Query
/// strings may contain secrets; a format with `%(U)s` instead of `%(r)s` leaves them out.
///
/// Writing does not delay requests. Lines go to one thread through a buffer of 1 MiB. While the disk or pipe is stuck and the buffer is full, lines are
/// dropped; a line then states how many.
///
/// Place it above everything that answers. It learns the id, the client behind a proxy and the user from the layers below, so `request_id`, `forwarded` and authentication may stand above or
/// below it. Octets are counted where the layer stands: below `compress`, before compression.
///
/// ```json
/// {
///   "layers": ["request_id", { "forwarded": { "trust": "10.0.0.0/8" } }, { "access_log": { "format": "json", "to": "logs/access.log" } }],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// The format of a line: `combined`, `common`, `json`, or a text with atoms. Choose `json` for programs that read the log.
    #[schemars(with = "String")]
    format: Format,
    /// Where lines go: `stdout`, `stderr`, or the path of a file. A file is appended to, and opened again at SIGUSR1, so that logrotate can move it. A
    /// server that runs as root follows no link that another user may have put there, and then goes on with the old file.
    #[schemars(with = "String")]
    to: Output,
    /// Whether lines of `json` have the [self times](../timing.md) of all layers and apps that the request has come to, in milliseconds: `"times_ms": {"compress": 0.012, "main": 8.104}`.
    /// It takes `"timing": true` in `server`.
    times: bool,
}

impl Middleware for AccessLog {
    const NAME: &'static str = "access_log";
    const SHORTHAND: Option<&'static str> = Some("format");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::LogsRequests];

    fn effects(&self, effects: &mut Effects) {
        if let Output::File(path) = &self.to {
            effects.by("to", Effect::UsesPrivateFile(path.into()));
        }
    }

    fn validate(&self, findings: &mut Findings) {
        if self.times && !self.format.is_json() {
            let hint = "set `\"format\": \"json\"`, or write the times of single places in the format: `%({compress}t)s`";
            findings.push(Finding::new("only lines of `json` have the times of all places").at("times").hint(hint));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        explain.note(format!("writes a line to `{}` when the response has ended", self.to));
        Ok(())
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage, Finding> {
        let Self { format, to, times } = self;
        if (times || format.is_timed()) && !context.place().is_timed() {
            let option = if times { "times" } else { "format" };
            return Err(Finding::new("the times are not measured").at(option).hint("write `\"timing\": true` in `server`"));
        }
        let name = to.to_string();
        let lost = if format.is_json() { json::lost } else { text::lost };
        let sink = Sink::open(to, context, lost)
            .map_err(|error| Finding::new(format!("cannot write the access log to `{name}`: {error}")).at("to"))?;
        let log = Arc::new(Log { format, times, sink });
        let reopened = Arc::clone(&log);
        context.on_reopen(move || reopened.sink.reopen());
        let ended = Arc::clone(&log);
        context.on_shutdown(move || ended.sink.close());
        Ok(around(move |request: &mut Request| {
            let entry = LogEntry::new(Arc::clone(&log), request);
            Ok(move |response: Response| watch(entry, response))
        }))
    }
}

/// What the lines of one log share.
struct Log {
    format: Format,
    times: bool,
    sink: Sink,
}

/// Writes the entry when the response has ended.
fn watch(mut entry: Box<LogEntry>, response: Response) -> Response {
    entry.begin(&response);
    let bodiless = *entry.method() == Method::HEAD || matches!(response.status().as_u16(), 204 | 304);
    match response.body().as_frame().map(<[u8]>::len) {
        _ if bodiless => entry.complete = true,
        // The server keeps the body of a 101 until the upgraded connection ends.
        _ if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            entry.complete = true;
            entry.detach();
            return response.map(|body| logged(body, entry));
        }
        // The server takes such a body at once, so its end needs no watching.
        Some(length) => {
            entry.sent = length as u64;
            entry.complete = true;
        }
        None => {
            entry.complete = response.body().is_end_stream();
            return response.map(|body| logged(body, entry));
        }
    }
    response
}
