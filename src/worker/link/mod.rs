//! The link between the front and a worker: one Unix socket, on which many calls are under way at once.
//!
//! [`frame`] has the words. The front's end is asynchronous ([`front`]); the worker's is two things: one thread that reads ([`back`]), and an
//! [`outbox`] into which the threads that run Python put their answers ([`call_state`]).

pub(crate) mod back;
pub(crate) mod call_state;
pub(crate) mod frame;
pub(crate) mod front;
mod number;
pub(crate) mod outbox;
mod outgoing;
mod under_way;
mod upload;

use std::io;
use std::os::unix::net::UnixStream;

use socket2::SockRef;

/// How much may lie in the socket in each direction. The kernel gives less where `net.core.wmem_max` says so.
const SOCKET: usize = 512 * 1024;

/// Both ends of a new link.
pub(crate) fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (front, back) = UnixStream::pair()?;
    for end in [&front, &back] {
        // With the usual size a body of a megabyte has both sides wait for each other a dozen times.
        SockRef::from(end).set_send_buffer_size(SOCKET)?;
    }
    Ok((front, back))
}
