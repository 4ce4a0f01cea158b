//! The vocabulary of Ziggurat's stacks, and its native layers.
//!
//! A *stack* is a list of layers over an app. Once built, every layer and every app is a [`Next`]: a service that takes a [`Request`] and always gives a
//! [`Response`]. A layer is a struct of options that implements [`Middleware`]. The native layers in this crate use nothing else.
//!
//! This crate knows no Python, no sockets, no pipeline file and no command line.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod around;
mod auth;
mod behavior;
mod body;
mod client;
mod context;
mod coop;
mod effect;
mod encoding;
mod entity_tag;
mod explain;
mod facts;
mod files;
mod finding;
mod from_fn;
mod lifecycle;
mod log_line;
mod middleware;
mod network;
mod next;
pub mod options;
mod origin;
mod panic;
mod peer;
mod percent;
mod place;
mod problem;
mod redirect_status;
mod refusals;
mod request_context;
mod request_summary;
mod service;
mod state_store;
mod summary;
mod tasks;
mod test_stack;
mod tls_info;
pub mod units;
mod upgrade;
mod watch;
pub mod wsgi_lint;

pub mod access;
pub mod access_log;
pub mod api_key;
pub mod basic_auth;
pub mod body_limit;
pub mod buffer;
pub mod cache;
pub mod compress;
pub mod cookies;
pub mod cors;
pub mod csp_nonce;
pub mod csrf;
pub mod decompress;
pub mod early_hints;
pub mod errors;
pub mod forward_auth;
pub mod forwarded;
pub mod headers;
pub mod hop_by_hop;
pub mod jwt;
pub mod limit;
pub mod maintenance;
pub mod metrics;
pub mod mirror;
pub mod oidc;
pub mod path;
pub mod rate_limit;
pub mod request_id;
pub mod request_key;
pub mod rewrite;
pub mod security_headers;
pub mod sendfile;
pub mod server_timing;
pub mod slash;
pub mod spool;
pub mod static_files;
pub mod store;
pub mod timeout;
pub mod timing;
pub mod trace;

pub use around::{Around, AroundFuture, AroundService, around};
pub use behavior::Behavior;
pub use body::Body;
pub use client::{Client, ClientFuture, UnixSocket};
pub use context::{Context, Reserve};
pub use early_hints::EarlyHints;
pub use effect::{Effect, Effects, ServedFolder};
pub use explain::{Explain, ExplainResponse, Explained, PossibleAnswer};
pub use facts::{Authenticated, ConnectionInfo, Deadline, EarlyAnswer, Mount, OriginalUri, RemoteUser, RequestId, ReserveClass, Scheme};
pub use files::{FileBody, FileFrame, FilePart};
pub use finding::{Finding, Findings, Step, system_words};
pub use from_fn::{FnOutput, FromFn, FromFnService, from_fn};
pub use lifecycle::{Lifecycle, Scraper};
pub use log_line::LogLine;
pub use metrics::Metrics;
pub use middleware::{App, Middleware};
pub use network::{Network, lets_everybody_in};
pub use next::{IntoApp, IntoStage, Next, NextFuture};
pub use peer::{ClientShare, Peer};
pub use percent::Percent;
pub use place::Place;
pub use problem::{Problem, ProblemDetail, is_out_of_descriptors};
pub use redirect_status::RedirectStatus;
pub use request_summary::RequestSummary;
pub use service::{AnyBody, CloneService, IntoProblem, Options, StackService};
pub use summary::Summary;
pub use tasks::{Draining, Retired};
pub use test_stack::{TestRequest, TestResponse, TestStack, TestStage, request};
pub use tls_info::{ClientCertificate, TlsInfo};
pub use upgrade::{TunnelIdle, TunnelRecord, Upgrade};
pub use watch::Watcher;
pub use wsgi_lint::WsgiLint;

/// Crates whose types and traits are part of this one's.
pub use {http, schemars, serde, tower};

/// A request on its way down a stack.
pub type Request = http::Request<Body>;

/// A response on its way up.
pub type Response = http::Response<Body>;

/// The result of building a layer or an app. Unless stated otherwise, the error is a [`Finding`].
pub type Result<T, E = Finding> = std::result::Result<T, E>;

/// Any error, erased.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
