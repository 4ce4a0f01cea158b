//! The running site: one server, the generation that it serves, and those that finish behind it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use ziggurat_middleware::Lifecycle;

use super::control::{self, Command, Control};
use super::prepared::{Bound, ControlSocket, PreparedGeneration};
use super::reload::Reloads;
use super::say;
use super::signals::{SignalAction, Signals};
use super::source::PipelineSource;
use super::status::ProcessStatus;
use super::systemd;
use super::watch::{self, Watch};
use crate::pipeline::{Pipeline, Report};
use crate::server::{Address, Listener, Retiring, Server};

/// What runs, for as long as the process serves.
pub(super) struct MainLoop {
    server: Server,
    pub(super) generation: Generation,
    pub(super) reloads: Reloads,
    pub(super) status: ProcessStatus,
    /// In development: what the site is made of.
    pub(super) watch: Option<Watch>,
    control: Option<Control>,
    /// What is asked for on the control socket. One end is kept for the next socket.
    commands: (mpsc::Sender<Command>, mpsc::Receiver<Command>),
    /// Generations whose last requests are still inside, by their number.
    finishing: BTreeMap<u64, Lifecycle>,
    /// Ends of those and of control sockets that were given up. They give the number of what has ended.
    pub(super) retiring: JoinSet<Option<u64>>,
}

/// One reading of the file, in force.
pub(super) struct Generation {
    /// From 1.
    pub(super) number: u64,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) lifecycle: Lifecycle,
    /// What is listened on, as it is written and as it was bound.
    pub(super) addresses: Vec<(Address, String)>,
    pub(super) since: SystemTime,
}

impl MainLoop {
    /// Begins to serve; must be called within a runtime.
    pub(super) fn open(
        source: PipelineSource,
        watch: Option<Watch>,
        prepared: PreparedGeneration,
        lifecycle: Lifecycle,
    ) -> Result<Self, Report> {
        let PreparedGeneration { pipeline, stack, listeners, control, mistake } = prepared;
        let addresses = named(&listeners);
        let cannot = |error| pipeline.report(&format!("cannot serve: {error}"));
        let server = Server::start(listeners, stack, pipeline.server()).map_err(cannot)?;
        let status = ProcessStatus::new(server.traffic());
        status.describe(&pipeline, &lifecycle);
        let commands = mpsc::channel(control::WAITING);
        let control = match control {
            ControlSocket::Bind(path, listener) => Some(Control::start(path, listener, commands.0.clone()).map_err(cannot)?),
            ControlSocket::None | ControlSocket::Keep => None,
        };
        announce(&addresses);
        match &mistake {
            None => say(&format!("stack: {}", pipeline.summary())),
            Some(report) => watch::report_error(report),
        }
        let generation = Generation { number: 1, pipeline, lifecycle, addresses, since: SystemTime::now() };
        Ok(Self {
            server,
            generation,
            reloads: Reloads::new(source),
            status,
            watch,
            control,
            commands,
            finishing: BTreeMap::new(),
            retiring: JoinSet::new(),
        })
    }

