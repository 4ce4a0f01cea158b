//! The task that writes frames to a worker.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Weak;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::unix::OwnedWriteHalf;
use tokio::time::sleep;

use super::{Connection, ServerEnd};
use crate::worker::link::descriptor;
use crate::worker::link::frame::WINDOW;
use crate::worker::link::write_buffer::WriteBuffer;

/// How long to wait until a worker has received descriptors.
const DESCRIPTORS_PAUSE: Duration = Duration::from_millis(10);

/// Writes what is in the buffer of the link, until the link ends.
pub(super) async fn write(link: Weak<ServerEnd>, writer: OwnedWriteHalf) {
    let mut outgoing = WriteBuffer::default();
    loop {
        {
            let Some(link) = link.upgrade() else { return };
            let is_idle = {
                let state = link.lock();
                state.connection == Connection::Open && state.out.is_empty()
            };
            if is_idle {
                link.written.notified().await;
            }
            // Calls that are made at the same time go together.
            tokio::task::yield_now().await;
            let mut state = link.lock();
            if state.connection != Connection::Open {
                state.out.clear(0);
                return;
            }
            std::mem::swap(&mut state.out, &mut outgoing);
            state.offered = state.begun;
        }
        if outgoing.is_empty() {
            continue;
        }
        // The reading task sees an error, too.
        if write_all(&writer, &outgoing).await.is_err() {
            return;
        }
        outgoing.clear(4 * WINDOW);
    }
}

async fn write_all(writer: &OwnedWriteHalf, outgoing: &WriteBuffer) -> io::Result<()> {
    let (mut slices, descriptors) = outgoing.slices();
    let (mut left, mut written) = (&mut slices[..], 0);
    let mut descriptor = None;
    for (begin, next) in descriptors {
        let (part, rest) = left.split_at_mut(begin - written);
        write_part(writer, part, descriptor.replace(next)).await?;
        (left, written) = (rest, begin);
    }
    write_part(writer, left, descriptor).await
}

/// Writes the slices, the first one with the descriptor.
async fn write_part(writer: &OwnedWriteHalf, mut left: &mut [IoSlice<'_>], mut descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    while !left.is_empty() {
        let written = match descriptor {
            None => writer.try_write_vectored(left),
            Some(descriptor) => {
                let socket = writer.as_ref();
                socket.try_io(Interest::WRITABLE, || Ok(descriptor::send(socket, left, descriptor)?))
            }
        };
        match written {
            Ok(count) => {
                descriptor = None;
                IoSlice::advance_slices(&mut left, count);
            }
            // The socket of a dead worker becomes writable, too.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => writer.writable().await?,
            // The worker has not received as many descriptors as a process may have open.
            Err(error) if error.raw_os_error() == Some(Errno::TOOMANYREFS.raw_os_error()) => sleep(DESCRIPTORS_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
