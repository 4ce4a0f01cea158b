//! The main loop of the process: signals, control commands, reloads, and the generations that finish after a reload.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use ziggurat_middleware::Lifecycle;
use ziggurat_middleware::cache::Purge;

use super::control::{self, Control, ControlCommand};
use super::memory;
use super::prepared::{Bound, ControlSocket, PreparedPipeline};
use super::print_message;
use super::reload::Reloads;
use super::signals::{SignalAction, Signals};
use super::source::PipelineSource;
use super::status::ProcessStatus;
use super::systemd;
use super::watch::{self, Watch};
use crate::apps::dashboard::ProcessSource;
use crate::pipeline::{Explanation, Pipeline, Question, Report};
use crate::server::{Address, Listen, Listener, Retiring, Server};

/// Everything that runs while the process serves.
pub(super) struct MainLoop {
    server: Server,
    pub(super) active: ActivePipeline,
    pub(super) reloads: Reloads,
    pub(super) status: ProcessStatus,
    /// Present in development only.
    pub(super) watch: Option<Watch>,
    control: Option<Control>,
    /// Held while the plan of a reload is made: one at a time.
    pub(super) planning: Arc<Semaphore>,
    /// Commands of the control socket. The sender is for the next control socket.
    commands: (mpsc::Sender<ControlCommand>, mpsc::Receiver<ControlCommand>),
    /// Replaced generations that still serve requests, by number.
    finishing: BTreeMap<u64, Lifecycle>,
    /// The ends of those generations, with their numbers, and of control sockets that were replaced.
    pub(super) retiring: JoinSet<Option<u64>>,
}

/// A pipeline that is in use.
pub(super) struct ActivePipeline {
    /// From 1.
    pub(super) number: u64,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) lifecycle: Lifecycle,
    /// What it listens on.
    pub(super) addresses: Vec<ListeningAt>,
    pub(super) since: SystemTime,
}

impl ActivePipeline {
    /// Explains a request, on a thread that may look at files.
    fn explain(&self, question: Question, answer: oneshot::Sender<Result<Explanation, String>>) {
        let (pipeline, lifecycle) = (Arc::clone(&self.pipeline), self.lifecycle.clone());
        tokio::task::spawn_blocking(move || answer.send(pipeline.explain_live(&question, &lifecycle)));
    }

    /// Removes stored responses from the caches of the stack.
    fn purge(&self, purge: Purge, answer: oneshot::Sender<Value>) {
        let lifecycle = self.lifecycle.clone();
        tokio::task::spawn_blocking(move || {
            let purged = lifecycle.purge(&purge).into_iter().map(|(place, count)| json!({ "place": place.as_str(), "responses": count }));
            answer.send(json!({ "purged": purged.collect::<Vec<_>>() }))
        });
    }
}

/// An address that is listened on.
#[derive(Clone)]
pub(super) struct ListeningAt {
    /// As written.
    pub(super) address: Address,
    /// As bound, for people.
    pub(super) name: String,
    is_http3: bool,
}

impl ListeningAt {
    /// Whether a generation with these entries listens on it.
    pub(super) fn goes_on(&self, listen: &[Listen]) -> bool {
        listen.iter().any(|listen| listen.address == self.address && (!self.is_http3 || listen.http.has_http3()))
    }
}

impl MainLoop {
    /// Starts to serve. Must be called within a runtime.
    pub(super) fn open(
        source: PipelineSource,
        watch: Option<Watch>,
        prepared: PreparedPipeline,
        lifecycle: Lifecycle,
    ) -> Result<Self, Report> {
        let PreparedPipeline { pipeline, stack, listen: _, listeners, control, mistake } = prepared;
        let addresses = named(&listeners);
        let cannot = |error| pipeline.report(&format!("cannot serve: {error}"));
        let server = Server::start(listeners, stack, pipeline.server()).map_err(cannot)?;
        let status = ProcessStatus::new(server.traffic());
        status.describe(&pipeline, &lifecycle);
        pipeline.begin(&lifecycle);
        let commands = mpsc::channel(control::WAITING);
        let control = match control {
            ControlSocket::Bind(path, listener) => Some(Control::start(path, *listener, commands.0.clone()).map_err(cannot)?),
            ControlSocket::None | ControlSocket::Keep => None,
        };
        announce(&addresses);
        match &mistake {
            None => print_message(&format!("stack: {}", pipeline.summary())),
            Some(report) => watch::report_error(report),
        }
        let active = ActivePipeline { number: 1, pipeline, lifecycle, addresses, since: SystemTime::now() };
        Ok(Self {
            server,
            active,
            reloads: Reloads::new(source),
            status,
            watch,
            control,
            planning: Arc::new(Semaphore::new(1)),
            commands,
            finishing: BTreeMap::new(),
            retiring: JoinSet::new(),
        })
    }

