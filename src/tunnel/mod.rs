//! Tunnels: octets both ways between a client and what accepted the upgrade of its connection, a server or an app.
//!
//! Layers do not see what passes. If the protocol is WebSocket, the tunnel follows its frames (`frames`), and when it ends of its own accord, both sides get
//! a Close frame (`writer`). `key` is for the opening handshake where a tunnel joins different versions of HTTP.

mod frames;
pub(crate) mod key;
mod writer;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, split};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use ziggurat_middleware::TunnelRecord;
use ziggurat_middleware::metrics::Counter;

use self::writer::{Role, TunnelWriter};

/// A tunnel that is about to begin.
pub(crate) struct Tunnel<'a, L, E> {
    pub(crate) is_websocket: bool,
    /// How long both sides may be silent.
    pub(crate) idle: Duration,
    /// Ready when both sides of a WebSocket are to be told to go away. Other protocols go on.
    pub(crate) leave: L,
    /// Ready when the tunnel is to end.
    pub(crate) end: E,
    /// What the client gets first.
    pub(crate) first: Bytes,
    pub(crate) record: &'a TunnelRecord,
    /// More counters of octets: to the other side, and from it.
    pub(crate) totals: Option<(&'a Counter, &'a Counter)>,
}

/// Why a tunnel ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Both sides have closed.
    Closed,
    /// Both sides were silent for too long.
    Idle,
    /// Both sides were told to go away.
    Left,
    /// It was told to end.
    Ended,
    /// A connection broke.
    Broken(io::Error),
}

/// The most octets of one read.
const BUFFER: usize = 8 << 10;

/// The longest time for one write.
const STALL: Duration = Duration::from_secs(60);

/// How long a side may take for its own Close frame, and for the last octets.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl<L: Future<Output = ()>, E: Future<Output = ()>> Tunnel<'_, L, E> {
    /// Copies until both sides have closed, or until one of the other ends. A side that has closed its direction still receives.
    pub(crate) async fn run(self, client: impl AsyncRead + AsyncWrite + Unpin, other: impl AsyncRead + AsyncWrite + Unpin) -> End {
        let Self { is_websocket, idle, leave, end, first, record, totals } = self;
        let (mut from_client, to_client) = split(client);
        let (mut from_other, to_other) = split(other);
        let counters = [Some(record.sent()), totals.map(|totals| totals.1)];
        let mut to_client = TunnelWriter::new(to_client, Role::Server, is_websocket, record, counters);
        let counters = [Some(record.received()), totals.map(|totals| totals.0)];
        let mut to_other = TunnelWriter::new(to_other, Role::Client, is_websocket, record, counters);
        let last = Mutex::new(Instant::now());
        let leave = async {
            if is_websocket {
                leave.await;
            } else {
                std::future::pending().await
            }
        };
        let leave = leave.shared();
        let end = {
            let mut up = pin!(copy(&mut from_client, &mut to_other, Bytes::new(), &last, leave.clone()));
            let mut down = pin!(copy(&mut from_other, &mut to_client, first, &last, leave.clone()));
            let both = async {
                match tokio::try_join!(up.as_mut(), down.as_mut()) {
                    Ok(_) if leave.peek().is_some() => End::Left,
                    Ok(_) => End::Closed,
                    Err(error) => End::Broken(error),
                }
            };
            tokio::select! {
                end = both => end,
                () = silence(&last, idle) => End::Idle,
                () = end => End::Ended,
            }
        };
        // The server lets reads fail when it ends the connection.
        let is_ours = match &end {
            End::Broken(error) => error.kind() == io::ErrorKind::ConnectionAborted,
            End::Idle | End::Left | End::Ended => true,
            End::Closed => return end,
        };
        to_client.leave();
        if is_ours {
            to_other.leave();
        }
        // A side that is gone or takes nothing gets no Close frame.
        let _ = timeout(CLOSE_TIMEOUT, async { tokio::join!(to_client.shutdown(), to_other.shutdown()) }).await;
        end
    }
}

