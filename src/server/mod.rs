//! The server: listeners, connections, limits, drain. It receives a finished stack and knows nothing of pipelines.

mod connection;
mod listen;
mod listener;
mod options;
mod seat;
mod serve;
mod service;
mod socket;

pub use listen::Listen;
pub use listener::Listener;
pub use options::Options;
pub use serve::{Drained, serve};
