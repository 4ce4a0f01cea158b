//! The response to an opening handshake (RFC 6455 section 4.2.2), which the app writes to its socket.

use std::io;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use httparse::{EMPTY_HEADER, Status};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use ziggurat_middleware::hop_by_hop;

use crate::call::{Reply, ResponseHead};

/// The largest head, in octets.
const LARGEST_HEAD: usize = 64 << 10;

/// The most headers.
const MOST_HEADERS: usize = 100;

/// What the app did with a request for a WebSocket.
pub(super) enum Handshake {
    /// It wrote a response with status 101.
    Accepted(Accepted),
    /// It wrote nothing and returned; its WSGI response, if it made one.
    Declined(Option<Reply>),
}

/// An accepted WebSocket.
pub(super) struct Accepted {
    pub(super) head: ResponseHead,
    /// What the app wrote after the head.
    pub(super) rest: Bytes,
    /// The app has returned already.
    pub(super) has_returned: bool,
}

/// Waits until the app has written the head of a response, or has returned without writing. The error says what is wrong with the head.
pub(super) async fn read(socket: &mut UnixStream, reply: &mut oneshot::Receiver<Reply>) -> Result<Handshake, String> {
    let broken = |error: io::Error| format!("the app's WebSocket cannot be read: {error}");
    let mut octets = BytesMut::new();
    let (mut is_open, mut returned) = (true, None);
    loop {
        if let Some((head, length)) = parse(&octets)? {
            let rest = octets.split_off(length).freeze();
            return Ok(Handshake::Accepted(Accepted { head, rest, has_returned: returned.is_some() }));
        }
        tokio::select! {
            read = socket.read_buf(&mut octets), if is_open => is_open = read.map_err(broken)? > 0,
            replied = &mut *reply, if returned.is_none() => returned = Some(replied.ok()),
        }
        // What the app has written before it returned is in the socket by then.
        let is_all_read = !is_open || returned.is_some() && is_empty(socket).map_err(broken)?;
        match (octets.is_empty(), returned.take()) {
            (true, Some(reply)) if is_all_read => return Ok(Handshake::Declined(reply)),
            (false, _) if !is_open => return Err("the app closed its WebSocket in the middle of the response head".to_owned()),
            (_, reply) => returned = reply,
        }
    }
}

/// Whether there is nothing to read now. (The runtime may not know yet that there is.)
fn is_empty(socket: &UnixStream) -> io::Result<bool> {
    match recv(socket, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((count, _)) => Ok(count == 0),
        Err(Errno::AGAIN) => Ok(true),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The head of a response and its length, once it is complete.
fn parse(octets: &[u8]) -> Result<Option<(ResponseHead, usize)>, String> {
    let mut lines = [EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut lines);
    let parsed = response.parse(octets).map_err(|error| format!("the app wrote no valid response head to its WebSocket: {error}"))?;
    let Status::Complete(length) = parsed else {
        return match octets.len() {
            ..LARGEST_HEAD => Ok(None),
            _ => Err(format!("the app wrote a response head of more than {LARGEST_HEAD} octets to its WebSocket")),
        };
    };
    if response.code != Some(101) {
        let code = response.code.unwrap_or_default();
        return Err(format!("the app wrote a response with status {code} to its WebSocket; only 101 is passed on"));
    }
    let mut headers = HeaderMap::with_capacity(response.headers.len() + 2);
    for line in response.headers.iter() {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(line.name.as_bytes()), HeaderValue::from_bytes(line.value)) else {
            return Err(format!("the app wrote an invalid header `{}` to its WebSocket", line.name));
        };
        if !hop_by_hop::contains(&name) && name != http::header::CONTENT_LENGTH {
            headers.append(name, value);
        }
    }
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    Ok(Some((ResponseHead { status: StatusCode::SWITCHING_PROTOCOLS, reason: None, headers, length: None, thread: None }, length)))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use ziggurat_middleware::Problem;

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";

    async fn outcome(written: &[&[u8]], is_closed: bool, reply: Option<Option<StatusCode>>) -> Result<Handshake, String> {
        let (mut app, mut socket) = UnixStream::pair().unwrap();
        let (sender, mut receiver) = oneshot::channel();
        let writing = async move {
            for part in written {
                app.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            let app = (!is_closed).then_some(app);
            match reply {
                Some(Some(status)) => drop(sender.send(Reply::Failed(Problem::new(status)))),
                Some(None) => drop(sender),
                None => std::future::pending().await,
            }
            drop(app);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = read(&mut socket, &mut receiver) => outcome,
            () = writing => unreachable!(),
        }
    }

    #[tokio::test]
    async fn a_head_in_pieces_is_accepted_with_what_follows_it() {
        let (first, second) = HEAD.split_at(40);
        let Ok(Handshake::Accepted(accepted)) = outcome(&[first, second, b"\x81\x02hi"], false, None).await else { panic!() };
        let headers = &accepted.head.headers;
        assert_eq!(
            (headers.len(), &headers["upgrade"], &headers["sec-websocket-accept"]),
            (3, &"websocket".parse().unwrap(), &"x".parse().unwrap())
        );
        let Ok(Handshake::Accepted(accepted)) = outcome(&[&[HEAD, b"\x81\x02hi"].concat()], true, Some(None)).await else { panic!() };
        assert_eq!(&accepted.rest[..], b"\x81\x02hi");
    }

    #[tokio::test]
    async fn what_was_written_before_the_app_returned_counts_more_than_its_response() {
        for reply in [None, Some(StatusCode::OK)] {
            assert!(matches!(outcome(&[HEAD], false, Some(reply)).await, Ok(Handshake::Accepted(_))));
        }
    }

    #[tokio::test]
    async fn an_app_that_writes_nothing_declines() {
        for is_closed in [false, true] {
            let declined = outcome(&[], is_closed, Some(Some(StatusCode::FORBIDDEN))).await;
            assert!(matches!(declined, Ok(Handshake::Declined(Some(Reply::Failed(problem)))) if problem.status() == 403));
            assert!(matches!(outcome(&[], is_closed, Some(None)).await, Ok(Handshake::Declined(None))));
        }
    }

    #[tokio::test]
    async fn anything_but_a_101_is_broken() {
        let long = [b"HTTP/1.1 101 Switching Protocols\r\nx: ".as_slice(), &[b'a'; LARGEST_HEAD]].concat();
        for octets in [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), b"\x81\x02hi", b"HTTP/1.1 101 Switching Protocols\r\nupgr", &long] {
            assert!(outcome(&[octets], true, None).await.is_err(), "{}", octets.escape_ascii());
        }
    }
}
