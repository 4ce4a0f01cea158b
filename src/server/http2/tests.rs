//! Which responses leave in one write.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::Semaphore;
use tower::service_fn;
use ziggurat_middleware::{Body, ConnectionInfo, Next, Request, Response, Scheme};

use super::run;
use crate::server::Options;
use crate::server::connection_table::ConnectionTable;
use crate::server::generation::{CurrentGeneration, Generation};
use crate::server::io::Io;
use crate::server::limits::Limits;
use crate::server::phase_timer::PhaseTimer;
use crate::server::progress::Progress;
use crate::server::service::RequestService;

/// A stream in memory that keeps what each write took.
struct Recorded {
    stream: DuplexStream,
    writes: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Io for Recorded {
    fn has_unread(&self) -> bool {
        false
    }

    fn write_now(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn sent(&self) -> u64 {
        self.writes.lock().unwrap().iter().map(|write| write.len() as u64).sum()
    }

    fn abort_on_close(&self) {}
}

impl AsyncRead for Recorded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, octets))?;
        self.writes.lock().unwrap().push(octets[..taken].to_vec());
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Serves so many requests that arrive together, and gives the number of responses in each write that has some. The app waits for a permit of the gate with each, and says that it does.
async fn responses_by_write(requests: u8, gate: Semaphore) -> Vec<usize> {
    const HEAD: &[u8] = b"\x82\x84\x86\x41\x01a";
    let (gate, waiting) = (Arc::new(gate), Arc::new(Semaphore::new(0)));
    let opened = tokio::spawn({
        let (gate, waiting) = (Arc::clone(&gate), Arc::clone(&waiting));
        async move {
            waiting.acquire_many(requests.into()).await.unwrap().forget();
            gate.add_permits(requests.into());
        }
    });
    let app = service_fn(move |_: Request| {
        let (gate, waiting) = (Arc::clone(&gate), Arc::clone(&waiting));
        async move {
            waiting.add_permits(1);
            gate.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(Response::new(Body::from("hello")))
        }
    });
    let table = Arc::new(ConnectionTable::new());
    let (generation, _retiring) = Generation::new(1, Next::new("app", app), &table);
    let limits = Arc::new(Limits::from(&Options::default()));
    let progress = Arc::new(Progress::new(table.insert(1)));
    let current = Arc::new(CurrentGeneration::new(generation));
    let info = ConnectionInfo { client: None, client_port: None, scheme: Scheme::Http, server_port: None, local: None, is_vetted: false };
    let service = Arc::new(RequestService::new(current, info, None, false, Arc::clone(&limits), Arc::clone(&progress)));
    let (mut client, stream) = duplex(1 << 20);
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    for nth in 0..requests {
        client.write_all(&[&[0, 0, HEAD.len() as u8, 1, 5, 0, 0, 0, 2 * nth + 1], HEAD].concat()).await.unwrap();
    }
    let writes = Arc::new(Mutex::new(Vec::new()));
    let recorded = Recorded { stream, writes: Arc::clone(&writes) };
    // In a task, as connections are.
    let serving = tokio::spawn(async move { run(recorded, Vec::new(), &service, &limits, &progress, &mut PhaseTimer::new()).await });
    let bodies = |octets: &[u8]| octets.windows(5).filter(|window| window == b"hello").count();
    let mut answer = Vec::new();
    while bodies(&answer) < requests.into() {
        assert!(client.read_buf(&mut answer).await.unwrap() > 0);
    }
    drop(client);
    serving.await.unwrap();
    opened.await.unwrap();
    writes.lock().unwrap().iter().map(|write| bodies(write)).filter(|count| *count > 0).collect()
}

#[tokio::test]
async fn responses_to_requests_that_come_together_leave_in_one_write() {
    assert_eq!(responses_by_write(1, Semaphore::new(1)).await, [1]);
    assert_eq!(responses_by_write(16, Semaphore::new(16)).await, [16]);
}

#[tokio::test]
async fn further_requests_are_answered_in_tasks_of_their_own() {
    let writes = responses_by_write(40, Semaphore::new(40)).await;
    assert_eq!((writes[0], writes.iter().sum::<usize>()), (16, 40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn responses_that_come_together_from_elsewhere_leave_in_one_write() {
    assert_eq!(responses_by_write(8, Semaphore::new(0)).await, [8]);
}
