//! The server: listeners, connections, limits, drain. It receives a finished stack and knows nothing of pipelines.
//!
//! [`Listener::bind`] opens sockets, [`Server::start`] serves a stack on them, [`Server::replace`] puts another stack, other limits and other
//! listeners in their place without losing a request, [`Server::drain`] ends. One task, the accept loop, owns listeners and connections and takes
//! commands; the stack in use is a generation that each request is counted in, so that it is known when the last one has left.

mod accept;
mod bound_listener;
mod connection;
mod connection_table;
mod generation;
mod http1;
mod http2;
mod limits;
mod listen;
mod listener;
mod normalize;
mod options;
mod phase_timer;
mod progress;
mod refusal;
mod request_body;
mod response_body;
mod serve;
mod service;
mod socket;
mod systemd;

pub use connection_table::Traffic;
pub use generation::Retired;
pub use listen::Listen;
pub use listener::Listener;
pub use options::Options;
pub use serve::{Drained, Server};

#[cfg(fuzzing)]
pub use http1::fuzz_framing;
