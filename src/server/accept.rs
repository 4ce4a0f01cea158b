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
use tokio_util::task::AbortOnDropHandle;
use ziggurat_middleware::{Summary, is_out_of_descriptors};

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
    /// Each says at its end whether it had a descriptor.
    connections: JoinSet<bool>,
    /// Connections so far.
    count: u64,
    /// Clients that were accepted while there was no room for them, and when.
    waiting: VecDeque<(Accepted, Instant)>,
    /// Since when there has not been room for all clients.
    crowded_since: Option<Instant>,
    /// Clients that are told that there is no room.
    refusals: VecDeque<AbortOnDropHandle<()>>,
    /// How many clients wait at most, and how many are told that there is no room. Further clients wait in the kernel's queue.
    crowd: usize,
    descriptors: Descriptors,
    /// Until when nothing is accepted, because the system had no descriptor left.
    pause: Option<Instant>,
    /// Failures of `accept`.
    log: Summary<()>,
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

/// How long nothing is accepted after the system refused another descriptor, and how long if one is about to be closed.
const PAUSE: Duration = Duration::from_millis(200);
const SHORT_PAUSE: Duration = Duration::from_millis(10);

/// How long a client waits for room before it is told that there is none, and how long if others have waited for so long already.
const WAIT: Duration = Duration::from_secs(5);
const SHORT_WAIT: Duration = Duration::from_millis(100);

/// How many clients wait at most, and how many are told that there is no room, if there are enough descriptors.
const CROWD: usize = 32;

/// How many connections each listener may have even if those of other listeners fill the server.
const RESERVE: usize = 4;

/// Clients over UDP have to show that their address is their own while this share of `max_handshakes` is under way, or others wait.
const ASKING: usize = 4;

const FULL: Refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server has as many connections as it can take");

/// How long connections that are cut off at the end of the drain may take to respond with 503.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the end waits until clients of HTTP/3 have been told of it.
const IDLE_TIMEOUT: Duration = Duration::from_millis(500);

impl AcceptLoop {
    pub(super) fn new(
        listeners: Vec<BoundListener>,
        current: Arc<CurrentGeneration>,
        table: Arc<ConnectionTable>,
        options: Options,
    ) -> Self {
        let descriptors = Descriptors::of_process();
        Self {
            listeners: BoundListeners::new(listeners),
            current,
            limits: Arc::new(Limits::from(&options)),
            options,
            table,
            connections: JoinSet::new(),
            count: 0,
            waiting: VecDeque::new(),
            crowded_since: None,
            refusals: VecDeque::new(),
            crowd: CROWD.min(descriptors.for_unserved() / 2).max(1),
            descriptors,
            pause: None,
            log: Summary::default(),
        }
    }

