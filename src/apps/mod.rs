//! What can stand at the bottom of a stack besides a WSGI app: `routes`, `respond`, `redirect`.

pub mod matching;
pub mod metrics;
pub mod redirect;
pub mod respond;
pub(crate) mod routes;
