//! The place of one worker: somebody is always there, or about to be.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::back_off::BackOff;
use super::ending::Ending;
use super::recycle::Reason;
use super::trouble::Trouble;
use super::worker::Worker;
use super::{PATIENCE, Shared};

/// How long a worker that takes another one's place may need to import the app.
const BIRTH: Duration = Duration::from_secs(60);

/// How long the next worker that is to be replaced waits for this one's requests.
const TURN: Duration = Duration::from_secs(30);

/// How long a worker without requests may take to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// One place in a crew.
pub(super) struct Slot {
    crew: Arc<Shared>,
    nth: usize,
    back_off: BackOff,
    /// Workers that were replaced and finish what they have.
    leaving: JoinSet<()>,
}

enum Event {
    Stop,
    Dead(Ending),
    Due(Reason),
}

impl Slot {
    pub(super) fn new(crew: Arc<Shared>, nth: usize) -> Self {
        Self { crew, nth, back_off: BackOff::default(), leaving: JoinSet::new() }
    }

    /// Sees to it that there is a worker, until the crew is stopped.
    pub(super) async fn run(mut self, first: Worker) {
        let mut worker = Some(first);
        while let Some(mut current) = worker {
            while self.leaving.try_join_next().is_some() {}
            let due = current.due();
            let event = tokio::select! {
                biased;
                () = self.crew.stopping() => Event::Stop,
                ending = current.ended() => Event::Dead(ending),
                reason = due => Event::Due(reason),
            };
            worker = match event {
                Event::Stop => {
                    current.stop(PATIENCE).await;
                    None
                }
                Event::Dead(ending) => self.succeed(current, ending).await,
                Event::Due(reason) => self.relieve(current, reason).await,
            };
        }
        while self.leaving.join_next().await.is_some() {}
    }

    /// Another worker for one that died.
    async fn succeed(&mut self, mut dead: Worker, ending: Ending) -> Option<Worker> {
        let lived = dead.age();
        self.bury(&mut dead, ending);
        drop(dead);
        tokio::select! {
            biased;
            () = self.crew.stopping() => None,
            mut fresh = fresh(&self.crew, self.nth, &mut self.back_off, Some(lived)) => {
                fresh.open();
                tracing::info!(app = self.crew.plan.place(), worker = self.nth, pid = fresh.pid, "another worker has taken its place");
                Some(fresh)
            }
        }
    }

    /// Another worker for one that is to go, which goes when the other one is there.
    async fn relieve(&mut self, mut old: Worker, reason: Reason) -> Option<Worker> {
        let (crew, nth) = (Arc::clone(&self.crew), self.nth);
        let mut fresh = Box::pin(async {
            // What is stuck does not wait for others.
            let turn = if reason == Reason::Deadline { None } else { Arc::clone(&crew.turn).acquire_owned().await.ok() };
            (fresh(&crew, nth, &mut BackOff::default(), None).await, turn)
        });
        let ending = tokio::select! {
            biased;
            () = crew.stopping() => None,
            ending = old.ended() => Some(ending),
            (mut fresh, turn) = &mut fresh => {
                fresh.open();
                crew.roster.count(reason);
                let place = crew.plan.place();
                tracing::info!(app = place, worker = nth, pid = old.pid, by = fresh.pid, "the worker is replaced ({reason})");
                self.leaving.spawn(leave(Arc::clone(&crew), old, turn));
                return Some(fresh);
            }
        };
        // The template may be at work for it.
        drop(fresh);
        match ending {
            Some(ending) => self.succeed(old, ending).await,
            None => {
                old.stop(PATIENCE).await;
                None
            }
        }
    }

    fn bury(&self, dead: &mut Worker, ending: Ending) {
        self.crew.roster.count(Reason::Crash);
        tracing::error!(app = self.crew.plan.place(), worker = self.nth, pid = dead.pid, "the worker {ending}");
        dead.bury(&format!("it {ending}"));
    }
}

/// A worker, however often it has to be tried.
async fn fresh(crew: &Arc<Shared>, nth: usize, back_off: &mut BackOff, mut lived: Option<Duration>) -> Worker {
    loop {
        sleep(back_off.after(lived)).await;
        let trouble = match timeout(BIRTH, Worker::hire(crew, nth)).await {
            Ok(Ok(worker)) => return worker,
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::Silent,
        };
        tracing::error!(app = crew.plan.place(), worker = nth, "the worker cannot be started again: {trouble}");
        lived = None;
    }
}

/// Sees off a worker whose place is taken.
async fn leave(crew: Arc<Shared>, mut worker: Worker, mut turn: Option<OwnedSemaphorePermit>) {
    let begin = Instant::now();
    let linger = crew.plan.linger;
    let mut retired = pin!(worker.retire());
    let patience = loop {
        tokio::select! {
            () = &mut retired => break FAREWELL,
            () = crew.stopping() => break PATIENCE,
            ending = worker.ended() => {
                tracing::error!(app = crew.plan.place(), worker = worker.nth, pid = worker.pid, "the worker {ending} while it finished its requests");
                worker.bury(&format!("it {ending}"));
                return;
            }
            () = sleep_until(begin + TURN), if turn.is_some() => drop(turn.take()),
            () = sleep_until(begin + linger) => {
                let place = crew.plan.place();
                tracing::warn!(app = place, worker = worker.nth, pid = worker.pid, "requests of the worker had not finished within `drain` and are cut off");
                break Duration::ZERO;
            }
        }
    };
    // It has no requests left that anybody waits for; the next one need not wait for its last breath.
    drop(turn);
    worker.stop(patience).await;
}
