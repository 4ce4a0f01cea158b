//! Ending a connection so that the client still gets what was said last.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::server::refusal::Refusal;
use crate::server::socket::Socket;

/// How long a client may go on talking to a closed ear.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says why, and ends.
pub(super) async fn refuse(mut socket: Socket, refusal: Refusal) {
    let said = timeout(PATIENCE, socket.write_all(refusal.to_http1().as_bytes())).await;
    if matches!(said, Ok(Ok(()))) {
        close(socket, true).await;
    }
}

/// Resets the connection, so that an answer which ends with it does not look complete.
pub(super) fn abort(socket: &Socket) {
    if let Socket::Tcp(stream) = socket {
        // Where it fails, the client is gone already.
        let _ = stream.set_zero_linger();
    }
}

/// Closes. A socket closed while octets of the client are unread, or still come, is reset by the kernel, and the client may lose the answer
/// it has not read yet (RFC 9112 section 9.6); where the client `has_more_to_say`, it is therefore heard out for a while.
pub(super) async fn close(mut socket: Socket, has_more_to_say: bool) {
    if socket.shutdown().await.is_ok() && has_more_to_say {
        let mut ignored = vec![0; 8 << 10];
        // The client's end of talking, an error, and our end of patience come to the same.
        let _ = timeout(PATIENCE, async { while matches!(socket.read(&mut ignored).await, Ok(1..)) {} }).await;
    }
}
