//! Listeners that are registered with the runtime.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use super::acceptor::{Acceptor, NewClient};
use super::socket_file::SocketFile;
use super::{Listen, Listener};

/// All listeners of a server. They are polled in turn.
pub(super) struct BoundListeners {
    listeners: Vec<BoundListener>,
    /// The one to poll first.
    first: usize,
}

/// A listener that is registered with the runtime.
pub(super) struct BoundListener {
    listen: Arc<Listen>,
    acceptor: Acceptor,
    file: Option<SocketFile>,
    open: Arc<AtomicUsize>,
}

/// A client, and how to serve it: as the listener said when the client was accepted.
pub(super) struct Accepted {
    pub(super) client: NewClient,
    pub(super) listen: Arc<Listen>,
    open: Arc<AtomicUsize>,
}

/// Counts a connection among those of its listener.
pub(super) struct OpenGuard(Arc<AtomicUsize>);

impl Accepted {
    /// How many connections of the same listener are open.
    pub(super) fn siblings(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Lets a client over UDP show first that its address is its own, if the server `is_busy`. `None` if it is to come again.
    pub(super) fn validated(self, is_busy: impl FnOnce() -> bool) -> Option<Self> {
        let Self { client, listen, open } = self;
        Some(Self { client: client.validated(is_busy)?, listen, open })
    }

    /// Counts it as open until the guard is dropped.
    pub(super) fn count(&self) -> OpenGuard {
        self.open.fetch_add(1, Relaxed);
        OpenGuard(Arc::clone(&self.open))
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl BoundListeners {
    pub(super) const fn new(listeners: Vec<BoundListener>) -> Self {
        Self { listeners, first: 0 }
    }

    /// The next connection of any listener.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        for offset in 0..self.listeners.len() {
            let at = (self.first + offset) % self.listeners.len();
            let listener = &mut self.listeners[at];
            if let Poll::Ready(client) = listener.acceptor.poll_accept(cx) {
                self.first = at + 1;
                return Poll::Ready(client.map(|client| listener.accepted(client)));
            }
        }
        Poll::Pending
    }

    /// Ready when all connections of HTTP/3 have ended, and their clients have been told so.
    pub(super) fn idle(&self) -> impl Future<Output = ()> + use<> {
        #[cfg(feature = "experimental-http3")]
        let endpoints: Vec<_> = self.listeners.iter().filter_map(|listener| listener.acceptor.endpoint()).collect();
        async move {
            #[cfg(feature = "experimental-http3")]
            for endpoint in endpoints {
                endpoint.wait_idle().await;
            }
        }
    }

    /// Keeps the listeners whose address is in `listen`, which from now on serve what stands there, closes the others, and adds `added`. A listener
    /// that is kept loses no client of its queue. Returns the clients that were in the queues of closed listeners.
    pub(super) fn replace(&mut self, listen: &[Listen], added: Vec<BoundListener>) -> Vec<Accepted> {
        let mut closed = Vec::new();
        for mut listener in std::mem::take(&mut self.listeners) {
            match listen.iter().find(|listen| listener.is_of(listen)) {
                Some(listen) => {
                    listener.listen = Arc::new(listen.clone());
                    self.listeners.push(listener);
                }
                None => closed.extend(listener.close()),
            }
        }
        self.listeners.extend(added);
        closed
    }
}

impl BoundListener {
    /// Must be called inside the runtime.
    pub(super) fn register(listener: Listener) -> io::Result<Self> {
        let Listener { socket, listen, file, .. } = listener;
        let acceptor = Acceptor::new(socket, &listen)?;
        Ok(Self { listen: Arc::new(listen), acceptor, file, open: Arc::default() })
    }

    /// Whether an entry is the one that this listener serves.
    fn is_of(&self, listen: &Listen) -> bool {
        listen.address == self.listen.address && (!self.acceptor.is_http3() || listen.http.has_http3())
    }

    fn accepted(&self, client: NewClient) -> Accepted {
        Accepted { client, listen: Arc::clone(&self.listen), open: Arc::clone(&self.open) }
    }

    fn close(self) -> Vec<Accepted> {
        // The queue of an inherited socket belongs to the process that accepts on it next.
        if self.listen.address.is_inherited() && !self.acceptor.is_http3() {
            return Vec::new();
        }
        // The file goes first, so that no client joins the queue after it was read.
        let Self { listen, acceptor, file, open } = self;
        drop(file);
        let accepted = |client| Accepted { client, listen: Arc::clone(&listen), open: Arc::clone(&open) };
        acceptor.into_queue().into_iter().map(accepted).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::TcpStream;
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn a_listener_that_is_kept_has_its_queue_and_the_new_entry() {
        let listen: Listen = "127.0.0.1:0".parse().unwrap();
        let bound = Listener::bind(&listen, Path::new("/")).unwrap();
        let address = bound[0].socket_addr().unwrap();
        let bound = bound.into_iter().map(BoundListener::register).collect::<io::Result<_>>().unwrap();
        let mut listeners = BoundListeners::new(bound);
        let _earlier = TcpStream::connect(address).unwrap();
        let Accepted { listen: before, .. } = poll_fn(|cx| listeners.poll_accept(cx)).await.unwrap();
        let _waiting = TcpStream::connect(address).unwrap();
        assert!(listeners.replace(std::slice::from_ref(&listen), Vec::new()).is_empty());
        let Accepted { listen: after, .. } = poll_fn(|cx| listeners.poll_accept(cx)).await.unwrap();
        assert!(*after == listen && !Arc::ptr_eq(&before, &after));
    }
}
