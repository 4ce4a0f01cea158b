//! Work of body adapters that takes processor time, shared fairly between the tasks of a thread.
//!
//! A server polls a body for as long as the socket takes octets, so a bound for each poll of the body would bound nothing. tokio gives every task a budget for each
//! time that it runs, which the reads and writes of sockets draw on. Adapters draw on it too, by octets, with [`poll_turn`]. Work that takes much longer than a copy
//! leaves the thread: [`Workers`] run it on the blocking pool.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::coop::poll_proceed;
use tokio::task::spawn_blocking;

/// The most octets of a step. A step leaves enough of the budget to send its result.
pub(crate) const STEP: usize = 60 << 10;

/// What a KiB costs of tokio's budget of 128, so that a task works on 64 KiB at most each time that it runs.
const COST: usize = 2;

/// Ready if the task may take a step of so many octets now. Otherwise it is woken for its next turn.
pub(crate) fn poll_turn(cx: &mut Context<'_>, octets: usize) -> Poll<()> {
    // Gives back everything if the budget does not suffice.
    let first = ready!(poll_proceed(cx));
    ready!(draw(cx, octets));
    first.made_progress();
    Poll::Ready(())
}

/// Ready if [`poll_turn`] would be for so many octets. An adapter that collects the octets of a step asks before it reads them.
pub(crate) fn poll_room(cx: &mut Context<'_>, octets: usize) -> Poll<()> {
    // Dropped without progress, it gives everything back.
    let _first = ready!(poll_proceed(cx));
    draw(cx, octets)
}

/// Takes what so many octets cost beside the first unit.
fn draw(cx: &mut Context<'_>, octets: usize) -> Poll<()> {
    for _ in 1..(octets.min(STEP) * COST).div_ceil(1 << 10) {
        ready!(poll_proceed(cx)).made_progress();
    }
    Poll::Ready(())
}

/// Threads for work that takes long: as many at a time as there are cores, so that those that serve connections get their share.
#[derive(Clone, Debug)]
pub(crate) struct Workers(Arc<Semaphore>);

impl Default for Workers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))))
    }
}

impl Workers {
    /// Runs `work` on the blocking pool, in the order of the calls.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send + 'static {
        let permits = Arc::clone(&self.0);
        async move {
            let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            let done = spawn_blocking(move || {
                // Held here, because the work goes on if the client disconnects.
                let _permit = permit;
                work()
            });
            done.await.map_err(io::Error::other)?
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_task_that_could_go_on_for_ever_works_on_64_kib_each_time_that_it_runs() {
        for step in [1 << 10, 4 << 10, 31 << 10, STEP] {
            let mut turns = Vec::new();
            let mut left: usize = 1 << 20;
            poll_fn(|cx| {
                let before = left;
                while left > 0 {
                    if poll_turn(cx, step).is_pending() {
                        turns.push(before - left);
                        return Poll::Pending;
                    }
                    left = left.saturating_sub(step);
                }
                Poll::Ready(())
            })
            .await;
            assert!(turns.len() >= 15 && turns.iter().all(|octets| *octets <= 64 << 10), "{step}: {turns:?}");
        }
    }

    #[tokio::test]
    async fn asking_for_room_takes_nothing_of_a_turn() {
        poll_fn(|cx| {
            for _ in 0..1000 {
                assert!(poll_room(cx, STEP).is_ready());
            }
            assert!(poll_turn(cx, STEP).is_ready());
            assert!(poll_room(cx, STEP).is_pending());
            assert!(poll_room(cx, 1).is_ready());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_a_turn_leaves_of_the_budget_is_enough_to_send() {
        poll_fn(|cx| {
            assert!(poll_turn(cx, STEP).is_ready());
            assert!(poll_turn(cx, STEP).is_pending());
            assert!(tokio::task::coop::has_budget_remaining());
            Poll::Ready(())
        })
        .await;
    }
}
