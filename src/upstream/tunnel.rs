//! Copies octets between a client and an upstream after an upgrade.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, timeout_at};
use ziggurat_middleware::TunnelOctets;
use ziggurat_middleware::metrics::Counter;

/// The result of a tunnel.
#[derive(Debug)]
pub(crate) struct Tunneled {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) end: End,
}

/// Why a tunnel ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Both sides have closed.
    Closed,
    /// Both sides were silent for too long.
    Idle,
    /// Its stack retired.
    Retired,
    /// A connection broke.
    Broken(io::Error),
}

/// The most octets of one read.
const BUFFER: usize = 8 << 10;

/// Copies until both sides have closed, both are silent for `idle`, or `retired` is ready. A side that has closed its direction still receives. `octets` counts meanwhile,
/// and so do `totals`: octets to the upstream, and octets from it.
pub(crate) async fn tunnel(
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: impl AsyncRead + AsyncWrite + Unpin,
    idle: Duration,
    retired: impl Future<Output = ()>,
    octets: &TunnelOctets,
    totals: Option<(&Counter, &Counter)>,
) -> Tunneled {
    let started = Instant::now();
    let (client_read, client_write) = split(client);
    let (upstream_read, upstream_write) = split(upstream);
    let last = std::sync::Mutex::new(started);
    let up = copy(client_read, upstream_write, &last, [Some(octets.received()), totals.map(|totals| totals.0)]);
    let down = copy(upstream_read, client_write, &last, [Some(octets.sent()), totals.map(|totals| totals.1)]);
    let both = async {
        match tokio::try_join!(up, down) {
            Ok(_) => End::Closed,
            Err(error) => End::Broken(error),
        }
    };
    let silence = async {
        loop {
            let until = *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) + idle;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    };
    let end = tokio::select! {
        end = both => end,
        () = silence => End::Idle,
        () = retired => End::Retired,
    };
    Tunneled { sent: octets.received().get(), received: octets.sent().get(), end }
}

/// The longest time for one write.
const STALL: Duration = Duration::from_secs(60);

async fn copy<R: AsyncRead, W: AsyncWrite>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    last: &std::sync::Mutex<Instant>,
    counters: [Option<&Counter>; 2],
) -> io::Result<()> {
    loop {
        let octets = read(&mut from).await?;
        *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
        if octets.is_empty() {
            // End of file. The other direction continues.
            return to.shutdown().await.or_else(|error| if error.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(error) });
        }
        let late = || io::Error::new(io::ErrorKind::TimedOut, "it takes nothing");
        let write = async {
            to.write_all(&octets).await?;
            to.flush().await
        };
        timeout_at(Instant::now() + STALL, write).await.map_err(|_| late())??;
        *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
        for counter in counters.into_iter().flatten() {
            counter.add(octets.len() as u64);
        }
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
    use std::future::pending;

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_side_that_has_closed_still_receives() {
        let ((mut client, client_end), (mut upstream, upstream_end)) = (duplex(64), duplex(64));
        let (counters, octets) = ((Counter::default(), Counter::default()), TunnelOctets::default());
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
        let (tunneled, ()) =
            tokio::join!(tunnel(client_end, upstream_end, STALL, pending(), &octets, Some((&counters.0, &counters.1))), talk);
        assert!(matches!(tunneled.end, End::Closed), "{tunneled:?}");
        assert_eq!((tunneled.sent, tunneled.received, counters.0.get(), counters.1.get()), (8, 100_000, 8, 100_000));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_on_both_sides_ends_it() {
        let ((mut client, client_end), (_upstream, upstream_end)) = (duplex(64), duplex(64));
        let (counters, octets) = ((Counter::default(), Counter::default()), TunnelOctets::default());
        let started = Instant::now();
        let talk = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(6)).await;
                client.write_all(b"x").await.unwrap();
            }
        };
        let idle = Duration::from_secs(10);
        let (tunneled, ()) =
            tokio::join!(tunnel(client_end, upstream_end, idle, pending(), &octets, Some((&counters.0, &counters.1))), talk);
        assert!(matches!(tunneled.end, End::Idle), "{tunneled:?}");
        assert_eq!(started.elapsed().as_secs(), 40);
    }
}
