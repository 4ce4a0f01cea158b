//! The link between the server and a worker: one Unix socket that carries many concurrent calls.
//!
//! [`frame`] defines the protocol. The server's end ([`server_end`]) is asynchronous. The worker's end is a thread that reads ([`worker_end`]) and an
//! [`outbox`] that the Python threads write responses to ([`call_state`]).

pub(crate) mod call_state;
pub(crate) mod descriptor;
pub(crate) mod frame;
mod in_flight;
pub(crate) mod outbox;
pub(crate) mod server_end;
pub(crate) mod shared_memory;
mod upload;
pub(crate) mod worker_end;
mod write_buffer;

use std::io;
use std::os::unix::net::UnixStream;

use socket2::SockRef;

/// Values by the number of a call.
type ByNumber<T> = foldhash::HashMap<u64, T>;

/// The descriptor that a worker finds its end of the link at.
pub(crate) const DESCRIPTOR: i32 = 3;

/// The size of the socket's buffer in each direction. `net.core.wmem_max` may limit it.
const SOCKET: usize = 512 * 1024;

/// The two ends of a new link, the server's first.
pub(crate) fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (server, worker) = UnixStream::pair()?;
    for end in [&server, &worker] {
        // With the default size, a body of a megabyte makes both ends wait for each other a dozen times.
        SockRef::from(end).set_send_buffer_size(SOCKET)?;
    }
    Ok((server, worker))
}
