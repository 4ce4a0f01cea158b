//! The server: listeners, connections, limits, drain. It receives a finished stack and knows nothing of pipelines.

mod accept;
mod clock;
mod connection;
mod doors;
mod generation;
mod http1;
mod http2;
mod limits;
mod listen;
mod listener;
mod normal;
mod options;
mod progress;
mod refusal;
mod reply;
mod seat;
mod serve;
mod service;
mod socket;
mod systemd;
mod upload;

pub use generation::Retired;
pub use listen::Listen;
pub use listener::Listener;
pub use options::Options;
pub use serve::{Drained, Server};

#[cfg(fuzzing)]
pub use http1::fuzz_framing;