    /// Serves until it is told to stop, and drains.
    pub(super) async fn run(mut self, mut signals: Signals) {
        loop {
            tokio::select! {
                _ = &mut signals.stop => break,
                Some(action) = signals.actions.recv() => match action {
                    SignalAction::Reload => self.reload(None),
                    action => run_hooks(action, &self.generation, &self.finishing),
                },
                Some(command) = self.commands.1.recv() => self.execute(command),
                built = self.reloads.built() => self.finish_reload(built).await,
                Some(ended) = self.retiring.join_next() => {
                    if let Ok(Some(number)) = ended {
                        self.finishing.remove(&number);
                    }
                }
                changed = watch::changed(self.watch.as_ref()) => {
                    say(&format!("changed: {changed}; reloading"));
                    self.reload(None);
                }
            }
        }
        self.close(signals.actions).await;
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Reload(waiting) => self.reload(Some(waiting)),
            Command::Reopen(done) => {
                run_hooks(SignalAction::Reopen, &self.generation, &self.finishing);
                let _ = done.send(());
            }
            Command::Status(asked) => {
                let state = if self.reloads.is_under_way() { "reloading" } else { "serving" };
                let _ = asked.send(self.status.status(&self.reloads.source, &self.generation, state));
            }
        }
    }

    /// What the generation to come need not bind again.
    pub(super) fn bound(&self) -> Bound {
        Bound {
            listening: self.server.listening().to_vec(),
            control: self.control.as_ref().map(|control| control.path().to_owned()),
            pipeline: Some(Arc::clone(&self.generation.pipeline)),
        }
    }

    /// Puts a generation in the place of the one that serves, which finishes behind it.
    pub(super) async fn replace_generation(&mut self, prepared: PreparedGeneration, lifecycle: Lifecycle) -> Result<(), Report> {
        let PreparedGeneration { pipeline, stack, listeners, control, mistake: _ } = prepared;
        let added = named(&listeners);
        self.status.describe(&pipeline, &lifecycle);
        let changed = match control {
            ControlSocket::Bind(path, listener) => {
                Control::start(path, listener, self.commands.0.clone()).map(|control| Some(Some(control)))
            }
            ControlSocket::None => Ok(Some(None)),
            ControlSocket::Keep => Ok(None),
        };
        let replaced = match changed {
            Ok(changed) => {
                let retired = self.server.replace(stack, pipeline.server(), pipeline.listen(), listeners).await;
                retired.map(|retired| (retired, changed))
            }
            Err(error) => Err(error),
        };
        let (retired, changed) = match replaced {
            Ok(replaced) => replaced,
            Err(error) => {
                self.discard(lifecycle);
                return Err(pipeline.report(&format!("cannot serve: {error}")));
            }
        };
        if let Some(control) = changed
            && let Some(given_up) = std::mem::replace(&mut self.control, control)
        {
            // Who asked there for this reload gets the answer there.
            self.retiring.spawn(async {
                given_up.close().await;
                None
            });
        }
        announce(&added);
        let listens_on = |address: &Address| pipeline.listen().iter().any(|listen| listen.address == *address);
        let (mut addresses, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.generation.addresses).into_iter().partition(|(address, _)| listens_on(address));
        for (_, address) in gone {
            say(&format!("no longer listening on {address}"));
        }
        addresses.extend(added);
        let number = self.generation.number + 1;
        let drain = pipeline.server().drain.0;
        let next = Generation { number, pipeline, lifecycle, addresses, since: SystemTime::now() };
        let before = std::mem::replace(&mut self.generation, next);
        self.finishing.insert(before.number, before.lifecycle.clone());
        self.retiring.spawn(retire(before, retired, drain));
        Ok(())
    }

    /// Ends a generation that never served.
    pub(super) fn discard(&mut self, lifecycle: Lifecycle) {
        self.retiring.spawn(async {
            end(lifecycle).await;
            None
        });
    }

    /// Drains the server, then ends what all generations have started. The control socket answers as long as anybody is waited for.
    async fn close(self, mut actions: mpsc::Receiver<SignalAction>) {
        systemd::stopping();
        let Self { server, generation, mut reloads, status, watch: _, control, commands: (_, mut commands), finishing, mut retiring } =
            self;
        let source = reloads.source.clone();
        let mut ending = pin!(async {
            let (drained, ()) = tokio::join!(server.drain(), reloads.abandon());
            if drained.cut > 0 {
                tracing::warn!("{} connections had not finished within `drain` and were cut off", drained.cut);
            }
            // With the connections every earlier generation has lost its last requests.
            while retiring.join_next().await.is_some() {}
            end(generation.lifecycle.clone()).await;
        });
        loop {
            tokio::select! {
                () = &mut ending => break,
                Some(action) = actions.recv() => run_hooks(action, &generation, &finishing),
                Some(command) = commands.recv() => match command {
                    Command::Status(asked) => drop(asked.send(status.status(&source, &generation, "stopping"))),
                    Command::Reload(waiting) => drop(waiting.send(Err(generation.pipeline.report("the server is stopping")))),
                    Command::Reopen(done) => {
                        run_hooks(SignalAction::Reopen, &generation, &finishing);
                        let _ = done.send(());
                    }
                },
            }
        }
        drop(commands);
        if let Some(control) = control {
            control.close().await;
        }
    }
}

fn named(listeners: &[Listener]) -> Vec<(Address, String)> {
    listeners.iter().map(|listener| (listener.listen().address.clone(), listener.to_string())).collect()
}

fn announce(addresses: &[(Address, String)]) {
    for (_, address) in addresses {
        say(&format!("listening on {address}"));
    }
}

/// Logs are reopened and stacks shown for every generation that has requests inside.
fn run_hooks(action: SignalAction, generation: &Generation, finishing: &BTreeMap<u64, Lifecycle>) {
    let all = finishing.values().chain([&generation.lifecycle]);
    match action {
        SignalAction::Reopen => all.for_each(Lifecycle::reopen),
        SignalAction::Stacks => {
            say("where the threads of every app are:");
            all.for_each(Lifecycle::stacks);
        }
        // Of a server that stops.
        SignalAction::Reload => say("not reloaded: the server is stopping"),
    }
}

/// How long requests that were cut off may take to end.
const CUT_TIMEOUT: Duration = Duration::from_secs(5);

/// Ends a generation after its last request, which is cut off when `drain` is over.
async fn retire(generation: Generation, mut retiring: Retiring, drain: Duration) -> Option<u64> {
    if timeout(drain, &mut retiring).await.is_err() {
        tracing::warn!("requests of the stack before the reload had not finished within `drain` and were cut off");
        retiring.cut();
        if timeout(CUT_TIMEOUT, retiring).await.is_err() {
            tracing::warn!("requests that were cut off have not ended after {} s", CUT_TIMEOUT.as_secs());
        }
    }
    end(generation.lifecycle).await;
    Some(generation.number)
}

/// Ends the tasks of a generation, then runs the hooks of its end, which may block.
pub(super) async fn end(lifecycle: Lifecycle) {
    lifecycle.retire().await;
    if spawn_blocking(move || lifecycle.shutdown()).await.is_err() {
        tracing::error!("a shutdown hook panicked");
    }
}
