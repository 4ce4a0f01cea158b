//! Accepting connections, up to a limit, until told to stop; then the drain.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use ziggurat_middleware::Next;

use super::connection;
use super::limits::Limits;
use super::seat::Hall;
use super::socket::{Acceptor, Socket};
use super::{Listener, Options};

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off because they had not ended when the drain's time was over.
    pub cut: usize,
}

/// Serves `stack` on `listeners` until `stop` is ready; then accepts no more, closes idle connections, lets requests in progress end (for
/// [`Options::drain`] at most) and cuts off what is left.
///
/// Must run inside a tokio runtime with IO and time. Connections are tasks of that runtime; dropping this future ends them.
///
/// # Errors
///
/// Where a listener cannot be registered with the runtime.
pub async fn serve(listeners: Vec<Listener>, stack: Next, options: &Options, stop: impl Future<Output = ()>) -> io::Result<Drained> {
    let mut files = Vec::new();
    let mut acceptors = Vec::new();
    for listener in listeners {
        let (socket, file) = listener.into_parts();
        acceptors.push(Acceptor::new(socket)?);
        files.push(file);
    }
    let limits = Arc::new(Limits::from(options));
    let hall = Arc::new(Hall::new());
    let mut connections = JoinSet::new();
    let mut numbers = 0..;
    let mut start = |connections: &mut JoinSet<()>, socket: Socket| {
        let seat = hall.enter(numbers.next().unwrap_or(u64::MAX));
        connections.spawn(connection::run(socket, stack.clone(), Arc::clone(&limits), seat));
    };

    let mut stop = pin!(stop);
    let mut first = 0;
    // A client that was accepted while all seats were taken.
    let mut waiting = None;
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            socket = poll_fn(|cx| accept(&acceptors, &mut first, cx)), if waiting.is_none() => match socket {
                Ok(socket) if connections.len() < options.max_connections => start(&mut connections, socket),
                Ok(socket) => {
                    hall.set_crowded(true);
                    waiting = Some(socket);
                }
                Err(error) if concerns_one_client(&error) => tracing::debug!("a client left before it was accepted: {error}"),
                Err(error) => {
                    tracing::warn!("cannot accept connections for now: {error}");
                    // Out of descriptors or memory: it passes when connections end.
                    tokio::select! {
                        () = &mut stop => break,
                        () = sleep(PAUSE) => {}
                    }
                }
            },
        }
        if connections.len() < options.max_connections
            && let Some(socket) = waiting.take()
        {
            hall.set_crowded(false);
            start(&mut connections, socket);
        }
    }

    drop((acceptors, files, waiting));
    hall.close();
    let deadline = Instant::now() + options.drain.0;
    while let Ok(Some(_)) = timeout_at(deadline, connections.join_next()).await {}
    let cut = connections.len();
    connections.shutdown().await;
    Ok(Drained { cut })
}

/// How long nothing is accepted after the system refused to give another descriptor.
const PAUSE: Duration = Duration::from_millis(200);

/// The next connection of any listener; they take turns.
fn accept(acceptors: &[Acceptor], first: &mut usize, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
    for turn in 0..acceptors.len() {
        let at = (*first + turn) % acceptors.len();
        if let Poll::Ready(socket) = acceptors[at].poll_accept(cx) {
            *first = at + 1;
            return Poll::Ready(socket);
        }
    }
    Poll::Pending
}

fn concerns_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused | ErrorKind::Interrupted
    )
}
