//! The native apps: `routes`, `respond`, `redirect`, `metrics`.

pub mod matching;
pub mod metrics;
pub mod redirect;
pub mod respond;
pub(crate) mod routes;
