//! One worker: its process, its link, and its desk among those of the admission.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until, timeout};

use super::ending::Ending;
use super::process::{Process, memory};
use super::recycle::{Reason, Recycling, Tally};
use super::roster::{Listing, State};
use super::trouble::Trouble;
use super::{PATIENCE, Shared};
use crate::worker::admission::DeskId;
use crate::worker::link::frame::Order;
use crate::worker::link::front::{Link, NotReady};

/// A worker that takes calls. Dropped, it ends.
pub(super) struct Worker {
    crew: Arc<Shared>,
    pub(super) nth: usize,
    pub(super) pid: u32,
    since: Instant,
    process: Process,
    link: Arc<Link>,
    tally: Arc<Tally>,
    desk: Option<DeskId>,
    listing: Listing,
    _lifeline: Lifeline,
}

/// The front's end of a link, to be closed whoever else holds it. A worker whose link is closed ends.
struct Lifeline(UnixStream);

impl Drop for Lifeline {
    fn drop(&mut self) {
        // An error means that it is closed.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// How long the last words of a process that has ended may take. (A process that it has forked may hold the link open.)
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(1);

impl Worker {
    /// Starts a worker. When this is ready, the worker is, but it takes no calls before [`Worker::open`].
    pub(super) async fn hire(crew: &Arc<Shared>, nth: usize) -> Result<Self, Trouble> {
        let (mut process, socket) = match &crew.template {
            Some(template) => template.fork(&crew.plan).await?,
            None => Process::spawn(&crew.plan, nth)?,
        };
        let lifeline = Lifeline(socket.try_clone()?);
        let link = Link::start(socket, &crew.plan.boot(nth), &crew.admission)?;
        let tally = Arc::new(Tally::new(Arc::clone(&link) as _, &crew.plan.recycling));
        match link.ready().await {
            Ok(ready) => {
                process.introduce(ready.pid);
                let listing = crew.roster.enter(nth, ready.pid, Arc::clone(&link), Arc::clone(&tally));
                let (crew, since) = (Arc::clone(crew), Instant::now());
                Ok(Self { crew, nth, pid: ready.pid, since, process, link, tally, desk: None, listing, _lifeline: lifeline })
            }
            Err(NotReady::Refused(json)) => Err(Trouble::refused(&json)),
            Err(NotReady::Gone) => {
                drop(lifeline);
                // Of one that was forked and never said who it is, nobody can tell.
                Err(Trouble::Died(timeout(LAST_WORDS, process.exited()).await.unwrap_or(Ending::Unlinked)))
            }
        }
    }

    /// Has the worker take calls.
    pub(super) fn open(&mut self) {
        let desk = self.crew.admission.open(Arc::clone(&self.tally) as _, self.crew.plan.room);
        self.listing.open(desk);
        self.desk = Some(desk);
        self.since = Instant::now();
    }

    /// How long it has taken calls.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Waits until the process has ended, and all that it had said is heard. A worker without a link is ended.
    pub(super) async fn ended(&mut self) -> Ending {
        let exited = tokio::select! {
            ending = self.process.exited() => Some(ending),
            () = self.link.ended() => None,
        };
        // From here on calls go to others, or wait.
        self.close();
        if let Some(ending) = exited {
            // Where it runs out, somebody else holds the link, who has nothing to say.
            let _ = timeout(LAST_WORDS, self.link.ended()).await;
            return ending;
        }
        let is_told = self.process.is_told();
        if is_told && let Ok(ending) = timeout(LAST_WORDS, self.process.exited()).await {
            return ending;
        }
        self.process.kill();
        if is_told {
            let _ = timeout(LAST_WORDS, self.process.exited()).await;
            return Ending::Unlinked;
        }
        Ending::Unknown
    }

    /// Ready when one of the limits of its life is reached.
    pub(super) fn due(&self) -> impl Future<Output = Reason> + Send + use<> {
        let Recycling { requests, age, memory } = self.crew.plan.recycling;
        let (link, tally, since, pid) = (Arc::clone(&self.link), Arc::clone(&self.tally), self.since, self.pid);
        async move {
            tokio::select! {
                () = link.stuck() => Reason::Deadline,
                () = tally.reached(), if requests.is_some() => Reason::Requests,
                () = sleep_until((since + age.unwrap_or_default()).into()), if age.is_some() => Reason::Age,
                () = outgrown(pid, memory.unwrap_or_default()), if memory.is_some() => Reason::Memory,
            }
        }
    }

    /// Takes no calls any more, whatever becomes of those it has.
    fn close(&mut self) {
        if let Some(desk) = self.desk.take() {
            self.crew.admission.close(desk);
        }
    }

    /// The process is gone: what it had is answered, or handed to others.
    pub(super) fn bury(&mut self, how: &str) {
        self.close();
        self.link.wreck(self.crew.plan.room, how);
    }

    /// Takes no more calls. Ready when those it has are over.
    pub(super) fn retire(&self) -> impl Future<Output = ()> + Send + use<> {
        self.listing.set(State::Retiring);
        let (crew, desk) = (Arc::clone(&self.crew), self.desk);
        async move {
            if let Some(desk) = desk {
                crew.admission.retire(desk).await;
            }
        }
    }

    /// Ready when the process has ended, or only its link where nobody tells more.
    async fn gone(&mut self) {
        tokio::select! {
            _ = self.process.exited() => {}
            () = self.link.ended() => drop(timeout(LAST_WORDS, self.process.exited()).await),
        }
    }

    /// Has the process end by itself, and ends it where that takes longer than this, or at once.
    pub(super) async fn stop(mut self, patience: Duration) {
        self.listing.set(State::Stopping);
        self.link.send(&Order::Stop);
        if timeout(patience, self.gone()).await.is_err() {
            if !patience.is_zero() {
                tracing::warn!(app = self.crew.plan.place(), worker = self.nth, pid = self.pid, "the worker does not stop and is killed");
            }
            self.process.kill();
            let _ = timeout(PATIENCE, self.gone()).await;
        }
        // What it said last is still heard.
        let _ = timeout(LAST_WORDS, self.link.ended()).await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The admission and the link hold each other until then.
        self.bury("it was ended");
    }
}

/// Ready when a process uses more memory than this.
async fn outgrown(pid: u32, limit: u64) {
    while memory(pid).is_none_or(|octets| octets <= limit) {
        sleep(LOOK).await;
    }
}
