//! The `server` part of the pipeline file: limits on connections.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::spool::SpoolOptions;
use ziggurat_middleware::units::{Duration, Size};
use ziggurat_middleware::{Finding, Findings};

use crate::metrics::MetricsOptions;
use crate::store::StoreSetting;
use crate::traces::TracesOptions;

/// Limits on connections. The defaults protect a server that faces the internet; few sites need others. After a reload, open connections keep the times
/// and sizes they began with; `threads` takes effect at the next start.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Server")]
pub struct Options {
    /// The time in which a client must send a request head, counted from the start of the connection or from the head's first octet. Slower and silent
    /// clients are disconnected. Raise it only for clients on very slow lines.
    pub header_timeout: Duration,

    /// The time in which a client must complete the TLS handshake, counted from the start of the connection. Slower and silent clients are disconnected.
    pub handshake_timeout: Duration,

    /// The longest pause in a body, in either direction: a client that sends no octet of its request's body, or takes none of its response, for
    /// this long is disconnected.
    pub body_timeout: Duration,

    /// The least average rate of a body in either direction, in octets per second, after the first `body_timeout`. A client that sends or takes its body more
    /// slowly is disconnected. Only the time in which the server waits for the client counts. `"0B"` sets no limit.
    pub min_rate: Size,

    /// The longest time that the body of a request may take to arrive. By default none: `min_rate` bounds it by the length.
    pub body_time: Option<Duration>,

    /// How long a connection may carry nothing: between two requests, and in either direction after an upgrade (a WebSocket). Behind a load balancer it
    /// should be longer than the balancer's own idle time (often 60 seconds), or the balancer may send a request into a connection that is being closed.
    /// With WebSockets it should be longer than the time between two pings.
    pub keep_alive: Duration,

    /// The time that requests under way and upgraded connections have to finish when the server stops, or when their worker or stack is replaced. What is
    /// left then is cut off.
    pub drain: Duration,

    /// The largest request head: request line and headers together; trailers too. More is answered 431, or 414 if the request line alone
    /// is too long. Raise it for applications with large cookies. At least `1KiB`, at most `1MiB`.
    pub max_header_size: Size,

    /// The most headers in one request; more are answered 431. At most 1000.
    pub max_headers: usize,

    /// The most connections open at once, upgraded ones included. The limit is lower if the system allows the process fewer open files: a quarter of these,
    /// and at most 1024, is left to files and workers. At the limit, connections that are idle between requests are closed, the longest idle first; if none is
    /// idle, requests whose bodies arrive slowest end with 408. A client for which there is still no room after 5 seconds gets a 503. Each listener may always
    /// have 4 connections beside those of the others, so a health check on a listener of its own gets through.
    pub max_connections: usize,

    /// The most TLS handshakes under way at once. At the limit, the oldest of them is given up for a new one, so that clients that never complete theirs shut nobody out.
    /// At most 10000.
    pub max_handshakes: usize,

    /// Whether the names of response headers are sent in their usual capitals on HTTP/1.1, as in `Content-Type`, instead of lower case. Names have no case (RFC 9110 section 5.1);
    /// turn it on for clients that compare them as they are written.
    pub title_case_headers: bool,

    /// Where the bodies of slow clients wait, and how much they may take.
    pub spool: SpoolOptions,

    /// Threads for network work and native layers. By default as many as there are processor cores. (A `wsgi` app has threads of its own.)
    pub threads: Option<NonZeroUsize>,

    /// The user that the server becomes, by name or number, after it has bound its addresses and read its certificates and keys, and before it opens logs, starts workers or imports apps, which all are
    /// that user's. It has to be started by root. By default it stays the user that has started it.
    pub user: Option<String>,

    /// The group that the server becomes, by name or number. By default the primary group of `user`. The supplementary groups are those of `user`.
    pub group: Option<String>,

    /// Traces of requests, sent to a collector. By default there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<TracesOptions>,

    /// Metrics, sent to a collector, beside the app `metrics` that shows them. By default none are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsOptions>,

    /// A Redis that the processes of several machines share, in which `rate_limit` and `limit` count: its URL, such as `redis://redis.internal:6379/0`, or an object. By default each process counts for
    /// itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreSetting>,

    /// Whether the time that each layer and app takes itself is measured. The metrics have it as `ziggurat_self_seconds` (see `docs/timing.md`). `"layers": true` of `traces`
    /// measures it too.
    pub timing: bool,

    /// After how long a response that has not begun makes its request a slow one, for instance `"1s"`: the log then says where the time has gone. It takes `timing`. By
    /// default none is slow.
    pub slow: Option<Duration>,

