//! The running server, and how it is changed and ended.

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use ziggurat_middleware::Next;

use super::accept::{AcceptLoop, Change, Command};
use super::bound_listener::BoundListener;
use super::connection_table::Traffic;
use super::generation::{CurrentGeneration, Generation, Retired};
use super::{Listen, Listener, Options};

/// A server at work. Its connections are tasks of the runtime that it was started in. Dropping it cuts them off; see [`Server::drain`].
pub struct Server {
    stack: Arc<CurrentGeneration>,
    /// Ends with the stack in use.
    retired: Retired,
    listening: Vec<Listen>,
    traffic: Traffic,
    commands: mpsc::Sender<Command>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off because they had not ended when the drain's time was over.
    pub cut: usize,
}

impl Server {
    /// Begins to serve `stack` on `listeners`. Must be called inside a tokio runtime with IO and time.
    ///
    /// # Errors
    ///
    /// Where a listener cannot be registered with the runtime.
    pub fn start(listeners: Vec<Listener>, stack: Next, options: &Options) -> io::Result<Self> {
        let listening = listeners.iter().map(|listener| listener.listen().clone()).collect();
        let listeners = listeners.into_iter().map(BoundListener::open).collect::<io::Result<_>>()?;
        let (generation, retired) = Generation::new(stack);
        let stack = Arc::new(CurrentGeneration::new(generation));
        let (commands, taken) = mpsc::channel(1);
        let accept_loop = AcceptLoop::new(listeners, Arc::clone(&stack), options.clone());
        let traffic = accept_loop.traffic();
        tokio::spawn(accept_loop.run(taken));
        Ok(Self { stack, retired, listening, traffic, commands })
    }

    /// What it listens on now, as it was written. A replacement need not bind what stands here already.
    #[must_use]
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// What goes on at its connections.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// Puts another stack, other limits and other listeners in the place of those at work, without losing a request.
    ///
    /// The next request of every connection, old or new, enters `stack`; requests in progress finish in the stack before, and what is given
    /// back is ready when the last of them has. The limits hold for connections accepted from now on, and `max_connections` and `drain` at
    /// once; those that are open keep the timeouts and sizes they began with. [`Options::threads`] cannot change.
    ///
    /// Listeners whose address is among `listen` go on as they are, clients in their queue included. `added` are those to begin with: bind
    /// them beforehand, so that a port in use stops the change before anything has happened. The others are closed when this is ready,
    /// and those who waited there to be accepted are still served. An inherited socket cannot be closed for good: it waits to be asked for again.
    ///
    /// # Errors
    ///
    /// Where a listener cannot be registered with the runtime; then nothing has changed.
    pub async fn replace(&mut self, stack: Next, options: &Options, listen: &[Listen], added: Vec<Listener>) -> io::Result<Retired> {
        let names: Vec<Listen> = added.iter().map(|listener| listener.listen().clone()).collect();
        let added = added.into_iter().map(BoundListener::open).collect::<io::Result<_>>()?;
        let (done, is_done) = oneshot::channel();
        let (generation, retired) = Generation::new(stack);
        self.stack.store(generation);
        let before = std::mem::replace(&mut self.retired, retired);
        self.listening.retain(|now| listen.contains(now));
        self.listening.extend(names);
        let change = Change { options: options.clone(), kept: listen.to_vec(), added };
        if self.commands.send(Command::Change(change, done)).await.is_ok() {
            let _ = is_done.await;
        }
        Ok(before)
    }

    /// Accepts no more, closes idle connections, lets requests in progress end (for [`Options::drain`] at most) and cuts off what is left.
    pub async fn drain(self) -> Drained {
        let (done, is_done) = oneshot::channel();
        let _ = self.commands.send(Command::Drain(done)).await;
        // Only a runtime that ended before us leaves this unanswered, and it has cut whatever was left.
        is_done.await.unwrap_or(Drained { cut: 0 })
    }
}
