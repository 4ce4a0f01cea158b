//! One connection to Redis that all requests share: commands go out one behind the other, and replies come in the same order.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::resp::{self, Reply};

/// The most commands without a reply.
pub(super) const MOST_UNDER_WAY: usize = 1024;
/// So many octets of commands are written at once.
const WRITE: usize = 64 * 1024;

/// The way into a connection.
pub(super) struct Connection {
    commands: mpsc::Sender<Sent>,
    room: Arc<Semaphore>,
    /// Why it is given up.
    failure: OnceLock<String>,
    failed: Notify,
}

/// A command that waits for its reply.
struct Sent {
    octets: Vec<u8>,
    waiting: Waiting,
}

struct Waiting {
    reply: oneshot::Sender<Reply>,
    _room: OwnedSemaphorePermit,
}

impl Connection {
    /// A connection over this stream. The future reads and writes; it ends with the reason why the connection does.
    pub(super) fn over<S: AsyncRead + AsyncWrite>(stream: S) -> (Arc<Self>, impl Future<Output = io::Error>) {
        let (commands, receiver) = mpsc::channel(MOST_UNDER_WAY);
        let room = Arc::new(Semaphore::new(MOST_UNDER_WAY));
        let connection = Arc::new(Self { commands, room, failure: OnceLock::new(), failed: Notify::new() });
        (connection, run(stream, receiver))
    }

    /// Sends a command. `None` if too many wait for their replies. The receiver ends without a reply if the connection does.
    pub(super) fn send(&self, octets: Vec<u8>) -> Option<oneshot::Receiver<Reply>> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let (reply, receiver) = oneshot::channel();
        // There is room for each that has a permit. A closed connection drops the sender.
        let _ = self.commands.try_send(Sent { octets, waiting: Waiting { reply, _room: room } });
        Some(receiver)
    }

    /// The number of commands without a reply.
    pub(super) fn under_way(&self) -> usize {
        MOST_UNDER_WAY - self.room.available_permits()
    }

    /// Gives the connection up.
    pub(super) fn fail(&self, reason: String) {
        if self.failure.set(reason).is_ok() {
            self.failed.notify_one();
        }
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Waits until the connection is given up, and says why.
    pub(super) async fn failure(&self) -> String {
        self.failed.notified().await;
        self.failure.get().cloned().unwrap_or_default()
    }
}

/// Those who wait, in the order of their commands.
#[derive(Default)]
struct Line(Mutex<VecDeque<Waiting>>);

impl Line {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run<S: AsyncRead + AsyncWrite>(stream: S, commands: mpsc::Receiver<Sent>) -> io::Error {
    let (read, write) = split(stream);
    let line = Line::default();
    let ended = tokio::select! {
        ended = write_commands(write, commands, &line) => ended,
        ended = read_replies(read, &line) => ended,
    };
    ended.err().unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into())
}

async fn write_commands<S: AsyncWrite>(mut stream: WriteHalf<S>, mut commands: mpsc::Receiver<Sent>, line: &Line) -> io::Result<()> {
    let mut octets = Vec::new();
    while let Some(first) = commands.recv().await {
        octets.clear();
        let mut next = Some(first);
        while let Some(Sent { octets: command, waiting }) = next {
            octets.extend_from_slice(&command);
            line.lock().push_back(waiting);
            next = if octets.len() < WRITE { commands.try_recv().ok() } else { None };
        }
        stream.write_all(&octets).await?;
        stream.flush().await?;
        octets.shrink_to(WRITE);
    }
    Ok(())
}

async fn read_replies<S: AsyncRead>(mut stream: ReadHalf<S>, line: &Line) -> io::Result<()> {
    let mut octets = BytesMut::new();
    loop {
        if stream.read_buf(&mut octets).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has closed the connection"));
        }
        while let Some(reply) = resp::reply(&mut octets)? {
            let waiting = line.lock().pop_front();
            let waiting = waiting.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it replies to what nobody asked"))?;
            // Who has asked may have left.
            let _ = waiting.reply.send(reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::task::JoinHandle;

    use super::*;

    fn connect(room: usize) -> (Arc<Connection>, JoinHandle<io::Error>, tokio::io::DuplexStream) {
        let (near, far) = duplex(room);
        let (connection, run) = Connection::over(near);
        (connection, tokio::spawn(run), far)
    }

    #[tokio::test]
    async fn replies_go_to_those_who_asked_in_their_order_also_if_one_has_left() {
        let (connection, _run, mut far) = connect(1024);
        let asked = [b"a\n", b"b\n", b"c\n"].map(|command| connection.send(command.to_vec()).unwrap());
        let mut octets = [0; 6];
        far.read_exact(&mut octets).await.unwrap();
        assert_eq!(&octets, b"a\nb\nc\n");
        let [first, second, third] = asked;
        drop(second);
        far.write_all(b":1\r\n:2\r\n:3\r\n").await.unwrap();
        assert_eq!((first.await, third.await), (Ok(Reply::Number(1)), Ok(Reply::Number(3))));
        assert_eq!(connection.under_way(), 0);
    }

    #[tokio::test]
    async fn so_many_commands_are_under_way_and_no_more_whether_anybody_waits_or_not() {
        let (connection, _run, mut far) = connect(16);
        for _ in 0..MOST_UNDER_WAY {
            drop(connection.send(b"x".to_vec()).unwrap());
        }
        assert!(connection.send(b"x".to_vec()).is_none());
        assert_eq!(connection.under_way(), MOST_UNDER_WAY);
        let mut octets = [0; MOST_UNDER_WAY];
        far.read_exact(&mut octets).await.unwrap();
        far.write_all(b":1\r\n").await.unwrap();
        while connection.under_way() == MOST_UNDER_WAY {
            tokio::task::yield_now().await;
        }
        assert!(connection.send(b"x".to_vec()).is_some());
    }

    #[tokio::test]
    async fn what_is_no_reply_ends_the_connection_and_all_who_wait_hear_of_it() {
        for octets in [&b"HTTP/1.1 400\r\n"[..], b":1\r\n:2\r\n:3\r\n", b"$1048577\r\n", b""] {
            let (connection, run, mut far) = connect(1024);
            let asked = [connection.send(b"a".to_vec()).unwrap(), connection.send(b"b".to_vec()).unwrap()];
            far.read_exact(&mut [0; 2]).await.unwrap();
            far.write_all(octets).await.unwrap();
            drop(far);
            let error = run.await.unwrap();
            assert!(matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof), "{error}");
            for reply in asked {
                let _ = reply.await;
            }
            assert!(connection.send(b"c".to_vec()).is_none_or(|mut reply| reply.try_recv().is_err()));
        }
    }

    #[tokio::test]
    async fn a_reply_to_no_command_ends_the_connection() {
        let (_connection, run, mut far) = connect(1024);
        far.write_all(b"+OK\r\n").await.unwrap();
        assert_eq!(run.await.unwrap().to_string(), "it replies to what nobody asked");
    }
}
