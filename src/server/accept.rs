//! The accept loop: accepts connections up to a limit, carries out commands, and drains.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::bound_listener::{Accepted, BoundListener, BoundListeners};
use super::connection;
use super::connection_table::ConnectionTable;
use super::descriptors::Descriptors;
use super::generation::CurrentGeneration;
use super::http1;
use super::limits::Limits;
use super::refusal::Refusal;
use super::serve::Drained;
use super::{Listen, Options, Protocol};

/// Accepts connections and owns their tasks. Dropping it ends them.
pub(super) struct AcceptLoop {
    listeners: BoundListeners,
    current: Arc<CurrentGeneration>,
    options: Options,
    limits: Arc<Limits>,
    table: Arc<ConnectionTable>,
    connections: JoinSet<()>,
    /// Connections so far.
    count: u64,
    /// Clients that were accepted while there was no room for them, with the time until which they wait.
    waiting: VecDeque<(Accepted, Instant)>,
    /// Clients that are told that there is no room.
    refusals: JoinSet<()>,
    descriptors: Descriptors,
    /// Until when nothing is accepted, because the system had no descriptor left.
    pause: Option<Instant>,
}

/// What the accept loop is to do, and where it reports that it is done.
pub(super) enum AcceptCommand {
    Replace(Box<Replacement>, oneshot::Sender<()>),
    Drain(oneshot::Sender<Drained>),
}

/// What holds for connections accepted from now on.
pub(super) struct Replacement {
    pub(super) options: Options,
    /// The entries of all listeners, those of `added` included.
    pub(super) listen: Vec<Listen>,
    pub(super) added: Vec<BoundListener>,
}

/// How long nothing is accepted after the system refused another descriptor.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a client waits for room before it is told that there is none, and how many wait or are told at once. Further clients wait in the kernel's queue.
const WAIT: Duration = Duration::from_secs(5);
const CROWD: usize = 64;

/// How many connections each listener may have even if those of other listeners fill the server.
const RESERVE: usize = 4;

const FULL: Refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server has as many connections as it can take");

/// How long connections that are cut off at the end of the drain may take to respond with 503.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

impl AcceptLoop {
    pub(super) fn new(
        listeners: Vec<BoundListener>,
        current: Arc<CurrentGeneration>,
        table: Arc<ConnectionTable>,
        options: Options,
    ) -> Self {
        Self {
            listeners: BoundListeners::new(listeners),
            current,
            limits: Arc::new(Limits::from(&options)),
            options,
            table,
            connections: JoinSet::new(),
            count: 0,
            waiting: VecDeque::new(),
            refusals: JoinSet::new(),
            descriptors: Descriptors::of_process(),
            pause: None,
        }
    }

    /// Accepts until it is told to drain, or until nobody can send commands any more.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<AcceptCommand>) {
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(AcceptCommand::Replace(replacement, done)) => {
                        self.replace(*replacement);
                        let _ = done.send(());
                    }
                    Some(AcceptCommand::Drain(done)) => {
                        let drained = self.drain().await;
                        let _ = done.send(drained);
                        return;
                    }
                    None => return,
                },
                Some(_) = self.connections.join_next() => {}
                Some(_) = self.refusals.join_next() => {}
                () = until(self.waiting.front().map(|(_, until)| *until)) => self.refuse_first(),
                () = until(self.pause) => self.pause = None,
                accepted = poll_fn(|cx| self.listeners.poll_accept(cx)), if self.waiting.len() + self.refusals.len() < CROWD && self.pause.is_none() => {
                    self.accepted(accepted);
                }
            }
            self.serve_waiting();
        }
    }

    fn replace(&mut self, replacement: Replacement) {
        self.limits = Arc::new(Limits::from(&replacement.options));
        self.options = replacement.options;
        let queued = self.listeners.replace(&replacement.listen, replacement.added);
        self.waiting.extend(queued.into_iter().map(|accepted| (accepted, Instant::now() + WAIT)));
    }

    fn accepted(&mut self, accepted: io::Result<Accepted>) {
        match accepted {
            Ok(accepted) => self.waiting.push_back((accepted, Instant::now() + WAIT)),
            Err(error) if is_about_one_client(&error) => tracing::debug!("a client disconnected before it was accepted: {error}"),
            Err(error) => {
                tracing::warn!("cannot accept connections for now: {error}");
                // The system has no descriptor or memory left. Both come back when connections end.
                self.pause = Some(Instant::now() + PAUSE);
            }
        }
    }

    /// Starts to serve clients that wait, as far as there is room. If more wait, asks an idle connection, or the slowest upload, to make room.
    fn serve_waiting(&mut self) {
        for (accepted, until) in std::mem::take(&mut self.waiting) {
            if !self.has_room(&accepted) {
                self.waiting.push_back((accepted, until));
                continue;
            }
            let guard = self.table.insert(self.count);
            self.count += 1;
            let counted = accepted.count();
            self.connections.spawn(connection::run(accepted, counted, Arc::clone(&self.current), Arc::clone(&self.limits), guard));
        }
        self.table.set_crowded(!self.waiting.is_empty());
    }

    /// Whether there is room for a client. Each listener always has some, so that probes on one get through while another is crowded.
    fn has_room(&self, accepted: &Accepted) -> bool {
        let is_crowded = self.connections.len() >= self.options.max_connections || !self.descriptors.suffice(&accepted.socket);
        let siblings = accepted.siblings();
        !is_crowded || (siblings < RESERVE.min(self.options.max_connections) && siblings < self.connections.len())
    }

    /// Tells the client that has waited longest that there is no room.
    fn refuse_first(&mut self) {
        if let Some((Accepted { socket, listen, .. }, _)) = self.waiting.pop_front() {
            self.table.count_refused_client();
            // A client that speaks TLS would have to get through a handshake to read a response. A front server sees that its connection is closed.
            if listen.transport.tls.is_none() && listen.protocol == Protocol::Http {
                self.refusals.spawn(http1::refuse_connection(socket, FULL));
            }
        }
    }

    async fn drain(&mut self) -> Drained {
        let queued = self.listeners.replace(&[], Vec::new());
        self.waiting.extend(queued.into_iter().map(|accepted| (accepted, Instant::now() + WAIT)));
        self.table.close();
        let deadline = Instant::now() + self.options.drain.0;
        self.serve_waiting();
        while let Ok(Some(_)) = timeout_at(deadline, self.connections.join_next()).await {
            self.serve_waiting();
        }
        let cut = self.connections.len() + self.waiting.len();
        self.table.cut_all();
        if cut > 0 {
            // HTTP/2 streams are not in the table.
            self.current.load().cut().cancel();
        }
        let _ = timeout(CUT_TIMEOUT, async { while self.connections.join_next().await.is_some() {} }).await;
        self.connections.shutdown().await;
        Drained { cut }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn is_about_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused | ErrorKind::Interrupted
    )
}