    /// A Unix socket on which `ziggurat status` and `ziggurat reload` reach the running server, for instance `run/control.sock`; relative
    /// paths start at the file's folder. Only the user who runs the server may open it. By default there is none.
    pub control: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            header_timeout: Duration::secs(10),
            handshake_timeout: Duration::secs(10),
            body_timeout: Duration::secs(30),
            min_rate: Size(512),
            body_time: None,
            keep_alive: Duration::secs(75),
            drain: Duration::secs(30),
            max_header_size: Size::kib(32),
            max_headers: 100,
            max_connections: 10_000,
            max_handshakes: 1_000,
            title_case_headers: false,
            spool: SpoolOptions::default(),
            threads: None,
            user: None,
            group: None,
            traces: None,
            metrics: None,
            store: None,
            timing: false,
            slow: None,
            control: None,
        }
    }
}

impl Options {
    /// Whether a stack is timed: because the file says so, or because its layers have spans.
    pub(crate) fn is_timed(&self) -> bool {
        self.timing || self.traces.as_ref().is_some_and(TracesOptions::has_layers)
    }

    /// Reports values with which no client could be served.
    pub fn validate(&self, findings: &mut Findings) {
        let times = [
            ("header_timeout", self.header_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("body_timeout", self.body_timeout),
            ("keep_alive", self.keep_alive),
        ];
        for (field, time) in times {
            if time.0.is_zero() {
                findings.push(
                    Finding::new(format!("a `{field}` of zero closes every connection at once"))
                        .at(field)
                        .hint("write a time such as `\"10s\"`, or leave the option out"),
                );
            }
        }
        let mut found = Findings::default();
        self.traces.iter().for_each(|traces| traces.validate(&mut found));
        found.into_iter().for_each(|finding| findings.push(finding.within("traces")));
        let mut found = Findings::default();
        self.metrics.iter().for_each(|metrics| metrics.validate(&mut found));
        found.into_iter().for_each(|finding| findings.push(finding.within("metrics")));
        let mut found = Findings::default();
        self.store.iter().for_each(|store| store.validate(&mut found));
        found.into_iter().for_each(|finding| findings.push(finding.within("store")));
        if self.slow.is_some() && !self.timing {
            findings.push(
                Finding::new("`slow` says where time has gone that is not measured").at("slow").hint("write `\"timing\": true` beside it"),
            );
        }
        if let Some(path) = &self.control {
            let hint = "write a path such as `\"run/control.sock\"`, or leave the option out";
            if path.as_os_str().is_empty() {
                findings.push(Finding::new("the path of the control socket is empty").at("control").hint(hint));
            } else if path.to_str().is_some_and(|path| path.starts_with("unix:")) {
                findings.push(Finding::new("`control` is the path of a Unix socket, without `unix:`").at("control").hint(hint));
            }
        }
        let bounds = [
            ("max_header_size", self.max_header_size >= Size::kib(1) && self.max_header_size <= Size::mib(1), "`\"1KiB\"` to `\"1MiB\"`"),
            ("max_headers", (1..=1_000).contains(&self.max_headers), "1 to 1000"),
            ("max_connections", self.max_connections > 0, "at least 1"),
            ("max_handshakes", (1..=10_000).contains(&self.max_handshakes), "1 to 10000"),
            ("threads", self.threads.is_none_or(|threads| threads.get() <= 1_024), "1 to 1024"),
        ];
        for (field, sound, range) in bounds {
            if !sound {
                findings.push(Finding::new(format!("`{field}` is out of bounds")).at(field).hint(format!("it takes {range}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(options: &str) -> Vec<String> {
        let mut findings = Findings::default();
        serde_json::from_str::<Options>(options).unwrap().validate(&mut findings);
        findings.into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn the_defaults_are_sound() {
        assert_eq!(findings("{}"), [""; 0]);
    }

    #[test]
    fn every_value_out_of_bounds_is_named() {
        let found =
            findings(r#"{"header_timeout": "0s", "keep_alive": "0s", "max_header_size": "10B", "max_headers": 0, "max_connections": 0}"#);
        for field in ["header_timeout", "keep_alive", "max_header_size", "max_headers", "max_connections"] {
            assert!(found.iter().any(|text| text.contains(field)), "{field}: {found:?}");
        }
    }

    #[test]
    fn unknown_options_are_refused() {
        assert!(serde_json::from_str::<Options>(r#"{"timeout": "1s"}"#).is_err());
    }
}
