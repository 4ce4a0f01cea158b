//! What to send, where, how often, and what must come back.

use std::{fs, io, net::SocketAddr};

use serde::Deserialize;

/// One run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// The server. Only loopback is accepted.
    pub(crate) address: SocketAddr,
    /// How long new requests are sent.
    pub(crate) seconds: f64,
    /// How many visits (mostly of one request) are begun at most, all groups together.
    pub(crate) requests: u64,
    /// Never sleeps: waking this thread on another core would cost the server time of its own, in a virtual machine more than the request. Wants a
    /// core to itself.
    #[serde(default)]
    pub(crate) spin: bool,
    /// Connections that do the same.
    pub(crate) groups: Vec<Group>,
}

/// Connections that send the same requests again and again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) connections: usize,
    /// What each connection asks in turn: a page and what belongs to it. All of them together are one visit, and visits are what is counted and timed.
    pub(crate) exchanges: Vec<Exchange>,
    /// A new connection for each request.
    #[serde(default)]
    pub(crate) reconnect: bool,
}

/// One request and its answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    /// File with the whole request; its octets once read.
    pub(crate) request: Octets,
    /// Status that must come back.
    pub(crate) status: u16,
    /// File with the body that must come back, after chunks are put together; its octets once read.
    pub(crate) body: Octets,
}

/// The content of a named file.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Octets(pub(crate) Vec<u8>);

impl TryFrom<String> for Octets {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        fs::read(&path).map(Self).map_err(|error| format!("cannot read `{path}`: {error}"))
    }
}

impl Plan {
    pub(crate) fn read(from: impl io::Read) -> io::Result<Self> {
        let plan: Self = serde_json::from_reader(from)?;
        if !plan.address.ip().is_loopback() {
            return Err(io::Error::other(format!("`{}` is not loopback: this tool loads only the machine it runs on", plan.address)));
        }
        if !(plan.seconds > 0.0 && plan.seconds <= 600.0) {
            return Err(io::Error::other("`seconds` must be above 0 and at most 600"));
        }
        if plan.groups.iter().any(|group| group.exchanges.is_empty()) {
            return Err(io::Error::other("a group has no `exchanges`"));
        }
        Ok(plan)
    }
}
