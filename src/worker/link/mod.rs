//! The link between the server and a worker: one Unix socket, on which many calls are under way at once.
//!
//! [`frame`] has the signals. The server's end is asynchronous ([`server`]); the worker's is two things: one thread that reads ([`worker`]), and an
//! [`outbox`] into which the threads that run Python put their answers ([`call_state`]).

pub(crate) mod call_state;
pub(crate) mod frame;
mod in_flight;
mod number;
pub(crate) mod outbox;
pub(crate) mod server_end;
mod upload;
pub(crate) mod worker_end;
mod write_buffer;

use std::io;
use std::os::unix::net::UnixStream;

use socket2::SockRef;

/// How much may lie in the socket in each direction. The kernel gives less where `net.core.wmem_max` says so.
const SOCKET: usize = 512 * 1024;

/// Both ends of a new link.
pub(crate) fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (server, worker) = UnixStream::pair()?;
    for end in [&server, &worker] {
        // With the usual size a body of a megabyte has both sides wait for each other a dozen times.
        SockRef::from(end).set_send_buffer_size(SOCKET)?;
    }
    Ok((server, worker))
}
