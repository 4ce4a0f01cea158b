//! The native apps: `routes`, `respond`, `redirect`, `metrics`, `dashboard`, `proxy`, `cgi`, `fastcgi`, `scgi`, `uwsgi`.

pub mod cgi;
pub mod dashboard;
mod explain_upstream;
pub mod gateway;
pub mod matching;
pub mod metrics;
pub mod proxy;
pub mod redirect;
pub mod respond;
pub(crate) mod routes;
mod service;
mod upstream_problem;
