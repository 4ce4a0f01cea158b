//! Properties of the guard for any octets, however they are cut.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::guard::{Guard, ReadEnd};
use crate::server::Options;
use crate::server::connection_table::ConnectionTable;
use crate::server::io::Io;
use crate::server::limits::Limits;
use crate::server::progress::Progress;

/// A stream that returns one piece per read and accepts all writes.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn cut(octets: &[u8], sizes: &[usize]) -> Self {
        let mut sizes = sizes.iter().cycle();
        let mut rest = octets;
        let mut pieces = VecDeque::new();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
            pieces.push_back(piece.to_vec());
            rest = after;
        }
        Self(pieces)
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Io for Pieces {
    fn has_unread(&self) -> bool {
        !self.0.is_empty()
    }

    fn write_now(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn sent(&self) -> u64 {
        0
    }

    fn abort_on_close(&self) {}
}

fn guard(octets: &[u8], sizes: &[usize]) -> (Guard<Pieces>, Arc<Progress>) {
    let options = Options { max_header_size: ziggurat_middleware::units::Size(300), max_headers: 5, ..Options::default() };
    let progress = Arc::new(Progress::new(Arc::new(ConnectionTable::new()).insert(0)));
    (Guard::new(Pieces::cut(octets, sizes), true, Arc::new(Limits::from(&options)), Arc::clone(&progress)), progress)
}

/// The octets that pass, the number of heads, and why the guard stopped.
fn judge(octets: &[u8], sizes: &[usize], room: usize) -> (Vec<u8>, u32, Option<ReadEnd>) {
    let (mut guard, progress) = guard(octets, sizes);
    let mut cx = Context::from_waker(Waker::noop());
    let mut passed = Vec::new();
    loop {
        while !progress.is_settled() {
            progress.upgrade.decline();
            progress.end_response(Instant::now());
        }
        assert!(Pin::new(&mut guard).poll_flush(&mut cx).is_ready());
        let mut room = vec![0; room];
        let mut buf = ReadBuf::new(&mut room);
        match Pin::new(&mut guard).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => passed.extend_from_slice(buf.filled()),
            Poll::Ready(_) => return (passed, progress.requests(), guard.end()),
            Poll::Pending => {}
        }
    }
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    let scraps: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\n",
        b"GET / HTTP/1.0\r\n",
        b"\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X: 1\r\n",
        b"Upgrade: x\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n",
        b"3;x=y\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * ",
        b"\n",
        b"\r",
        b" ",
        b":",
        b"\0",
        b"HTTP/1.1",
        &[b'y'; 100],
    ];
    let scrap = prop_oneof![
        8 => prop::sample::select(scraps).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(scrap, 0..12).prop_map(|scraps| scraps.concat())
}

/// A valid request and its body.
fn request() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let body = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..4);
    (prop::sample::select(&["GET", "POST", "PATCH"][..]), "/[a-z0-9%?=&.-]{0,20}", any::<bool>(), body).prop_map(
        |(method, target, chunked, body)| {
            let mut octets = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n").into_bytes();
            let whole = body.concat();
            if chunked {
                octets.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in &body {
                    octets.extend(format!("{:x};a=b\r\n", chunk.len()).into_bytes());
                    octets.extend(chunk);
                    octets.extend(b"\r\n");
                }
                octets.extend(b"0\r\nX-T: 1\r\n\r\n");
            } else {
                octets.extend(format!("Content-Length: {}\r\n\r\n", whole.len()).into_bytes());
                octets.extend(&whole);
            }
            (octets, whole)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_result_does_not_depend_on_how_octets_are_cut(octets in octets(), sizes in prop::collection::vec(1..40_usize, 1..8), room in 1..200_usize) {
        let whole = judge(&octets, &[usize::MAX], 1 << 16);
        let cut = judge(&octets, &sizes, room);
        prop_assert_eq!((whole.1, whole.2), (cut.1, cut.2));
        prop_assert!(octets.starts_with(&whole.0) && octets.starts_with(&cut.0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn guard_and_hyper_agree_where_bodies_end(requests in prop::collection::vec(request(), 1..5), sizes in prop::collection::vec(1..60_usize, 1..8)) {
        let octets: Vec<u8> = requests.iter().flat_map(|(octets, _)| octets.clone()).collect();
        let bodies: Vec<Vec<u8>> = requests.into_iter().map(|(_, body)| body).collect();
        let (guard, progress) = guard(&octets, &sizes);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let service = service_fn(|request: http::Request<Incoming>| {
            let (seen, progress) = (Arc::clone(&seen), Arc::clone(&progress));
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                seen.lock().unwrap().push(body.to_vec());
                progress.end_response(Instant::now());
                Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(guard), service)).unwrap();
        prop_assert_eq!(&*seen.lock().unwrap(), &bodies);
        prop_assert!(progress.is_settled());
    }
}
