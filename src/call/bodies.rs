//! Where the bodies of one app wait: those of requests until they are whole, and those of responses until their clients take them.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use ziggurat_middleware::spool::{Reserved, SpoolBudget};
use ziggurat_middleware::units::Size;
use ziggurat_middleware::{Body, BoxError, Context, FileBody, Metrics, Problem};

use super::overloaded;

/// A response shorter than this is not counted.
const COUNTED: usize = 16 * 1024;

/// The bounds of an app's bodies.
#[derive(Clone, Debug)]
pub(crate) struct BodyBudgets {
    pub(crate) requests: Arc<SpoolBudget>,
    pub(crate) responses: Arc<SpoolBudget>,
}

impl BodyBudgets {
    /// As `server.spool` says. `buffer` is how much of one request waits in memory.
    pub(crate) fn new(context: &Context, buffer: Size) -> Self {
        let (spool, folder) = (context.spool(), context.spool_folder());
        let budget = |memory_of_one| {
            Arc::new(SpoolBudget::new(spool.limit, memory_of_one, spool.memory, spool.limit, folder.clone(), "server.spool.limit"))
        };
        Self { requests: budget(buffer), responses: budget(Size(0)) }
    }

    /// Whether a response that the app has sent whole is counted.
    pub(super) const fn counts(octets: &Bytes) -> bool {
        octets.len() >= COUNTED
    }

    /// The body of a response that the app has sent whole.
    pub(super) async fn response(&self, octets: Bytes) -> Result<Body, BoxError> {
        if !Self::counts(&octets) {
            return Ok(Body::from(octets));
        }
        let mut reserved = self.responses.memory().share();
        if reserved.grow(octets.len() as u64) {
            return Ok(Body::from(Bytes::from_owner(Counted { octets, _reserved: reserved })));
        }
        let (mut reserved, length) = (self.responses.disk().share(), octets.len() as u64);
        if !reserved.grow(length) {
            let cause = "slow clients hold as many responses as `server.spool` has room for";
            return Err(overloaded("too many responses wait for their clients", cause).into());
        }
        let folder = self.responses.folder().to_owned();
        let written = spawn_blocking(move || {
            let mut file = tempfile::tempfile_in(folder)?;
            file.write_all(&octets).map(|()| file)
        });
        let file = written.await.map_err(std::io::Error::other).and_then(|written| written);
        let file = file.map_err(|error| Problem::of_system(&error, format!("a response cannot be written to a file: {error}")))?;
        let body = FileBody::new(file, 0..length);
        Ok(Body::new(http_body_util::BodyExt::map_frame(body, move |frame| {
            let _ = &reserved;
            frame
        })))
    }

    /// For `ziggurat status`: octets that wait, and refusals.
    pub(crate) fn status(&self) -> Value {
        let of = |budget: &SpoolBudget| json!({ "memory": budget.memory().taken(), "disk": budget.disk().taken(), "refused": budget.disk().refusals() });
        json!({ "requests": of(&self.requests), "responses": of(&self.responses) })
    }

    /// The same as metrics, labelled with the app's place.
    pub(crate) fn scrape(&self, app: &str, metrics: &mut Metrics) {
        for (bodies, budget) in [("requests", &self.requests), ("responses", &self.responses)] {
            let labels = [("app", app), ("bodies", bodies)];
            metrics.gauge("ziggurat_spool_memory_bytes", "Memory of bodies that wait.").sample(&labels, budget.memory().taken());
            metrics.gauge("ziggurat_spool_disk_bytes", "Disk space of bodies that wait.").sample(&labels, budget.disk().taken());
            let refusals = metrics.counter("ziggurat_spool_refused_total", "Bodies that `server.spool.limit` has refused room.");
            refusals.sample(&labels, budget.disk().refusals());
        }
    }
}

/// A response in memory, and the room that it takes.
struct Counted {
    octets: Bytes,
    _reserved: Reserved,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}
