//! The waiting calls: a shared queue, and one for each reserve.

use std::collections::VecDeque;

use ziggurat_middleware::Reserve;

use crate::call::Call;

/// The queues. The first is the shared one.
pub(super) struct WaitQueues {
    queues: Vec<WaitQueue>,
    /// Threads outside any reserve.
    shared: usize,
    waiting: usize,
}

struct WaitQueue {
    class: u32,
    /// The size of its reserve, if there are enough threads.
    wanted: usize,
    own: usize,
    /// Threads that its calls take up.
    busy: usize,
    /// In the order of their numbers, in which they came.
    calls: VecDeque<Call>,
}

impl WaitQueue {
    const fn new(class: u32, wanted: usize) -> Self {
        Self { class, wanted, own: 0, busy: 0, calls: VecDeque::new() }
    }
}

impl WaitQueues {
    pub(super) fn new(reserves: &[Reserve]) -> Self {
        let own = reserves.iter().map(|reserve| WaitQueue::new(reserve.class.0, reserve.threads));
        Self { queues: std::iter::once(WaitQueue::new(0, 0)).chain(own).collect(), shared: 0, waiting: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.queues.len()
    }

    /// The queue of a class; the shared one if the class has none here.
    pub(super) fn of(&self, class: u32) -> usize {
        if class == 0 {
            return 0;
        }
        self.queues.iter().position(|queue| queue.class == class).unwrap_or(0)
    }

    /// How many calls wait in all queues.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self, queue: usize) -> bool {
        self.queues[queue].calls.is_empty()
    }

    /// Whether a call of this queue may take a free thread.
    pub(super) fn may_go(&self, queue: usize) -> bool {
        if self.queues.len() == 1 {
            return true;
        }
        let queue = &self.queues[queue];
        queue.busy < queue.own || self.queues.iter().map(|queue| queue.busy.saturating_sub(queue.own)).sum::<usize>() < self.shared
    }

    /// Of the queues that may take a thread, the one with the oldest call.
    pub(super) fn first(&self) -> Option<usize> {
        let heads = self.queues.iter().enumerate().filter_map(|(nth, queue)| Some((queue.calls.front()?.number, nth)));
        heads.filter(|(_, nth)| self.may_go(*nth)).min().map(|(_, nth)| nth)
    }

    pub(super) fn pop(&mut self, queue: usize) -> Option<Call> {
        let call = self.queues[queue].calls.pop_front();
        self.waiting -= usize::from(call.is_some());
        call
    }

    /// Inserts a call in its order.
    pub(super) fn put(&mut self, call: Call) {
        let queue = self.of(call.class);
        let calls = &mut self.queues[queue].calls;
        let at = if calls.back().is_none_or(|last| last.number < call.number) {
            calls.len()
        } else {
            calls.partition_point(|other| other.number < call.number)
        };
        calls.insert(at, call);
        self.waiting += 1;
    }

    pub(super) fn find(&self, number: u64) -> Option<&Call> {
        self.queues.iter().find_map(|queue| Some(&queue.calls[queue.calls.binary_search_by_key(&number, |call| call.number).ok()?]))
    }

    /// Removes a call.
    pub(super) fn remove(&mut self, number: u64) -> Option<Call> {
        let call = self.queues.iter_mut().find_map(|queue| {
            let at = queue.calls.binary_search_by_key(&number, |call| call.number).ok()?;
            queue.calls.remove(at)
        });
        self.waiting -= usize::from(call.is_some());
        call
    }

    /// Removes the calls at the front of each queue for which `holds` is true.
    pub(super) fn take_while(&mut self, holds: impl Fn(&Call) -> bool) -> Vec<Call> {
        let mut taken = Vec::new();
        for queue in &mut self.queues {
            let count = queue.calls.iter().take_while(|call| holds(call)).count();
            taken.extend(queue.calls.drain(..count));
        }
        self.waiting -= taken.len();
        taken
    }

    /// The first call of each queue.
    pub(super) fn heads(&self) -> impl Iterator<Item = &Call> {
        self.queues.iter().filter_map(|queue| queue.calls.front())
    }

    pub(super) fn enter(&mut self, queue: usize) {
        self.queues[queue].busy += 1;
    }

    pub(super) fn leave(&mut self, queue: usize) {
        let busy = &mut self.queues[queue].busy;
        *busy = busy.saturating_sub(1);
    }

    /// Divides `threads` threads, of which `busy` gives those that each queue takes up. One thread is always shared: if the reserves would leave
    /// none, they shrink in proportion.
    pub(super) fn rebalance(&mut self, threads: usize, busy: impl Fn(usize) -> usize) {
        let wanted = self.queues.iter().map(|queue| queue.wanted).sum::<usize>();
        let most = threads.saturating_sub(1);
        let mut own = 0;
        for (nth, queue) in self.queues.iter_mut().enumerate() {
            queue.busy = busy(nth);
            queue.own = if wanted <= most { queue.wanted } else { queue.wanted * most / wanted };
            own += queue.own;
        }
        self.shared = threads - own;
    }
}

#[cfg(test)]
mod tests {
    use ziggurat_middleware::ReserveClass;

    use super::*;

    #[test]
    fn reserves_shrink_with_the_threads_and_one_thread_is_shared() {
        let reserve = |class, threads| Reserve { class: ReserveClass(class), threads };
        let mut queues = WaitQueues::new(&[reserve(1, 6), reserve(2, 3)]);
        for (threads, expected) in [(20, (11, 6, 3)), (10, (1, 6, 3)), (7, (1, 4, 2)), (2, (2, 0, 0)), (1, (1, 0, 0)), (0, (0, 0, 0))] {
            queues.rebalance(threads, |_| 0);
            assert_eq!((queues.shared, queues.queues[1].own, queues.queues[2].own), expected, "{threads}");
        }
    }
}