/// Waits until no octet has come for `idle`.
async fn silence(last: &Mutex<Instant>, idle: Duration) {
    loop {
        let until = last.lock().unwrap_or_else(PoisonError::into_inner).checked_add(idle);
        let Some(until) = until else { return std::future::pending().await };
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// Copies one direction: to its end, or until both sides are done with their WebSocket after `leave`.
async fn copy<R: AsyncRead, W: AsyncWrite + Unpin>(
    from: &mut ReadHalf<R>,
    to: &mut TunnelWriter<'_, W>,
    first: Bytes,
    last: &Mutex<Instant>,
    leave: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut leave = pin!(leave.fuse());
    let note = || *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    let mut octets = first;
    loop {
        if !octets.is_empty() {
            let late = || io::Error::new(io::ErrorKind::TimedOut, "it takes nothing");
            let write = async {
                to.write_all(&octets).await?;
                to.flush().await
            };
            timeout_at(Instant::now() + STALL, write).await.map_err(|_| late())??;
            note();
        }
        octets = match to.left() {
            Some(_) if to.has_seen_close() => return Ok(()),
            Some(since) => match timeout_at(since + CLOSE_TIMEOUT, read(from)).await {
                Ok(octets) => octets?,
                Err(_) => return Ok(()),
            },
            None => tokio::select! {
                octets = read(from) => octets?,
                () = &mut leave => {
                    to.leave();
                    to.flush().await?;
                    octets = Bytes::new();
                    continue;
                }
            },
        };
        if octets.is_empty() {
            // End of file. The other direction continues.
            if to.role() == Role::Server {
                to.leave();
            }
            return to.shutdown().await.or_else(|error| if error.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(error) });
        }
        note();
    }
}

/// Reads what is available; empty at end of file. The buffer is on the stack, so an idle tunnel holds none.
async fn read<R: AsyncRead>(from: &mut ReadHalf<R>) -> io::Result<Bytes> {
    poll_fn(|cx| {
        let mut space = [0; BUFFER];
        let mut buffer = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{Pending, pending};

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;

    fn plain(record: &TunnelRecord, idle: Duration) -> Tunnel<'_, Pending<()>, Pending<()>> {
        Tunnel { is_websocket: false, idle, leave: pending(), end: pending(), first: Bytes::new(), record, totals: None }
    }

    #[tokio::test]
    async fn a_side_that_has_closed_still_receives() {
        let ((mut client, client_end), (mut upstream, upstream_end)) = (duplex(64), duplex(64));
        let (counters, record) = ((Counter::default(), Counter::default()), TunnelRecord::default());
        let talk = async move {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut text = Vec::new();
            upstream.read_to_end(&mut text).await.unwrap();
            assert_eq!(text, b"question");
            let answer = vec![b'x'; 100_000];
            let (written, read) = tokio::join!(
                async {
                    upstream.write_all(&answer).await.unwrap();
                    drop(upstream)
                },
                async {
                    let mut text = Vec::new();
                    client.read_to_end(&mut text).await.unwrap();
                    text.len()
                }
            );
            let () = written;
            assert_eq!(read, 100_000);
        };
        let tunnel = Tunnel { totals: Some((&counters.0, &counters.1)), ..plain(&record, STALL) };
        let (end, ()) = tokio::join!(tunnel.run(client_end, upstream_end), talk);
        assert!(matches!(end, End::Closed), "{end:?}");
        let octets = [record.received().get(), record.sent().get(), counters.0.get(), counters.1.get()];
        assert_eq!(octets, [8, 100_000, 8, 100_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_on_both_sides_ends_it() {
        let ((mut client, client_end), (_upstream, upstream_end)) = (duplex(64), duplex(64));
        let record = TunnelRecord::default();
        let started = Instant::now();
        let talk = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(6)).await;
                client.write_all(b"x").await.unwrap();
            }
        };
        let idle = Duration::from_secs(10);
        let (end, ()) = tokio::join!(plain(&record, idle).run(client_end, upstream_end), talk);
        assert!(matches!(end, End::Idle), "{end:?}");
        assert_eq!(started.elapsed().as_secs(), 40);
    }

    async fn next<const N: usize>(stream: &mut DuplexStream) -> [u8; N] {
        let mut octets = [0; N];
        stream.read_exact(&mut octets).await.unwrap();
        octets
    }

    #[tokio::test(start_paused = true)]
    async fn both_sides_of_a_websocket_are_told_to_go_away_after_the_frame_that_has_begun() {
        let ((mut client, client_end), (mut server, server_end)) = (duplex(64), duplex(64));
        let (record, (told, tell)) = (TunnelRecord::default(), tokio::sync::oneshot::channel::<()>());
        let tunnel = Tunnel {
            is_websocket: true,
            idle: STALL,
            leave: async { drop(tell.await) },
            end: pending(),
            first: Bytes::from_static(b"\x81\x01f"),
            record: &record,
            totals: None,
        };
        let talk = async {
            assert_eq!(&next::<3>(&mut client).await, b"\x81\x01f");
            // A message to the client is half sent.
            server.write_all(b"\x81\x02h").await.unwrap();
            assert_eq!(&next::<3>(&mut client).await, b"\x81\x02h");
            drop(told);
            // The other side is between frames.
            let [first, second, mask @ ..] = next::<6>(&mut server).await;
            assert_eq!([first, second], [0x88, 0x82]);
            let code = next::<2>(&mut server).await;
            assert_eq!([code[0] ^ mask[0], code[1] ^ mask[1]], 1001_u16.to_be_bytes());
            // The rest of the message, and another one that is not passed on.
            server.write_all(b"i\x81\x01x\x88\x02\x03\xe9").await.unwrap();
            assert_eq!(&next::<5>(&mut client).await, b"i\x88\x02\x03\xe9");
            client.write_all(b"\x88\x82\0\0\0\0\x03\xe9").await.unwrap();
            (client.read_to_end(&mut Vec::new()).await.unwrap(), server.read_to_end(&mut Vec::new()).await.unwrap())
        };
        let (end, rest) = tokio::join!(tunnel.run(client_end, server_end), talk);
        assert!(matches!(end, End::Left), "{end:?}");
        assert_eq!((rest, record.close_code()), ((0, 0), Some(1001)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_does_not_answer_a_close_frame_is_left_in_time() {
        let ((mut client, client_end), (mut server, server_end)) = (duplex(64), duplex(64));
        let record = TunnelRecord::default();
        let started = Instant::now();
        let tunnel = Tunnel {
            is_websocket: true,
            idle: STALL,
            leave: std::future::ready(()),
            end: pending(),
            first: Bytes::new(),
            record: &record,
            totals: None,
        };
        let end = tunnel.run(client_end, server_end).await;
        assert!(matches!(end, End::Left) && started.elapsed() == CLOSE_TIMEOUT, "{end:?} {:?}", started.elapsed());
        assert_eq!((client.read_to_end(&mut Vec::new()).await.unwrap(), server.read_to_end(&mut Vec::new()).await.unwrap()), (4, 8));
    }
}
