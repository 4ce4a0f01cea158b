//! An admission with backends that record what they get.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use ziggurat_middleware::{Reserve, ReserveClass};

use super::*;
use crate::call::head::Head;
use crate::call::responder::Responder;
use crate::call::{Reply, RequestBody};

mod stalls;
mod websockets;

/// A backend that keeps its calls until the test finishes them.
#[derive(Default)]
struct Recorder {
    calls: Mutex<Vec<(Call, Permit)>>,
    signals: Mutex<Vec<(u64, CallSignal)>>,
}

impl Backend for Recorder {
    fn begin(&self, call: Call, permit: Permit) {
        self.calls.lock().unwrap().push((call, permit));
    }

    fn signal(&self, number: u64, signal: CallSignal) -> bool {
        self.signals.lock().unwrap().push((number, signal));
        self.calls.lock().unwrap().iter().any(|(call, _)| call.number == number)
    }
}

impl Recorder {
    fn numbers(&self) -> Vec<u64> {
        self.calls.lock().unwrap().iter().map(|(call, _)| call.number).collect()
    }

    fn take(&self, number: u64) -> (Call, Permit) {
        let mut calls = self.calls.lock().unwrap();
        let at = calls.iter().position(|(call, _)| call.number == number).unwrap();
        calls.remove(at)
    }

    fn finish(&self, number: u64) {
        drop(self.take(number));
    }
}

const WAIT: Duration = Duration::from_secs(30);

fn admission(limit: usize, reserves: &[(u32, usize)]) -> Arc<Admission> {
    let reserves: Vec<_> = reserves.iter().map(|(class, threads)| Reserve { class: ReserveClass(*class), threads: *threads }).collect();
    Admission::new("wsgi", limit, WAIT, 2, &reserves)
}

fn backend(admission: &Arc<Admission>, threads: usize, prefetch: usize) -> (Arc<Recorder>, BackendId) {
    let recorder = Arc::new(Recorder::default());
    let id = admission.open(Arc::clone(&recorder) as Arc<dyn Backend>, Capacity { threads, prefetch });
    (recorder, id)
}

fn call(class: u32) -> (Call, oneshot::Receiver<Reply>) {
    let (sender, reply) = oneshot::channel();
    let call = Call {
        number: 0,
        head: Head::framed(Bytes::new()),
        body: RequestBody::Whole(Bytes::new()),
        responder: Responder::Task(sender),
        hints: None,
        class,
        since: now().into_std(),
        clock: None,
    };
    (call, reply)
}

/// Submits a call of a class. The client waits as long as the receiver lives.
fn ask(admission: &Arc<Admission>, class: u32) -> oneshot::Receiver<Reply> {
    let (call, reply) = call(class);
    assert!(admission.submit(call).is_ok());
    reply
}

fn status(reply: &mut oneshot::Receiver<Reply>) -> Option<u16> {
    match reply.try_recv() {
        Ok(Reply::Failed(problem)) => Some(problem.into_response().status().as_u16()),
        _ => None,
    }
}

#[tokio::test]
async fn the_least_loaded_backend_gets_the_call_and_among_equals_the_one_used_last() {
    let admission = admission(8, &[]);
    let ((a, _), (b, _)) = (backend(&admission, 2, 1), backend(&admission, 2, 1));
    let recalled: Vec<_> = (0..3).map(|_| ask(&admission, 0)).collect();
    assert_eq!((a.numbers(), b.numbers()), (vec![1], vec![2, 3]));
    a.finish(1);
    b.finish(2);
    b.finish(3);
    let again = [ask(&admission, 0), ask(&admission, 0)];
    assert_eq!((a.numbers(), b.numbers()), (vec![5], vec![4]));
    drop((recalled, again));
}

#[tokio::test]
async fn calls_are_prefetched_only_when_no_thread_is_free_and_within_the_capacity() {
    let admission = admission(8, &[]);
    let ((a, _), (b, _)) = (backend(&admission, 1, 2), backend(&admission, 1, 1));
    let recalled: Vec<_> = (0..7).map(|_| ask(&admission, 0)).collect();
    assert_eq!((a.numbers().len(), b.numbers().len()), (3, 2));
    assert_eq!((admission.stats().waiting, admission.stats().busy), (5, 2));
    let first = a.numbers()[0];
    a.finish(first);
    assert_eq!(a.numbers().last(), Some(&6), "the oldest that waits comes next");
    drop(recalled);
}

