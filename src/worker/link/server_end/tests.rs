//! The server's end over a real socket, with a worker that breaks the protocol.

use std::io::{IoSlice, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;
use ziggurat_middleware::{Body, request};

use super::*;
use crate::call::head::Head;
use crate::call::responder::Responder;
use crate::call::{Executor, Reply, ReplyBody, ResponseHead};
use crate::worker::admission::Capacity;
use crate::worker::link::descriptor;
use crate::worker::link::frame::{ToServer, VERSION, WINDOW};

const PATIENCE: Duration = Duration::from_secs(30);

/// The worker's side of a link.
struct Worker {
    socket: UnixStream,
    octets: BytesMut,
}

impl Worker {
    async fn receive(&mut self) -> ToWorker {
        loop {
            if let Some(order) = ToWorker::take(&mut self.octets).unwrap() {
                return order;
            }
            assert_ne!(timeout(PATIENCE, self.socket.read_buf(&mut self.octets)).await.unwrap().unwrap(), 0);
        }
    }

    async fn send(&mut self, report: &ToServer) {
        let mut out = Vec::new();
        report.put(&mut out);
        self.socket.write_all(&out).await.unwrap();
    }
}

/// A link with a worker of 64 threads, and its queue.
async fn start() -> (Arc<ServerEnd>, Arc<Admission>, Worker) {
    let (front, back) = std::os::unix::net::UnixStream::pair().unwrap();
    back.set_nonblocking(true).unwrap();
    let admission = Admission::new("app", 1_000, PATIENCE, 0, &[]);
    let boot = Boot {
        version: VERSION,
        place: "app".to_owned(),
        nth: 1,
        app: "app".to_owned(),
        args: Vec::new(),
        kwargs: serde_json::Map::new(),
        path: Vec::new(),
        threads: 64,
        takes_websockets: false,
        is_multiprocess: false,
        chdir: None,
        descriptors: None,
        user: None,
        group: None,
        preload: None,
        worker_exit: None,
        is_timed: false,
        stack: None,
    };
    let link = ServerEnd::start(front, &boot, &admission).unwrap();
    admission.open(Arc::clone(&link) as Arc<dyn Backend>, Capacity { threads: 64, prefetch: 0 });
    let mut worker = Worker { socket: UnixStream::from_std(back).unwrap(), octets: BytesMut::new() };
    assert!(matches!(worker.receive().await, ToWorker::Boot(_)));
    (link, admission, worker)
}

fn submit(admission: &Arc<Admission>, octets: usize) -> (u64, oneshot::Receiver<Reply>) {
    let (parts, _) = request(Method::POST, "/", Body::empty()).into_parts();
    let (sender, reply) = oneshot::channel();
    let call = Call {
        number: 0,
        head: Head::new(&parts, None),
        body: RequestBody::Whole(vec![b'x'; octets].into()),
        responder: Responder::Task(sender),
        hints: None,
        class: 0,
        since: std::time::Instant::now(),
        clock: None,
    };
    (admission.submit(call).ok().unwrap(), reply)
}

async fn assert_ended(link: &ServerEnd) {
    timeout(PATIENCE, link.ended()).await.expect("the link goes on");
}

#[tokio::test]
async fn credit_over_the_window_of_a_request_ends_the_link() {
    for credit in [1, u32::MAX] {
        let (link, admission, mut worker) = start().await;
        let (number, _reply) = submit(&admission, 8 * WINDOW);
        let mut received = 0;
        while received < WINDOW {
            match worker.receive().await {
                ToWorker::Body(_, octets) => received += octets.len(),
                ToWorker::SharedBody(_, chunk) => received += chunk.length as usize,
                _ => {}
            }
        }
        // As much as was received is fine.
        worker.send(&ToServer::Credit(number, u32::try_from(WINDOW).unwrap())).await;
        assert!(matches!(worker.receive().await, ToWorker::Body(..) | ToWorker::SharedBody(..)));
        worker.send(&ToServer::Credit(number, u32::try_from(WINDOW).unwrap().saturating_add(credit))).await;
        assert_ended(&link).await;
    }
}

#[tokio::test]
async fn a_chunk_that_is_not_in_the_shared_memory_ends_the_link() {
    for chunk in [SharedChunk { at: u64::MAX, length: 1 }, SharedChunk { at: 0, length: u32::MAX }] {
        let (link, admission, mut worker) = start().await;
        let (number, _reply) = submit(&admission, 0);
        assert!(matches!(worker.receive().await, ToWorker::Call(..)));
        worker.send(&ToServer::SharedBody(number, chunk)).await;
        assert_ended(&link).await;
    }
}

#[tokio::test]
async fn a_worker_that_reads_nothing_cannot_end_calls() {
    let (link, admission, mut worker) = start().await;
    let mut replies = Vec::new();
    for _ in 0..64 {
        replies.push(submit(&admission, LARGEST_INLINE));
        // Until the socket is full.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    let last = replies.last().unwrap().0;
    worker.send(&ToServer::Done(last)).await;
    assert_ended(&link).await;
}

fn file_head() -> ResponseHead {
    ResponseHead { status: StatusCode::OK, reason: None, headers: HeaderMap::new(), length: None, thread: None }
}

#[tokio::test]
async fn a_file_comes_as_a_descriptor_and_is_read_here() {
    let (link, admission, mut worker) = start().await;
    let (number, reply) = submit(&admission, 0);
    assert!(matches!(worker.receive().await, ToWorker::Call(..)));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"0123456789").unwrap();
    let mut out = Vec::new();
    ToServer::File(number, file_head(), 2..6).put(&mut out);
    assert_eq!(descriptor::send(&worker.socket, &[IoSlice::new(&out)], file.as_fd()), Ok(out.len()));
    let Ok(Ok(Reply::Response(_, ReplyBody::File(body)))) = timeout(PATIENCE, reply).await else { panic!("no file") };
    assert_eq!(body.collect().await.unwrap().to_bytes(), "2345");
    worker.send(&ToServer::Done(number)).await;
    drop(link);
}

#[tokio::test]
async fn a_file_that_is_missing_or_no_file_and_a_descriptor_too_many_end_the_link() {
    let file = tempfile::tempfile().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let with = |report: ToServer| {
        let mut out = Vec::new();
        report.put(&mut out);
        out
    };
    for nth in 0..3 {
        let (link, admission, mut worker) = start().await;
        let (number, _reply) = submit(&admission, 0);
        assert!(matches!(worker.receive().await, ToWorker::Call(..)));
        match nth {
            0 => worker.send(&ToServer::File(number, file_head(), 0..1)).await,
            1 => {
                let out = with(ToServer::File(number, file_head(), 0..1));
                assert!(descriptor::send(&worker.socket, &[IoSlice::new(&out)], socket.as_fd()).is_ok());
            }
            _ => {
                for _ in 0..2 {
                    let out = with(ToServer::BodyEnd(number));
                    assert!(descriptor::send(&worker.socket, &[IoSlice::new(&out)], file.as_fd()).is_ok());
                }
            }
        }
        assert_ended(&link).await;
    }
}
