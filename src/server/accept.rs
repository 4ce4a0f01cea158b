//! Accepting connections, up to a limit, under commands that may change; then the drain.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::bound_listener::{BoundListener, BoundListeners};
use super::connection;
use super::connection_table::{ConnectionTable, Traffic};
use super::generation::CurrentGeneration;
use super::limits::Limits;
use super::serve::Drained;
use super::socket::Socket;
use super::{Listen, Options};

/// Lets connections in. Dropping it ends them.
pub(super) struct AcceptLoop {
    listeners: BoundListeners,
    stack: Arc<CurrentGeneration>,
    options: Options,
    limits: Arc<Limits>,
    table: Arc<ConnectionTable>,
    connections: JoinSet<()>,
    /// Connections so far.
    count: u64,
    /// Clients that were accepted while all seats were taken.
    waiting: VecDeque<Socket>,
    /// Until when nothing is accepted, because the system gave no descriptor.
    pause: Option<Instant>,
}

/// What the accept loop is told to do, and whom to tell when it is done.
pub(super) enum Command {
    Change(Change, oneshot::Sender<()>),
    Drain(oneshot::Sender<Drained>),
}

/// What holds for connections accepted from now on.
pub(super) struct Change {
    pub(super) options: Options,
    pub(super) kept: Vec<Listen>,
    pub(super) added: Vec<BoundListener>,
}

impl AcceptLoop {
    pub(super) fn new(listeners: Vec<BoundListener>, stack: Arc<CurrentGeneration>, options: Options) -> Self {
        Self {
            listeners: BoundListeners::new(listeners),
            stack,
            limits: Arc::new(Limits::from(&options)),
            options,
            table: Arc::new(ConnectionTable::new()),
            connections: JoinSet::new(),
            count: 0,
            waiting: VecDeque::new(),
            pause: None,
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic(Arc::clone(&self.table))
    }

    /// Accepts until it is told to drain, or nobody is left to tell it anything.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Change(change, done)) => {
                        self.change(change);
                        let _ = done.send(());
                    }
                    Some(Command::Drain(done)) => {
                        let _ = done.send(self.drain().await);
                        return;
                    }
                    None => return,
                },
                Some(_) = self.connections.join_next() => {}
                () = until(self.pause) => self.pause = None,
                socket = poll_fn(|cx| self.listeners.poll_accept(cx)), if self.waiting.is_empty() && self.pause.is_none() => self.welcome(socket),
            }
            self.seat_waiting();
        }
    }

    fn change(&mut self, change: Change) {
        self.limits = Arc::new(Limits::from(&change.options));
        self.options = change.options;
        self.waiting.extend(self.listeners.exchange(&change.kept, change.added));
    }

    fn welcome(&mut self, socket: io::Result<Socket>) {
        match socket {
            Ok(socket) => self.waiting.push_back(socket),
            Err(error) if concerns_one_client(&error) => tracing::debug!("a client left before it was accepted: {error}"),
            Err(error) => {
                tracing::warn!("cannot accept connections for now: {error}");
                // Out of descriptors or memory: it passes when connections end.
                self.pause = Some(Instant::now() + PAUSE);
            }
        }
    }

    /// Begins to serve those who wait, as far as there are seats; asks somebody idle to make room for the next.
    fn seat_waiting(&mut self) {
        while self.connections.len() < self.options.max_connections
            && let Some(socket) = self.waiting.pop_front()
        {
            let guard = self.table.enter(self.count);
            self.count += 1;
            self.connections.spawn(connection::run(socket, Arc::clone(&self.stack), Arc::clone(&self.limits), guard));
        }
        self.table.set_crowded(!self.waiting.is_empty());
    }

    async fn drain(mut self) -> Drained {
        self.waiting.extend(self.listeners.exchange(&[], Vec::new()));
        self.table.close();
        let deadline = Instant::now() + self.options.drain.0;
        self.seat_waiting();
        while let Ok(Some(_)) = timeout_at(deadline, self.connections.join_next()).await {
            self.seat_waiting();
        }
        let cut = self.connections.len() + self.waiting.len();
        self.connections.shutdown().await;
        Drained { cut }
    }
}

/// How long nothing is accepted after the system refused to give another descriptor.
const PAUSE: Duration = Duration::from_millis(200);

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn concerns_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused | ErrorKind::Interrupted
    )
}