    /// Answers the questions of the stack about the process.
    pub(super) fn answer(&self, source: &ProcessSource) {
        let commands = self.commands.0.clone();
        source.fill(move |asked| {
            let commands = commands.clone();
            Box::pin(async move { control::answer_dashboard(&commands, asked).await })
        });
    }

    /// Serves until a signal stops the process, then drains.
    pub(super) async fn run(mut self, mut signals: Signals) {
        let mut memory = pin!(memory::give_back());
        loop {
            tokio::select! {
                _ = &mut signals.stop => break,
                never = &mut memory => match never {},
                Some(action) = signals.actions.recv() => match action {
                    SignalAction::Reload => self.reload(None),
                    action => run_hooks(action, &self.active, &self.finishing),
                },
                Some(command) = self.commands.1.recv() => self.execute(command),
                built = self.reloads.built() => self.finish_reload(built).await,
                Some(ended) = self.retiring.join_next() => {
                    if let Ok(Some(number)) = ended {
                        self.finishing.remove(&number);
                    }
                }
                changed = watch::changed(self.watch.as_ref()) => {
                    print_message(&format!("changed: {changed}; reloading"));
                    self.reload(None);
                }
            }
        }
        self.close(signals.actions).await;
    }

    fn execute(&mut self, command: ControlCommand) {
        match command {
            ControlCommand::Reload(file, waiting) => self.reload_file(file.as_deref(), waiting),
            ControlCommand::Plan(file, waiting) => self.plan(file.as_deref(), waiting),
            ControlCommand::Reopen(done) => {
                run_hooks(SignalAction::Reopen, &self.active, &self.finishing);
                let _ = done.send(());
            }
            ControlCommand::Explain(question, answer) => self.active.explain(question, answer),
            ControlCommand::Purge(purge, answer) => self.active.purge(purge, answer),
            ControlCommand::Status(asked) => {
                let state = if self.reloads.is_under_way() { "reloading" } else { "serving" };
                let _ = asked.send(self.status.status(&self.reloads.source, &self.active, state));
            }
        }
    }

    /// What the next generation need not bind again.
    pub(super) fn bound(&self) -> Bound {
        Bound {
            listening: self.server.listening().to_vec(),
            addresses: self.server.bound().to_vec(),
            control: self.control.as_ref().map(|control| control.path().to_owned()),
            pipeline: Some(Arc::clone(&self.active.pipeline)),
        }
    }

    /// Replaces the generation that serves. It finishes its requests in the background.
    pub(super) async fn replace_generation(&mut self, prepared: PreparedPipeline, lifecycle: Lifecycle) -> Result<(), Report> {
        let PreparedPipeline { pipeline, stack, listen, listeners, control, mistake: _ } = prepared;
        let added = named(&listeners);
        self.status.describe(&pipeline, &lifecycle);
        let changed = match control {
            ControlSocket::Bind(path, listener) => {
                Control::start(path, *listener, self.commands.0.clone()).map(|control| Some(Some(control)))
            }
            ControlSocket::None => Ok(Some(None)),
            ControlSocket::Keep => Ok(None),
        };
        let replaced = match changed {
            Ok(changed) => {
                let retiring = self.server.replace(stack, pipeline.server(), &listen, listeners).await;
                retiring.map(|retiring| (retiring, changed))
            }
            Err(error) => Err(error),
        };
        let (retiring, changed) = match replaced {
            Ok(replaced) => replaced,
            Err(error) => {
                self.discard(lifecycle);
                return Err(pipeline.report(&format!("cannot serve: {error}")));
            }
        };
        pipeline.begin(&lifecycle);
        if let Some(control) = changed
            && let Some(replaced) = std::mem::replace(&mut self.control, control)
        {
            // A client that asked there for this reload gets its response there.
            self.retiring.spawn(async {
                replaced.close().await;
                None
            });
        }
        announce(&added);
        let (mut addresses, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.active.addresses).into_iter().partition(|at| at.goes_on(pipeline.listen()));
        for ListeningAt { name, .. } in gone {
            print_message(&format!("no longer listening on {name}"));
        }
        addresses.extend(added);
        let number = self.active.number + 1;
        let drain = pipeline.server().drain.0;
        let next = ActivePipeline { number, pipeline, lifecycle, addresses, since: SystemTime::now() };
        let before = std::mem::replace(&mut self.active, next);
        self.finishing.insert(before.number, before.lifecycle.clone());
        self.retiring.spawn(retire(before, retiring, drain));
        Ok(())
    }

