//! The server: listeners, connections, limits, drain. It receives a finished stack and knows no pipeline.
//!
//! [`Listener::bind`] opens sockets, [`Server::start`] serves a stack on them, [`Server::replace`] replaces the stack, the options and the listeners
//! without losing a request, and [`Server::drain`] ends the server. One task, the accept loop, owns listeners and connections and carries out
//! commands.
//!
//! A connection is a stream (`io`) with what is known of it, behind the transports of its listener. Its protocol calls the request service (`service`),
//! which calls the stack in use. That stack is a generation (`generation`): each request and each upgraded connection is counted in the one that it
//! entered.

mod accept;
mod acceptor;
mod address;
mod alt_svc;
mod bound_listener;
mod connection;
mod connection_table;
mod descriptors;
mod exchange;
mod expectation;
mod flood;
mod gateway;
mod generation;
mod http;
mod http1;
mod http2;
#[cfg(feature = "experimental-http3")]
mod http3;
mod http_versions;
mod io;
mod limits;
mod listen;
mod listener;
mod multiplexed_head;
mod normalize;
mod options;
mod phase_timer;
mod progress;
mod refusal;
mod request_body;
mod request_metrics;
mod response_body;
mod serve;
mod service;
mod socket;
mod socket_access;
mod socket_file;
mod stream_task;
mod systemd;
mod transport;
mod tunnel;
#[cfg(feature = "experimental-http3")]
mod udp;
mod upgrade;
mod vetting;

pub use address::Address;
pub use connection_table::Traffic;
pub(crate) use gateway::{fail_cgi, serve_cgi};
pub use generation::Retiring;
pub use http_versions::HttpVersions;
pub use listen::{Listen, Protocol, Trust};
pub use listener::Listener;
pub use options::Options;
pub use serve::{Drained, Server};
pub use socket_access::{SocketAccess, SocketMode};
pub use transport::{ProxyProtocolOptions, Transport};
pub(crate) use vetting::vet;

#[cfg(fuzzing)]
pub use http1::fuzz_framing;
#[cfg(all(fuzzing, feature = "experimental-http3"))]
pub use http3::fuzz_frames;
