//! The running server: how it is started, changed and ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use ziggurat_middleware::Next;

use super::accept::{AcceptCommand, AcceptLoop, Replacement};
use super::bound_listener::BoundListener;
use super::connection_table::{ConnectionTable, Traffic};
use super::generation::{CurrentGeneration, Generation, Retiring};
use super::{Address, Listen, Listener, Options};

/// A running server. Its connections are tasks of the runtime that it was started in. Dropping it cuts them off; see [`Server::drain`].
pub struct Server {
    current: Arc<CurrentGeneration>,
    /// Ends with the stack in use.
    retiring: Retiring,
    table: Arc<ConnectionTable>,
    listening: Vec<Listen>,
    /// The addresses of TCP listeners: as written, and as bound.
    bound: Vec<(Address, SocketAddr)>,
    commands: mpsc::Sender<AcceptCommand>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had not ended when the time of the drain was over, and were cut off.
    pub cut: usize,
}

/// How long the tasks of HTTP/2 requests may take to end after their connection was cut off.
const CUT_TIMEOUT: Duration = Duration::from_secs(5);

impl Server {
    /// Starts to serve `stack` on `listeners`. Must be called inside a tokio runtime with IO and time.
    ///
    /// # Errors
    ///
    /// If a listener cannot be registered with the runtime.
    pub fn start(listeners: Vec<Listener>, stack: Next, options: &Options) -> io::Result<Self> {
        let (listening, bound) = (entries(&listeners), addresses(&listeners));
        let listeners = listeners.into_iter().map(BoundListener::register).collect::<io::Result<_>>()?;
        let table = Arc::new(ConnectionTable::new());
        let (generation, retiring) = Generation::new(1, stack, &table);
        let current = Arc::new(CurrentGeneration::new(generation));
        let (commands, received) = mpsc::channel(1);
        let accept_loop = AcceptLoop::new(listeners, Arc::clone(&current), Arc::clone(&table), options.clone());
        tokio::spawn(accept_loop.run(received));
        Ok(Self { current, retiring, table, listening, bound, commands })
    }

    /// What the server listens on now. A replacement need not bind these addresses again.
    #[must_use]
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// The addresses of its TCP listeners: as written, and as bound.
    #[must_use]
    pub fn bound(&self) -> &[(Address, SocketAddr)] {
        &self.bound
    }

    /// Figures about its connections, also after it has ended.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic(Arc::clone(&self.table))
    }

    /// Replaces the stack, the options and the listeners without losing a request.
    ///
    /// The next request of every connection, old or new, enters `stack`. Requests under way finish in the previous stack; the returned
    /// [`Retiring`] is ready after the last of them. The options apply to connections accepted from now on, `max_connections` and `drain` at
    /// once. Open connections keep their timeouts and sizes. [`Options::threads`] cannot change.
    ///
    /// `listen` holds the entries of all listeners. A listener whose address is among them goes on with its queue, and serves new connections as
    /// its entry says now. `added` are the listeners of the other addresses; bind them beforehand, so that a port in use prevents the change. All
    /// other listeners are closed when this returns, and clients in their queues are served. An inherited socket is not closed: it can be inherited again.
    ///
    /// # Errors
    ///
    /// If a listener cannot be registered with the runtime. Nothing has changed then.
    pub async fn replace(&mut self, stack: Next, options: &Options, listen: &[Listen], added: Vec<Listener>) -> io::Result<Retiring> {
        let (entries, addresses) = (entries(&added), addresses(&added));
        let added = added.into_iter().map(BoundListener::register).collect::<io::Result<_>>()?;
        let (done, is_done) = oneshot::channel();
        let number = self.current.load().number() + 1;
        let (generation, retiring) = Generation::new(number, stack, &self.table);
        self.current.store(generation);
        let previous = std::mem::replace(&mut self.retiring, retiring);
        self.listening.retain_mut(|now| match listen.iter().find(|listen| listen.address == now.address) {
            Some(listen) => {
                now.clone_from(listen);
                true
            }
            None => false,
        });
        self.listening.extend(entries);
        self.bound.retain(|(address, _)| listen.iter().any(|listen| listen.address == *address));
        self.bound.extend(addresses);
        let replacement = Replacement { options: options.clone(), listen: listen.to_vec(), added };
        if self.commands.send(AcceptCommand::Replace(Box::new(replacement), done)).await.is_ok() {
            let _ = is_done.await;
        }
        Ok(previous)
    }

    /// Accepts no more clients, closes idle connections, lets requests under way finish for up to [`Options::drain`], and cuts off the rest. The
    /// stack is dropped when this returns, and no request is inside it.
    pub async fn drain(self) -> Drained {
        let Self { current, retiring, commands, .. } = self;
        let (done, is_done) = oneshot::channel();
        let _ = commands.send(AcceptCommand::Drain(done)).await;
        // There is no reply if the runtime has ended, and all connections with it.
        let drained = is_done.await.unwrap_or(Drained { cut: 0 });
        drop(current);
        if drained.cut > 0 {
            retiring.cut();
        }
        if timeout(CUT_TIMEOUT, retiring).await.is_err() {
            tracing::warn!("requests that were cut off have not ended after {} s", CUT_TIMEOUT.as_secs());
        }
        drained
    }
}

/// The entries of listeners. One for HTTP/3 stands beside another one.
fn entries(listeners: &[Listener]) -> Vec<Listen> {
    listeners.iter().filter(|listener| !listener.is_http3()).map(|listener| listener.listen().clone()).collect()
}

fn addresses(listeners: &[Listener]) -> Vec<(Address, SocketAddr)> {
    let of_tcp = listeners.iter().filter(|listener| !listener.is_http3());
    of_tcp.filter_map(|listener| Some((listener.listen().address.clone(), listener.socket_addr()?))).collect()
}
