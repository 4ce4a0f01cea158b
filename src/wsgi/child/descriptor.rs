//! The link at the descriptor where the server has left it.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::socket_type;

use crate::worker::link::DESCRIPTOR;

/// Takes the link, once. Programs that the app executes do not inherit it.
pub(super) fn take() -> io::Result<UnixStream> {
    // SAFETY: borrowed for two system calls; if it is not open, they fail.
    let inherited = unsafe { BorrowedFd::borrow_raw(DESCRIPTOR) };
    socket_type(inherited)?;
    fcntl_setfd(inherited, FdFlags::CLOEXEC)?;
    // SAFETY: it is open and a socket: the server starts this program with the link there, and nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(DESCRIPTOR) }.into())
}
