//! Backends that make no progress with their calls.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_stalled_backend_returns_prefetched_calls_and_prefetches_none_until_it_makes_progress() {
    let admission = admission(8, &[]);
    let (stuck, _) = backend(&admission, 1, 2);
    let _asked: Vec<_> = (0..4).map(|_| ask(&admission, 0)).collect();
    assert_eq!(stuck.numbers(), [1, 2, 3]);
    tokio::time::sleep(Duration::from_millis(9)).await;
    assert!(stuck.signals.lock().unwrap().is_empty());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(*stuck.signals.lock().unwrap(), [(2, CallSignal::Recall), (3, CallSignal::Recall)]);
    // One after the other, as a link returns them.
    for number in [2, 3] {
        admission.take_back(vec![stuck.take(number)]);
    }
    assert_eq!((stuck.numbers(), admission.stats().waiting), (vec![1], 3));
    let (other, _) = backend(&admission, 2, 0);
    assert_eq!(other.numbers(), [2, 3], "they come first, in their order");
    stuck.finish(1);
    assert_eq!(stuck.numbers(), [4]);
    let _more = [ask(&admission, 0), ask(&admission, 0)];
    assert_eq!(stuck.numbers(), [4, 5, 6], "it makes progress, and prefetches calls again");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_begins_nothing_though_it_has_threads_returns_its_calls() {
    let admission = admission(8, &[]);
    let ((held, _), (other, _)) = (backend(&admission, 3, 0), backend(&admission, 1, 0));
    let _asked: Vec<_> = (0..3).map(|_| ask(&admission, 0)).collect();
    assert_eq!((held.numbers(), other.numbers()), (vec![1, 3], vec![2]));
    tokio::time::sleep(Duration::from_millis(45)).await;
    assert!(held.signals.lock().unwrap().is_empty());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(*held.signals.lock().unwrap(), [(3, CallSignal::Recall)], "never the oldest, which may have begun");
    admission.take_back(vec![held.take(3)]);
    assert_eq!(held.numbers(), [1], "nothing is assigned to it for a while");
    other.finish(2);
    assert_eq!(other.numbers(), [3]);
    let _more = ask(&admission, 0);
    assert_eq!((held.numbers(), admission.stats().waiting), (vec![1], 1));
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(held.numbers(), [1, 4], "then it is tried again");
}

#[tokio::test(start_paused = true)]
async fn a_paused_backend_is_used_as_soon_as_it_finishes_something() {
    let admission = admission(8, &[]);
    let (held, _) = backend(&admission, 3, 0);
    let _asked = [ask(&admission, 0), ask(&admission, 0)];
    tokio::time::sleep(Duration::from_millis(65)).await;
    admission.take_back(vec![held.take(2)]);
    assert_eq!(held.numbers(), [1]);
    held.finish(1);
    assert_eq!(held.numbers(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_recalled_before_its_backend_knew_it_is_recalled_again() {
    let admission = admission(8, &[]);
    let (stuck, _) = backend(&admission, 1, 1);
    let _asked = [ask(&admission, 0), ask(&admission, 0)];
    let on_its_way = stuck.take(2);
    tokio::time::sleep(Duration::from_millis(21)).await;
    assert!(stuck.signals.lock().unwrap().contains(&(2, CallSignal::Recall)));
    stuck.begin(on_its_way.0, on_its_way.1);
    stuck.signals.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_millis(6)).await;
    assert_eq!(*stuck.signals.lock().unwrap(), [(2, CallSignal::Recall)]);
}

#[tokio::test]
async fn a_streamed_call_is_not_prefetched() {
    let admission = admission(8, &[]);
    let (busy, _) = backend(&admission, 1, 2);
    let _asked = ask(&admission, 0);
    let (mut streamed, _reply) = call(0);
    streamed.body = RequestBody::Stream(crate::call::pipe::pipe(1, false).1);
    assert!(admission.submit(streamed).is_ok());
    assert_eq!((busy.numbers(), admission.stats().waiting), (vec![1], 1));
    busy.finish(1);
    assert_eq!(busy.numbers(), [2]);
}