    /// Ends a generation that has not served.
    pub(super) fn discard(&mut self, lifecycle: Lifecycle) {
        self.retiring.spawn(async {
            end(lifecycle).await;
            None
        });
    }

    /// Drains the server, then ends all generations. The control socket answers until then.
    async fn close(self, mut actions: mpsc::Receiver<SignalAction>) {
        systemd::stopping();
        let Self { server, active, mut reloads, status, control, commands: (_, mut commands), finishing, mut retiring, .. } = self;
        finishing.values().chain([&active.lifecycle]).for_each(Lifecycle::drain);
        let source = reloads.source.clone();
        let mut ending = pin!(async {
            let (drained, ()) = tokio::join!(server.drain(), reloads.abandon());
            if drained.cut > 0 {
                tracing::warn!("{} connections had not finished within `drain` and were cut off", drained.cut);
            }
            // No connection is left, so no request is inside an earlier generation.
            while retiring.join_next().await.is_some() {}
            end(active.lifecycle.clone()).await;
        });
        loop {
            tokio::select! {
                () = &mut ending => break,
                Some(action) = actions.recv() => run_hooks(action, &active, &finishing),
                Some(command) = commands.recv() => match command {
                    ControlCommand::Status(asked) => drop(asked.send(status.status(&source, &active, "stopping"))),
                    ControlCommand::Explain(question, answer) => active.explain(question, answer),
                    ControlCommand::Purge(purge, answer) => active.purge(purge, answer),
                    ControlCommand::Reload(_, waiting) => drop(waiting.send(Err(active.pipeline.report("the server is stopping")))),
                    ControlCommand::Plan(_, waiting) => drop(waiting.send(Err(active.pipeline.report("the server is stopping")))),
                    ControlCommand::Reopen(done) => {
                        run_hooks(SignalAction::Reopen, &active, &finishing);
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

fn named(listeners: &[Listener]) -> Vec<ListeningAt> {
    let named = |listener: &Listener| ListeningAt {
        address: listener.listen().address.clone(),
        name: listener.to_string(),
        is_http3: listener.is_http3(),
    };
    listeners.iter().map(named).collect()
}

fn announce(addresses: &[ListeningAt]) {
    for ListeningAt { name, .. } in addresses {
        print_message(&format!("listening on {name}"));
    }
}

/// Runs the hooks of a signal in all generations that serve requests.
fn run_hooks(action: SignalAction, active: &ActivePipeline, finishing: &BTreeMap<u64, Lifecycle>) {
    let all = finishing.values().chain([&active.lifecycle]);
    match action {
        SignalAction::Reopen => all.for_each(Lifecycle::reopen),
        SignalAction::Stacks => {
            print_message("where the threads of every app are:");
            all.for_each(Lifecycle::stacks);
        }
        SignalAction::Reload => print_message("not reloaded: the server is stopping"),
    }
}

/// How long requests that were cut off may take to end.
const CUT_TIMEOUT: Duration = Duration::from_secs(5);

/// Ends a generation after its last request, which is cut off when `drain` is over.
async fn retire(replaced: ActivePipeline, mut retiring: Retiring, drain: Duration) -> Option<u64> {
    if timeout(drain, &mut retiring).await.is_err() {
        tracing::warn!("requests of the stack before the reload had not finished within `drain` and were cut off");
        retiring.cut();
        if timeout(CUT_TIMEOUT, retiring).await.is_err() {
            tracing::warn!("requests that were cut off have not ended after {} s", CUT_TIMEOUT.as_secs());
        }
    }
    end(replaced.lifecycle).await;
    Some(replaced.number)
}

/// Ends the background tasks of a generation, then runs its shutdown hooks, which may block.
pub(super) async fn end(lifecycle: Lifecycle) {
    lifecycle.retire().await;
    if spawn_blocking(move || lifecycle.shutdown()).await.is_err() {
        tracing::error!("a shutdown hook panicked");
    }
}
