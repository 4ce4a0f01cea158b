//! The task that writes frames to a worker.

use std::io::{self, IoSlice};
use std::sync::Weak;

use tokio::net::unix::OwnedWriteHalf;

use super::{Connection, ServerEnd};
use crate::worker::link::frame::WINDOW;
use crate::worker::link::write_buffer::WriteBuffer;

/// Writes what is in the buffer of the link, until the link ends.
pub(super) async fn write(link: Weak<ServerEnd>, writer: OwnedWriteHalf) {
    let mut outgoing = WriteBuffer::default();
    loop {
        {
            let Some(link) = link.upgrade() else { return };
            // Calls that are made at the same time go together.
            tokio::task::yield_now().await;
            {
                let mut state = link.lock();
                if state.connection != Connection::Open {
                    state.out.clear(0);
                    return;
                }
                std::mem::swap(&mut state.out, &mut outgoing);
            }
            if outgoing.is_empty() {
                link.written.notified().await;
                continue;
            }
        }
        let mut slices = outgoing.slices();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match writer.try_write_vectored(left) {
                Ok(count) => IoSlice::advance_slices(&mut left, count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // The socket of a dead worker becomes writable, too.
                    if writer.writable().await.is_err() {
                        return;
                    }
                }
                // The reading task sees the error, too.
                Err(_) => return,
            }
        }
        drop(slices);
        outgoing.clear(4 * WINDOW);
    }
}
