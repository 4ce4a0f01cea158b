//! Connections to a server that this program drives by hand.

use http::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::*;

fn request() -> Request<Upload> {
    Request::get("/").header("host", "app").body(Upload::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_no_longer_carries_anything_is_found_dead_and_left() {
    let (near, far) = tokio::io::duplex(1 << 20);
    let mut connection = http2(TokioIo::new(Box::new(near)), Scheme::Http).await.unwrap();
    let server = tokio::spawn(async move {
        let mut connection = h2::server::handshake(far).await.unwrap();
        let (_, mut answer) = connection.accept().await.unwrap().unwrap();
        answer.send_response(Response::new(()), true).unwrap();
        let unanswered = connection.accept().await;
        // From now on nobody reads or writes, and the connection stays open.
        std::future::pending::<()>().await;
        drop((connection, unanswered));
    });
    assert_eq!(connection.exchange(request(), false).await.unwrap().status(), 200);
    assert!(connection.is_open());
    let since = Instant::now();
    let failure = connection.exchange(request(), true).await.unwrap_err();
    // It is the connection that failed: an idempotent request goes on another one, and the endpoint is not to blame.
    assert_eq!(failure.kind, FailureKind::Stale, "{failure}");
    assert!(since.elapsed() <= PING + PONG + Duration::from_secs(1), "{:?}", since.elapsed());
    assert!(!connection.is_open());
    server.abort();
}
