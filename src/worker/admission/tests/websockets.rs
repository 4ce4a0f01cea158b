//! WebSockets take up no thread of a backend, and their number is limited by itself.

use std::os::unix::net::UnixStream;

use super::*;

fn websocket(admission: &Arc<Admission>) -> Option<u64> {
    let (mut call, _) = call(0);
    call.body = RequestBody::WebSocket(UnixStream::pair().unwrap().0.into());
    admission.submit(call).ok()
}

#[tokio::test]
async fn websockets_go_to_the_backend_with_the_fewest_and_leave_the_threads_to_requests() {
    let admission = admission(8, &[]);
    let backends = [backend(&admission, 1, 0).0, backend(&admission, 1, 0).0];
    let numbers = [websocket(&admission).unwrap(), websocket(&admission).unwrap()];
    let _asked = [ask(&admission, 0), ask(&admission, 0)];
    for backend in &backends {
        assert_eq!(backend.numbers().len(), 2);
        assert_eq!(backend.numbers().iter().filter(|number| numbers.contains(number)).count(), 1);
    }
    assert_eq!(admission.stats().waiting, 0);
    admission.signal(numbers[0], CallSignal::Cancel);
    let heard: Vec<_> = backends.iter().flat_map(|backend| backend.signals.lock().unwrap().clone()).collect();
    assert_eq!(heard, [(numbers[0], CallSignal::Cancel)]);
}

#[tokio::test]
async fn one_more_than_the_limit_is_refused_until_another_ends() {
    let admission = admission(8, &[]);
    assert_eq!(websocket(&admission), None, "nobody can take it");
    let (backend, _) = backend(&admission, 1, 0);
    let first = websocket(&admission).unwrap();
    websocket(&admission).unwrap();
    assert_eq!(websocket(&admission), None);
    backend.finish(first);
    assert!(websocket(&admission).is_some());
    let stats = admission.stats();
    assert_eq!((stats.websockets, stats.websocket_limit, stats.total.refused_websockets), (2, 2, 1));
}

#[tokio::test]
async fn a_retired_backend_is_empty_after_its_websockets() {
    let admission = admission(8, &[]);
    let (backend, id) = backend(&admission, 1, 0);
    let number = websocket(&admission).unwrap();
    let retiring = tokio::spawn({
        let admission = Arc::clone(&admission);
        async move { admission.retire(id).await }
    });
    tokio::task::yield_now().await;
    assert!(!retiring.is_finished());
    assert_eq!(websocket(&admission), None);
    backend.finish(number);
    tokio::time::timeout(WAIT, retiring).await.unwrap().unwrap();
}
