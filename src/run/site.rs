//! The running site: one server, the generation that it serves, and those that finish behind it.

use std::time::{Duration, SystemTime};

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use ziggurat_middleware::Lifecycle;

use super::candidate::{Candidate, InUse};
use super::origin::Origin;
use super::reload::Reloads;
use super::say;
use super::signals::{Signals, Wish};
use crate::pipeline::{Pipeline, Report};
use crate::server::{Listen, Retired, Server};

/// What runs, for as long as the process serves.
pub(super) struct Site {
    pub(super) server: Server,
    pub(super) generation: Generation,
    pub(super) reloads: Reloads,
    /// Generations whose last requests are still inside.
    retiring: JoinSet<()>,
}

/// One reading of the file, in force.
pub(super) struct Generation {
    /// From 1.
    pub(super) number: u64,
    pub(super) pipeline: Pipeline,
    pub(super) lifecycle: Lifecycle,
    /// What is listened on, as it is written and as it was bound.
    pub(super) addresses: Vec<(Listen, String)>,
    pub(super) since: SystemTime,
}

impl Site {
    /// Begins to serve; must be called within a runtime.
    pub(super) fn open(origin: Origin, candidate: Candidate, lifecycle: Lifecycle) -> Result<Self, Report> {
        let Candidate { pipeline, stack, listeners } = candidate;
        let addresses: Vec<_> = listeners.iter().map(|listener| (listener.listen().clone(), listener.to_string())).collect();
        let server =
            Server::start(listeners, stack, pipeline.server()).map_err(|error| pipeline.report(&format!("cannot serve: {error}")))?;
        for (_, address) in &addresses {
            say(&format!("listening on {address}"));
        }
        say(&format!("stack: {}", pipeline.summary()));
        let generation = Generation { number: 1, pipeline, lifecycle, addresses, since: SystemTime::now() };
        Ok(Self { server, generation, reloads: Reloads::new(origin), retiring: JoinSet::new() })
    }

    /// Serves until it is told to stop, and drains.
    pub(super) async fn run(mut self, mut signals: Signals) {
        loop {
            tokio::select! {
                _ = &mut signals.stop => break,
                Some(wish) = signals.wishes.recv() => self.grant(wish),
                built = self.reloads.built() => self.finish_reload(built).await,
                Some(_) = self.retiring.join_next() => {}
            }
        }
        self.close().await;
    }

    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Reload => self.reload(None),
            Wish::Reopen => self.generation.lifecycle.reopen(),
            Wish::Stacks => {
                say("stacks of the threads of every app:");
                self.generation.lifecycle.stacks();
            }
        }
    }

    /// What the generation to come need not bind again.
    pub(super) fn in_use(&self) -> InUse {
        InUse { listening: self.server.listening().to_vec() }
    }

    /// Puts a generation in the place of the one that serves, which finishes behind it.
    pub(super) async fn succeed(&mut self, candidate: Candidate, lifecycle: Lifecycle) -> Result<(), Report> {
        let Candidate { pipeline, stack, listeners } = candidate;
        let added: Vec<_> = listeners.iter().map(|listener| (listener.listen().clone(), listener.to_string())).collect();
        let retired = match self.server.replace(stack, pipeline.server(), pipeline.listen(), listeners).await {
            Ok(retired) => retired,
            Err(error) => {
                end(lifecycle).await;
                return Err(pipeline.report(&format!("cannot serve: {error}")));
            }
        };
        for (_, address) in &added {
            say(&format!("listening on {address}"));
        }
        let (mut addresses, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.generation.addresses).into_iter().partition(|(listen, _)| pipeline.listen().contains(listen));
        for (_, address) in gone {
            say(&format!("no longer listening on {address}"));
        }
        addresses.extend(added);
        let number = self.generation.number + 1;
        let drain = pipeline.server().drain.0;
        let next = Generation { number, pipeline, lifecycle, addresses, since: SystemTime::now() };
        let before = std::mem::replace(&mut self.generation, next);
        self.retiring.spawn(retire(before, retired, drain));
        Ok(())
    }

    /// Drains the server, then ends what all generations have started.
    async fn close(mut self) {
        let (drained, ()) = tokio::join!(self.server.drain(), self.reloads.abandon());
        if drained.cut > 0 {
            tracing::warn!("{} connections had not finished within `drain` and were cut off", drained.cut);
        }
        // With the connections every earlier generation has lost its last requests.
        while self.retiring.join_next().await.is_some() {}
        end(self.generation.lifecycle).await;
    }
}

/// Ends a generation once its last request is over, or has had its time.
async fn retire(generation: Generation, retired: Retired, drain: Duration) {
    if timeout(drain, retired).await.is_err() {
        tracing::warn!("requests of the stack before the reload had not finished within `drain` and are left without their app");
    }
    end(generation.lifecycle).await;
}

/// Runs the hooks of a generation's end, which may block.
pub(super) async fn end(lifecycle: Lifecycle) {
    if spawn_blocking(move || lifecycle.shutdown()).await.is_err() {
        tracing::error!("a shutdown hook panicked");
    }
}
