//! The server: listeners, connections, limits, drain. It receives a finished stack and knows nothing of pipelines.
//!
//! [`Listener::bind`] opens sockets, [`Server::start`] serves a stack on them, [`Server::replace`] puts another stack, other limits and other
//! listeners in their place without losing a request, [`Server::drain`] ends. One task, the porter, owns listeners and connections and takes
//! orders; the stack in use is a generation that each request is counted in, so that it is known when the last one has left.

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
pub use seat::Traffic;
pub use serve::{Drained, Server};

#[cfg(fuzzing)]
pub use http1::fuzz_framing;