#[tokio::test]
async fn a_full_queue_gives_the_call_back() {
    let admission = admission(1, &[]);
    let (_desk, _) = backend(&admission, 1, 0);
    let _asked = [ask(&admission, 0), ask(&admission, 0)];
    let (call, _reply) = call(0);
    assert!(admission.submit(call).is_err());
    assert_eq!(admission.stats().total.refused_full, 1);
}

#[tokio::test]
async fn prefetched_calls_count_as_waiting() {
    let admission = admission(2, &[]);
    let (backend, _) = backend(&admission, 1, 5);
    let _asked: Vec<_> = (0..3).map(|_| ask(&admission, 0)).collect();
    let (call, _reply) = call(0);
    assert!(admission.submit(call).is_err());
    assert_eq!(backend.numbers(), [1, 2, 3]);
}

#[tokio::test]
async fn requests_wait_while_no_backend_is_open() {
    let admission = admission(8, &[]);
    let _asked = [ask(&admission, 0), ask(&admission, 0)];
    assert_eq!(admission.stats().waiting, 2);
    let (backend, _) = backend(&admission, 4, 0);
    assert_eq!(backend.numbers(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_too_long_is_answered_503_by_one_sweeper() {
    let admission = admission(8, &[]);
    let mut early = ask(&admission, 0);
    tokio::time::sleep(WAIT / 2).await;
    let mut late = ask(&admission, 0);
    tokio::time::sleep(WAIT / 2 + Duration::from_millis(2)).await;
    assert_eq!(status(&mut early), Some(503));
    assert_eq!(status(&mut late), None);
    assert_eq!(admission.stats().waiting, 1);
    tokio::time::sleep(WAIT / 2).await;
    assert_eq!(status(&mut late), Some(503));
    assert_eq!(admission.stats().total.refused_waited, 2);
}

#[tokio::test]
async fn a_queued_call_whose_client_left_is_not_begun() {
    let admission = admission(8, &[]);
    let (backend, _) = backend(&admission, 1, 0);
    let _first = ask(&admission, 0);
    drop(ask(&admission, 0));
    let _third = ask(&admission, 0);
    backend.finish(1);
    assert_eq!(backend.numbers(), [3]);
}

#[tokio::test]
async fn signals_end_queued_calls_and_reach_the_backend_of_others() {
    let admission = admission(8, &[]);
    let (backend, _) = backend(&admission, 1, 0);
    let _asked = [ask(&admission, 0), ask(&admission, 0), ask(&admission, 0)];
    admission.signal(2, CallSignal::Cancel);
    admission.signal(3, CallSignal::Expire);
    admission.signal(1, CallSignal::Trace);
    admission.signal(9, CallSignal::Cancel);
    assert_eq!(*backend.signals.lock().unwrap(), [(1, CallSignal::Trace)]);
    let stats = admission.stats();
    assert_eq!((stats.waiting, stats.total.expired), (0, 1));
}

#[tokio::test]
async fn a_reserve_is_for_its_class_and_counted_over_all_backends() {
    let admission = admission(8, &[(1, 1)]);
    let ((a, _), (b, _)) = (backend(&admission, 2, 5), backend(&admission, 1, 5));
    let everybody: Vec<_> = (0..3).map(|_| ask(&admission, 0)).collect();
    assert_eq!(a.numbers().len() + b.numbers().len(), 2, "the third thread is kept, and nothing is prefetched");
    let own = [ask(&admission, 1), ask(&admission, 1)];
    let all = || {
        let mut all = [a.numbers(), b.numbers()].concat();
        all.sort_unstable();
        all
    };
    assert_eq!(all(), [1, 2, 4]);
    // A reserved thread is free: only for its class.
    let holder = if a.numbers().contains(&4) { &a } else { &b };
    holder.finish(4);
    assert_eq!(all(), [1, 2, 5]);
    // A shared thread is free: the oldest call that may take it does.
    let holder = if a.numbers().contains(&1) { &a } else { &b };
    holder.finish(1);
    assert_eq!(all(), [2, 3, 5]);
    drop((everybody, own));
}

#[tokio::test]
async fn a_class_uses_what_is_shared_beyond_its_reserve() {
    let admission = admission(8, &[(7, 1)]);
    let (backend, _) = backend(&admission, 3, 0);
    let _asked: Vec<_> = (0..4).map(|_| ask(&admission, 7)).collect();
    assert_eq!(backend.numbers(), [1, 2, 3]);
}

#[tokio::test]
async fn a_retired_backend_is_assigned_nothing_and_drains() {
    let admission = admission(8, &[]);
    let (old, id) = backend(&admission, 1, 0);
    let _asked = [ask(&admission, 0), ask(&admission, 0)];
    let retiring = tokio::spawn({
        let admission = Arc::clone(&admission);
        async move { admission.retire(id).await }
    });
    tokio::task::yield_now().await;
    assert!(!retiring.is_finished());
    old.finish(1);
    retiring.await.unwrap();
    assert_eq!((old.numbers(), admission.stats().waiting), (vec![], 1));
    admission.close(id);
    let (new, _) = backend(&admission, 1, 0);
    assert_eq!(new.numbers(), [2]);
}

#[tokio::test]
async fn permits_of_a_closed_backend_have_no_effect() {
    let admission = admission(8, &[(1, 1)]);
    let (dead, id) = backend(&admission, 2, 0);
    let _asked = [ask(&admission, 0), ask(&admission, 1), ask(&admission, 0)];
    admission.close(id);
    let (new, _) = backend(&admission, 2, 0);
    assert_eq!(new.numbers(), [3]);
    dead.finish(1);
    admission.take_back(vec![dead.take(2)]);
    assert_eq!(new.numbers(), [3, 2]);
    let stats = admission.stats();
    assert_eq!((stats.busy, stats.threads, stats.backends.len()), (2, 2, 1));
}

#[tokio::test]
async fn a_backend_that_drops_its_calls_does_no_harm() {
    struct Drops;
    impl Backend for Drops {
        fn begin(&self, call: Call, permit: Permit) {
            drop((call, permit));
        }
        fn signal(&self, _: u64, _: CallSignal) -> bool {
            false
        }
    }
    let admission = admission(100_000, &[]);
    let recalled: Vec<_> = (0..50_000).map(|_| ask(&admission, 0)).collect();
    admission.open(Arc::new(Drops), Capacity { threads: 1, prefetch: 0 });
    let stats = admission.stats();
    assert_eq!((stats.waiting, stats.busy, stats.total.begun), (0, 0, 50_000));
    drop(recalled);
}

#[tokio::test]
async fn at_the_end_waiting_calls_are_answered_and_no_more_are_accepted() {
    let admission = admission(8, &[]);
    let mut waiting = ask(&admission, 0);
    admission.end();
    assert_eq!(status(&mut waiting), Some(503));
    let (call, _reply) = call(0);
    assert!(admission.submit(call).is_err());
}

/// A backend with one thread, which answers calls in their order.
struct ThreadBackend(std::sync::mpsc::Sender<(Call, Permit)>);

impl ThreadBackend {
    fn start() -> Arc<dyn Backend> {
        let (backend, calls) = std::sync::mpsc::channel::<(Call, Permit)>();
        thread::spawn(move || {
            for (call, permit) in calls {
                call.responder.fail(ending());
                drop(permit);
            }
        });
        Arc::new(Self(backend))
    }
}

impl Backend for ThreadBackend {
    fn begin(&self, call: Call, permit: Permit) {
        self.0.send((call, permit)).unwrap();
    }

    fn signal(&self, _: u64, _: CallSignal) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_call_runs_once_however_many_threads_assign_and_finish() {
    for reserves in [&[][..], &[(1, 2), (2, 1)]] {
        let admission = admission(usize::MAX, reserves);
        for _ in 0..3 {
            admission.open(ThreadBackend::start(), Capacity { threads: 2, prefetch: 2 });
        }
        let tasks = (0..4_u32).map(|class| {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move {
                let replies: Vec<_> = (0..3000).map(|_| ask(&admission, class)).collect();
                for (nth, reply) in replies.into_iter().enumerate() {
                    // Some clients leave early.
                    if nth % 7 != 0 {
                        reply.await.map_err(|_| nth).unwrap();
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            tokio::time::timeout(WAIT, task).await.unwrap().unwrap();
        }
        while admission.stats().busy + admission.stats().waiting > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(admission.lock().backends.calls_of(0), 0);
    }
}
