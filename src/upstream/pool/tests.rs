//! The pool over connections that are made up.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http_body_util::Empty;
use tokio::sync::Semaphore;
use tokio::time::{advance, sleep};

use super::*;
use crate::upstream::replay::Upload;

/// Connections that are opened when the test lets them.
struct Fake {
    capacity: usize,
    /// A permit for each connection that may be opened.
    gate: Semaphore,
    fails: AtomicBool,
    opened: AtomicUsize,
    open: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct FakeConnection {
    number: usize,
    capacity: usize,
    is_open: Arc<AtomicBool>,
    /// Counts connections that are alive.
    _alive: Arc<Alive>,
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Protocol for Fake {
    type Connection = FakeConnection;

    async fn open(&self, _: &Address, _: Option<&str>) -> Result<FakeConnection, Failure> {
        self.gate.acquire().await.unwrap().forget();
        if self.fails.load(SeqCst) {
            return Err(Failure::unreachable("refused"));
        }
        self.open.fetch_add(1, SeqCst);
        Ok(FakeConnection {
            number: self.opened.fetch_add(1, SeqCst),
            capacity: self.capacity,
            is_open: Arc::new(AtomicBool::new(true)),
            _alive: Arc::new(Alive(Arc::clone(&self.open))),
        })
    }

    fn may_share(&self, _: Option<&str>) -> bool {
        self.capacity > 1
    }
}

impl Connection for FakeConnection {
    type Body = Empty<Bytes>;

    async fn exchange(&mut self, _: http::Request<Upload>, _: bool) -> Result<http::Response<Empty<Bytes>>, Failure> {
        Ok(http::Response::new(Empty::new()))
    }

    fn share(&self) -> Option<Self> {
        (self.capacity > 1).then(|| self.clone())
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn is_open(&self) -> bool {
        self.is_open.load(SeqCst)
    }

    async fn ready(&mut self) -> bool {
        self.is_open()
    }
}

fn pool(capacity: usize, may_open: usize) -> (Pool<Fake>, Arc<Fake>) {
    let fake = Arc::new(Fake {
        capacity,
        gate: Semaphore::new(may_open),
        fails: AtomicBool::new(false),
        opened: AtomicUsize::new(0),
        open: Arc::default(),
    });
    let timeouts = PoolTimeouts { connect: Duration::from_secs(3), wait: Duration::from_secs(5) };
    (Pool::new(Arc::clone(&fake), Address::Ip(([127, 0, 0, 1], 1).into()), None, timeouts), fake)
}

fn number(lease: &mut Lease<Fake>) -> usize {
    lease.connection().unwrap().number
}

#[tokio::test]
async fn the_connection_used_last_comes_first() {
    let (pool, _) = pool(1, 10);
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(pool.checkout(false).await.unwrap());
    }
    for lease in leases {
        lease.release();
    }
    let mut lease = pool.checkout(false).await.unwrap();
    assert_eq!((number(&mut lease), lease.is_reused()), (2, true));
    assert_eq!(pool.connections(), (3, 2));
}

#[tokio::test]
async fn a_connection_that_becomes_free_is_taken_before_one_that_is_still_being_opened() {
    let (pool, fake) = pool(1, 1);
    let first = pool.checkout(false).await.unwrap();
    let (second, ()) = tokio::join!(pool.checkout(false), async { first.release() });
    let mut second = second.unwrap();
    assert_eq!(number(&mut second), 0);
    // The other one is kept when it is there at last.
    fake.gate.add_permits(1);
    while pool.connections() != (2, 1) {
        tokio::task::yield_now().await;
    }
    // It has carried nothing, and may end just as it is used, like any that was kept.
    let mut kept = pool.checkout(false).await.unwrap();
    assert_eq!((number(&mut kept), kept.is_reused()), (1, true));
}

#[tokio::test]
async fn a_fresh_connection_has_carried_nothing() {
    let (pool, _) = pool(1, 10);
    pool.checkout(false).await.unwrap().release();
    let mut fresh = pool.checkout(true).await.unwrap();
    assert_eq!((number(&mut fresh), fresh.is_reused()), (1, false));
}

#[tokio::test]
async fn a_connection_that_is_closed_is_not_handed_out() {
    let (pool, fake) = pool(1, 10);
    let mut lease = pool.checkout(false).await.unwrap();
    let is_open = Arc::clone(&lease.connection().unwrap().is_open);
    lease.release();
    is_open.store(false, SeqCst);
    assert_eq!(number(&mut pool.checkout(false).await.unwrap()), 1);
    drop(pool.checkout(false).await.unwrap());
    assert_eq!((pool.connections(), fake.open.load(SeqCst)), ((0, 0), 0));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_without_anybody_asking() {
    let (pool, fake) = pool(1, 10);
    pool.checkout(false).await.unwrap().release();
    sleep(IDLE_TIME - Duration::from_millis(10)).await;
    assert_eq!(fake.open.load(SeqCst), 1);
    sleep(Duration::from_millis(20)).await;
    assert_eq!((fake.open.load(SeqCst), pool.connections()), (0, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_too_old_carries_nothing_more() {
    let (pool, fake) = pool(1, 10);
    let lease = pool.checkout(false).await.unwrap();
    advance(AGE * 2).await;
    lease.release();
    assert_eq!(fake.open.load(SeqCst), 0);
}

#[tokio::test]
async fn one_failure_ends_one_request_or_all_that_wait_for_the_same_connection() {
    for (capacity, told) in [(1, 1), (100, 3)] {
        let (pool, fake) = pool(capacity, 0);
        fake.fails.store(true, SeqCst);
        let mut waiting: Vec<_> = (0..3)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { pool.checkout(false).await.err().map(|failure| failure.kind) })
            })
            .collect();
        fake.gate.add_permits(1);
        while waiting.iter().filter(|task| task.is_finished()).count() < told {
            tokio::task::yield_now().await;
        }
        let (done, _): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|task| task.is_finished());
        assert_eq!(done.len(), told);
        for task in done {
            assert_eq!(task.await.unwrap(), Some(FailureKind::Unreachable));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn opening_a_connection_takes_no_longer_than_it_may() {
    let (pool, _) = pool(1, 0);
    let failure = pool.checkout(false).await.err().unwrap();
    assert_eq!((failure.kind, failure.phase), (FailureKind::Timeout, FailurePhase::Connect));
}

#[tokio::test(start_paused = true)]
async fn shared_connections_are_opened_as_the_others_fill_up_and_no_more_than_a_few() {
    let (pool, fake) = pool(5, 100);
    let mut leases = Vec::new();
    for _ in 0..5 * MOST_SHARED {
        leases.push(pool.checkout(false).await.unwrap());
    }
    assert_eq!(fake.open.load(SeqCst), MOST_SHARED);
    // One more waits until a place is free, or for its time.
    let late = pool.checkout(false).await.err().unwrap();
    assert_eq!((late.kind, late.phase), (FailureKind::Full, FailurePhase::Connect));
    assert!(!late.kind.is_held_against_endpoint() && late.is_unprocessed() && late.status() == 503);
    let (next, ()) = tokio::join!(pool.checkout(false), async { drop(leases.pop()) });
    assert!(next.is_ok());
    assert_eq!(fake.open.load(SeqCst), MOST_SHARED);
}

#[tokio::test]
async fn a_pool_that_is_gone_leaves_no_connection_open() {
    let (pool, fake) = pool(1, 10);
    pool.checkout(false).await.unwrap().release();
    pool.close();
    assert_eq!(fake.open.load(SeqCst), 0);
    let lease = pool.checkout(false).await.unwrap();
    drop(pool);
    lease.release();
    assert_eq!(fake.open.load(SeqCst), 0);
}

#[tokio::test]
async fn a_connection_that_was_handed_to_a_request_that_leaves_goes_back() {
    for capacity in [1, 5] {
        let (pool, fake) = pool(capacity, 1);
        // All room is taken, one request waits, and it leaves after room was checkout to it.
        let mut leases = Vec::new();
        for _ in 0..capacity {
            leases.push(pool.checkout(false).await.unwrap());
        }
        let mut waiting = Box::pin(pool.checkout(false));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        leases.pop().unwrap().release();
        drop(waiting);
        let mut next = pool.checkout(false).now_or_never().expect("the connection is lost").unwrap();
        assert_eq!(number(&mut next), 0);
        drop((next, leases));
        assert_eq!(fake.opened.load(SeqCst), 1);
    }
}