    /// Accepts until it is told to drain, or until nobody can send commands any more.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<AcceptCommand>) {
        loop {
            let patience = self.patience();
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
                Some(ended) = self.connections.join_next() => {
                    if ended.unwrap_or(true) {
                        self.descriptors.give_back();
                    }
                }
                () = until(patience) => self.refuse_first(),
                () = until(self.pause) => self.pause = None,
                () = until(self.descriptors.recount()), if !self.waiting.is_empty() => {}
                accepted = poll_fn(|cx| self.listeners.poll_accept(cx)), if self.waiting.len() < self.crowd && self.pause.is_none() => {
                    if !self.accepted(accepted) {
                        continue;
                    }
                }
            }
            self.serve_waiting();
        }
    }

    fn replace(&mut self, replacement: Replacement) {
        self.limits = Arc::new(Limits::from(&replacement.options));
        self.options = replacement.options;
        let queued = self.listeners.replace(&replacement.listen, replacement.added);
        self.waiting.extend(queued.into_iter().map(|accepted| (accepted, Instant::now())));
    }

    /// `false` if the same client is to be accepted again.
    fn accepted(&mut self, accepted: io::Result<Accepted>) -> bool {
        match accepted {
            Ok(accepted) => {
                let is_busy = || !self.waiting.is_empty() || self.table.handshakes_under_way() >= self.options.max_handshakes / ASKING;
                if let Some(accepted) = accepted.validated(is_busy) {
                    self.waiting.push_back((accepted, Instant::now()));
                }
            }
            Err(error) if is_about_one_client(&error) => tracing::debug!("a client disconnected before it was accepted: {error}"),
            Err(error) if is_out_of_descriptors(&error) && self.descriptors.release() => return false,
            Err(error) => {
                let sum_up = |count, latest, seconds| {
                    tracing::warn!(count, "cannot accept connections for now, {count} times within {seconds} s: {latest}")
                };
                if self.log.begins((), || error.to_string(), sum_up) {
                    tracing::warn!("cannot accept connections for now: {error}");
                }
                // The system has no descriptor or memory left. Both come back when connections end, also those that only keep their refusal readable.
                let pause = if self.refusals.pop_front().is_some() { SHORT_PAUSE } else { PAUSE };
                self.pause = Some(Instant::now() + pause);
            }
        }
        true
    }

    /// Starts to serve clients that wait, as far as there is room. If more wait, asks as many idle connections, or the slowest upload, to make room.
    fn serve_waiting(&mut self) {
        self.refusals.retain(|refusal| !refusal.is_finished());
        let has_descriptor = |(accepted, _): &&(Accepted, Instant)| accepted.client.has_descriptor();
        let mut unserved = self.waiting.iter().filter(has_descriptor).count() + self.refusals.len();
        let mut has_served = false;
        for _ in 0..self.waiting.len() {
            let Some((accepted, since)) = self.waiting.pop_front() else { break };
            if !self.has_room(&accepted, unserved) {
                self.waiting.push_back((accepted, since));
                continue;
            }
            let has_descriptor = accepted.client.has_descriptor();
            has_served = true;
            if has_descriptor {
                unserved -= 1;
                self.descriptors.take();
            }
            let guard = self.table.insert(self.count);
            self.count += 1;
            let counted = accepted.count();
            let run = connection::run(accepted, counted, Arc::clone(&self.current), Arc::clone(&self.limits), guard);
            self.connections.spawn(async move {
                run.await;
                has_descriptor
            });
        }
        match self.waiting.front() {
            Some((_, since)) => self.crowded_since = self.crowded_since.or(Some(*since)),
            None if has_served => self.crowded_since = None,
            // Those that waited were told that there is no room.
            None => {}
        }
        self.descriptors.hold((2 * self.crowd).saturating_sub(self.waiting.len() + self.refusals.len()));
        // Further clients may wait in the kernel's queue.
        let is_full = self.pause.is_some() || self.waiting.len() >= self.crowd;
        // Those that have ended make room as soon as their tasks are joined.
        let ended = self.connections.len().saturating_sub(self.table.open());
        self.table.make_room(if is_full { CROWD } else { self.waiting.len() }.saturating_sub(ended));
    }

    /// Whether there is room for a client. Each listener always has some, so that probes on one get through while another is crowded. `unserved` clients have
    /// descriptors.
    fn has_room(&mut self, accepted: &Accepted, unserved: usize) -> bool {
        let has_descriptors = !accepted.client.has_descriptor() || self.descriptors.suffice(unserved);
        let is_crowded = self.connections.len() >= self.options.max_connections || !has_descriptors;
        let siblings = accepted.siblings();
        !is_crowded || (siblings < RESERVE.min(self.options.max_connections) && siblings < self.connections.len())
    }

    /// Until when the client that has waited longest waits. Where room has been short for long, clients are told soon: otherwise they would wait in the kernel's queue for each other.
    fn patience(&self) -> Option<Instant> {
        let (_, since) = self.waiting.front()?;
        Some((self.crowded_since? + WAIT).max(*since + SHORT_WAIT))
    }

    /// Tells the client that has waited longest that there is no room.
    fn refuse_first(&mut self) {
        let Some((Accepted { client, listen, .. }, _)) = self.waiting.pop_front() else { return };
        self.table.count_refused_client();
        // A client that speaks TLS would have to get through a handshake to read a response, and one over QUIC is refused as it is dropped. A front server sees that its
        // connection is closed.
        if listen.transport.tls.is_some() || listen.protocol != Protocol::Http {
            return;
        }
        let Some(socket) = client.socket() else { return };
        if self.refusals.len() >= self.crowd {
            // Dropping it closes its connection.
            self.refusals.pop_front();
        }
        self.refusals.push_back(AbortOnDropHandle::new(tokio::spawn(http1::refuse_connection(socket, FULL))));
    }

    async fn drain(&mut self) -> Drained {
        let idle = self.listeners.idle();
        let queued = self.listeners.replace(&[], Vec::new());
        self.waiting.extend(queued.into_iter().map(|accepted| (accepted, Instant::now())));
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
        let _ = timeout(IDLE_TIMEOUT, idle).await;
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
