//! Who waits: a line for everybody, and one for each reserve.

use std::collections::VecDeque;

use ziggurat_middleware::Reserve;

use crate::call::Call;

/// The lines. The first is everybody's.
pub(super) struct Lines {
    lines: Vec<Line>,
    /// Threads that are nobody's own.
    shared: usize,
    waiting: usize,
}

struct Line {
    class: u32,
    /// Threads it is to have of its own, and has as long as there are enough.
    wanted: usize,
    own: usize,
    /// Threads its calls take up.
    busy: usize,
    /// By number, which is the order in which they came.
    calls: VecDeque<Call>,
}

impl Line {
    const fn new(class: u32, wanted: usize) -> Self {
        Self { class, wanted, own: 0, busy: 0, calls: VecDeque::new() }
    }
}

impl Lines {
    pub(super) fn new(reserves: &[Reserve]) -> Self {
        let own = reserves.iter().map(|reserve| Line::new(reserve.class.0, reserve.threads));
        Self { lines: std::iter::once(Line::new(0, 0)).chain(own).collect(), shared: 0, waiting: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.lines.len()
    }

    /// The line of a class; everybody's where the class has none here.
    pub(super) fn of(&self, class: u32) -> usize {
        if class == 0 {
            return 0;
        }
        self.lines.iter().position(|line| line.class == class).unwrap_or(0)
    }

    /// How many wait in all lines.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self, line: usize) -> bool {
        self.lines[line].calls.is_empty()
    }

    /// Whether a call of this line may have a thread, if there is one.
    pub(super) fn may_go(&self, line: usize) -> bool {
        if self.lines.len() == 1 {
            return true;
        }
        let line = &self.lines[line];
        line.busy < line.own || self.lines.iter().map(|line| line.busy.saturating_sub(line.own)).sum::<usize>() < self.shared
    }

    /// The line whose turn it is: of those that may go, the one with the oldest call.
    pub(super) fn first(&self) -> Option<usize> {
        let heads = self.lines.iter().enumerate().filter_map(|(nth, line)| Some((line.calls.front()?.number, nth)));
        heads.filter(|(_, nth)| self.may_go(*nth)).min().map(|(_, nth)| nth)
    }

    pub(super) fn pop(&mut self, line: usize) -> Option<Call> {
        let call = self.lines[line].calls.pop_front();
        self.waiting -= usize::from(call.is_some());
        call
    }

    /// Puts a call at its place.
    pub(super) fn put(&mut self, call: Call) {
        let line = self.of(call.class);
        let calls = &mut self.lines[line].calls;
        let at = if calls.back().is_none_or(|last| last.number < call.number) {
            calls.len()
        } else {
            calls.partition_point(|other| other.number < call.number)
        };
        calls.insert(at, call);
        self.waiting += 1;
    }

    pub(super) fn find(&self, number: u64) -> Option<&Call> {
        self.lines.iter().find_map(|line| Some(&line.calls[line.calls.binary_search_by_key(&number, |call| call.number).ok()?]))
    }

    /// Takes a call out, wherever it stands.
    pub(super) fn remove(&mut self, number: u64) -> Option<Call> {
        let call = self.lines.iter_mut().find_map(|line| {
            let at = line.calls.binary_search_by_key(&number, |call| call.number).ok()?;
            line.calls.remove(at)
        });
        self.waiting -= usize::from(call.is_some());
        call
    }

    /// Takes out those at the heads of the lines of which this holds.
    pub(super) fn take_while(&mut self, holds: impl Fn(&Call) -> bool) -> Vec<Call> {
        let mut taken = Vec::new();
        for line in &mut self.lines {
            let count = line.calls.iter().take_while(|call| holds(call)).count();
            taken.extend(line.calls.drain(..count));
        }
        self.waiting -= taken.len();
        taken
    }

    /// The first of every line.
    pub(super) fn heads(&self) -> impl Iterator<Item = &Call> {
        self.lines.iter().filter_map(|line| line.calls.front())
    }

    pub(super) fn enter(&mut self, line: usize) {
        self.lines[line].busy += 1;
    }

    pub(super) fn leave(&mut self, line: usize) {
        let busy = &mut self.lines[line].busy;
        *busy = busy.saturating_sub(1);
    }

    /// There are so many threads now, and each line takes up so many of them. One is always everybody's: where the reserves would take
    /// it, each becomes smaller in proportion.
    pub(super) fn settle(&mut self, threads: usize, busy: impl Fn(usize) -> usize) {
        let wanted = self.lines.iter().map(|line| line.wanted).sum::<usize>();
        let most = threads.saturating_sub(1);
        let mut own = 0;
        for (nth, line) in self.lines.iter_mut().enumerate() {
            line.busy = busy(nth);
            line.own = if wanted <= most { line.wanted } else { line.wanted * most / wanted };
            own += line.own;
        }
        self.shared = threads - own;
    }
}

#[cfg(test)]
mod tests {
    use ziggurat_middleware::ReserveClass;

    use super::*;

    #[test]
    fn reserves_shrink_with_the_threads_and_one_thread_is_everybodys() {
        let reserve = |class, threads| Reserve { class: ReserveClass(class), threads };
        let mut lines = Lines::new(&[reserve(1, 6), reserve(2, 3)]);
        for (threads, expected) in [(20, (11, 6, 3)), (10, (1, 6, 3)), (7, (1, 4, 2)), (2, (2, 0, 0)), (1, (1, 0, 0)), (0, (0, 0, 0))] {
            lines.settle(threads, |_| 0);
            assert_eq!((lines.shared, lines.lines[1].own, lines.lines[2].own), expected, "{threads}");
        }
    }
}
