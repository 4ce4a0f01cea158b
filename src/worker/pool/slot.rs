//! Keeps one worker running.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::BackOff;
use super::exit::WorkerExit;
use super::recycle::Reason;
use super::worker::Worker;
use super::{STOP_TIMEOUT, Shared};

/// How long the next replacement waits for the requests of this worker.
const TURN: Duration = Duration::from_secs(30);

/// How long a worker without requests may take to exit.
const IDLE_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// One worker of a pool, and those that it has replaced.
pub(super) struct WorkerSlot {
    pool: Arc<Shared>,
    nth: usize,
    back_off: BackOff,
    /// Replaced workers that finish their requests.
    leaving: JoinSet<()>,
}

enum Event {
    Stop,
    Pause,
    Dead(WorkerExit),
    Due(Reason),
}

impl WorkerSlot {
    pub(super) fn new(pool: Arc<Shared>, nth: usize) -> Self {
        Self { pool, nth, back_off: BackOff::default(), leaving: JoinSet::new() }
    }

    /// Keeps a worker running until the pool is stopped.
    pub(super) async fn run(mut self, first: Worker) {
        let mut worker = Some(first);
        while let Some(mut current) = worker {
            while self.leaving.try_join_next().is_some() {}
            let due = current.due();
            let event = tokio::select! {
                biased;
                () = self.pool.stopping() => Event::Stop,
                () = self.pool.pausing() => Event::Pause,
                exit = current.ended() => Event::Dead(exit),
                reason = due => Event::Due(reason),
            };
            worker = match event {
                Event::Stop => {
                    current.stop(STOP_TIMEOUT).await;
                    None
                }
                Event::Pause => {
                    leave(Arc::clone(&self.pool), current, None).await;
                    self.start(None).await
                }
                Event::Dead(exit) => self.respawn(current, exit).await,
                Event::Due(reason) => self.replace(current, reason).await,
            };
        }
        while self.leaving.join_next().await.is_some() {}
    }

    /// Replaces a worker that died.
    async fn respawn(&mut self, mut dead: Worker, exit: WorkerExit) -> Option<Worker> {
        let lived = dead.age();
        self.abandon(&mut dead, exit);
        drop(dead);
        let fresh = self.start(Some(lived)).await?;
        tracing::info!(app = self.pool.config.place(), worker = self.nth, pid = fresh.pid, "another worker has taken its place");
        Some(fresh)
    }

    /// Starts a worker that takes calls, as soon as the pool need not make room; `None` if the pool is stopped.
    async fn start(&mut self, lived: Option<Duration>) -> Option<Worker> {
        let pool = Arc::clone(&self.pool);
        loop {
            tokio::select! {
                biased;
                () = pool.stopping() => return None,
                () = pool.pausing() => self.make_room().await,
                mut fresh = fresh(&pool, self.nth, &mut self.back_off, lived) => {
                    fresh.open();
                    return Some(fresh);
                }
            }
        }
    }

    /// Waits until the pool is resumed or stopped, without a worker.
    async fn make_room(&mut self) {
        while self.leaving.join_next().await.is_some() {}
        self.pool.paused.send_modify(|paused| *paused += 1);
        let mut pause = self.pool.pause.subscribe();
        tokio::select! {
            () = self.pool.stopping() => {}
            // An error means that the pool is gone.
            _ = pause.wait_for(|pause| !pause) => {}
        }
        self.pool.paused.send_modify(|paused| *paused -= 1);
    }

    /// Replaces a live worker. It is retired when the new one is ready.
    async fn replace(&mut self, mut old: Worker, reason: Reason) -> Option<Worker> {
        let (pool, nth) = (Arc::clone(&self.pool), self.nth);
        if pool.config.old_first {
            let turn = Arc::clone(&pool.turn).acquire_owned().await.ok();
            pool.live.count(reason);
            let pid = old.pid;
            old.set_cause(reason.label());
            leave(Arc::clone(&pool), old, None).await;
            let fresh = self.start(None).await?;
            drop(turn);
            tracing::info!(app = pool.config.place(), worker = nth, pid, by = fresh.pid, "the worker was replaced ({reason})");
            return Some(fresh);
        }
        let mut fresh = Box::pin(async {
            // A stuck worker is replaced without waiting for other replacements.
            let turn = if reason == Reason::Deadline { None } else { Arc::clone(&pool.turn).acquire_owned().await.ok() };
            (fresh(&pool, nth, &mut BackOff::default(), None).await, turn)
        });
        let exit = tokio::select! {
            biased;
            () = pool.stopping() => None,
            () = pool.pausing() => {
                drop(fresh);
                leave(pool, old, None).await;
                return self.start(None).await;
            }
            exit = old.ended() => Some(exit),
            (mut fresh, turn) = &mut fresh => {
                fresh.open();
                pool.live.count(reason);
                let place = pool.config.place();
                tracing::info!(app = place, worker = nth, pid = old.pid, by = fresh.pid, "the worker is replaced ({reason})");
                old.set_cause(reason.label());
                self.leaving.spawn(leave(Arc::clone(&pool), old, turn));
                return Some(fresh);
            }
        };
        // It may hold the lock of the template.
        drop(fresh);
        match exit {
            Some(exit) => self.respawn(old, exit).await,
            None => {
                old.stop(STOP_TIMEOUT).await;
                None
            }
        }
    }

    fn abandon(&self, dead: &mut Worker, exit: WorkerExit) {
        self.pool.live.count(Reason::Crash);
        tracing::error!(app = self.pool.config.place(), worker = self.nth, pid = dead.pid, "the worker {exit}");
        dead.set_cause(exit.to_string());
        dead.abandon(&format!("it {exit}"));
    }
}

/// Starts a worker, repeatedly until it is ready.
async fn fresh(pool: &Arc<Shared>, nth: usize, back_off: &mut BackOff, mut lived: Option<Duration>) -> Worker {
    loop {
        sleep(back_off.after(lived)).await;
        let error = match Worker::start(pool, nth).await {
            Ok(worker) => return worker,
            Err(error) => error,
        };
        tracing::error!(app = pool.config.place(), worker = nth, "the worker cannot be started again: {error}");
        lived = None;
    }
}

/// Retires a worker that has been replaced.
async fn leave(pool: Arc<Shared>, mut worker: Worker, mut turn: Option<OwnedSemaphorePermit>) {
    let begin = Instant::now();
    let linger = pool.config.linger;
    let mut retired = pin!(worker.retire());
    let grace = loop {
        tokio::select! {
            () = &mut retired => break IDLE_STOP_TIMEOUT,
            () = pool.stopping() => break STOP_TIMEOUT,
            exit = worker.ended() => {
                tracing::error!(app = pool.config.place(), worker = worker.nth, pid = worker.pid, "the worker {exit} while it finished its requests");
                worker.set_cause(exit.to_string());
                worker.abandon(&format!("it {exit}"));
                return;
            }
            () = sleep_until(begin + TURN), if turn.is_some() => drop(turn.take()),
            () = sleep_until(begin + linger) => {
                let place = pool.config.place();
                tracing::warn!(app = place, worker = worker.nth, pid = worker.pid, "requests of the worker had not finished within `drain` and are broken off");
                break Duration::ZERO;
            }
        }
    };
    // Nobody waits for its requests any more, so the next replacement need not wait for its exit.
    drop(turn);
    worker.stop(grace).await;
}
