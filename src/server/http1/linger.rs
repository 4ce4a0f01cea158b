//! Lingering close: ends a connection so that the client still receives the last response (RFC 9112 section 9.6).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::server::io::Io;
use crate::server::refusal::Refusal;

/// How long a client may take to receive the refusal, and how long it may go on sending afterwards.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends a refusal and closes.
pub(super) async fn refuse(mut stream: impl Io, refusal: Refusal) {
    let sent = timeout(LINGER_TIMEOUT, async {
        stream.write_all(refusal.to_http1().as_bytes()).await?;
        stream.flush().await
    });
    if matches!(sent.await, Ok(Ok(()))) {
        close(stream, true).await;
    }
}

/// Closes. The kernel resets a socket that is closed while octets of the client are unread or still come, and the client may lose a response that
/// it has not read yet. If the client may be `still_sending`, what it sends is therefore read and dropped for a while.
pub(super) async fn close(mut stream: impl Io, still_sending: bool) {
    if !still_sending && stream.ends_by_closing() {
        return;
    }
    let shutdown = timeout(LINGER_TIMEOUT, stream.shutdown()).await;
    if matches!(shutdown, Ok(Ok(()))) && still_sending {
        let mut ignored = vec![0; 8 << 10];
        // The end of the stream, an error and the timeout all end it.
        let _ = timeout(LINGER_TIMEOUT, async { while matches!(stream.read(&mut ignored).await, Ok(1..)) {} }).await;
    }
}
