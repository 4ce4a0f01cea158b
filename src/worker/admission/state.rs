//! Lines and desks together: what an admission does under its lock. Nothing here speaks to a desk or drops a call.

use std::sync::Arc;
use std::thread::ThreadId;

use ziggurat_middleware::Reserve;
use ziggurat_middleware::metrics::Distribution;

use super::desks::{Desks, Place, Recall};
use super::figures::{Figures, Totals};
use super::lines::Lines;
use super::{Desk, DeskId, Room};
use crate::call::{Call, Word};

/// The books of an admission.
pub(super) struct State {
    pub(super) lines: Lines,
    pub(super) desks: Desks,
    limit: usize,
    /// Calls so far: the number of the last one.
    numbers: u64,
    is_ended: bool,
    /// Calls that have waited too long are seen to.
    pub(super) is_swept: bool,
    /// Desks with calls ahead are watched.
    pub(super) is_watched: bool,
    /// Threads that are handing out calls.
    pub(super) pumps: Vec<ThreadId>,
    pub(super) total: Totals,
}

/// What a call takes up, and where.
#[derive(Clone, Copy)]
pub(super) struct Booked {
    desk: DeskId,
    number: u64,
    line: usize,
}

#[cfg(test)]
impl Booked {
    pub(super) const NONE: Self = Self { desk: DeskId(0), number: 0, line: 0 };
}

/// A call whose turn it is.
pub(super) enum Turn {
    /// To be begun at this desk.
    Begin(Call, Arc<dyn Desk>, Booked),
    /// Nobody waits for it any more.
    Left(Call),
}

impl State {
    pub(super) fn new(limit: usize, reserves: &[Reserve]) -> Self {
        Self {
            lines: Lines::new(reserves),
            desks: Desks::default(),
            limit,
            numbers: 0,
            is_ended: false,
            is_swept: false,
            is_watched: false,
            pumps: Vec::new(),
            total: Totals::default(),
        }
    }

    /// The next call's number.
    pub(super) const fn count(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn open(&mut self, desk: Arc<dyn Desk>, room: Room) -> DeskId {
        let id = self.desks.open(desk, room, self.lines.len());
        self.settle();
        id
    }

    pub(super) fn retire(&mut self, desk: DeskId) -> Option<Recall> {
        let place = self.desks.get_mut(desk)?;
        place.is_open = false;
        let recall = place.recall();
        self.settle();
        Some(recall)
    }

    pub(super) fn close(&mut self, desk: DeskId) -> Option<Place> {
        let gone = self.desks.close(desk);
        self.settle();
        gone
    }

    /// Whether a desk has no calls left, or is gone.
    pub(super) fn is_empty(&mut self, desk: DeskId) -> bool {
        self.desks.get_mut(desk).is_none_or(|place| place.is_empty())
    }

    fn settle(&mut self) {
        let desks = &self.desks;
        self.lines.settle(desks.threads(), |line| desks.calls_of(line));
    }

    pub(super) const fn is_anybody_waiting(&self) -> bool {
        self.lines.waiting() > 0
    }

    /// Books a desk for a call that just came, if it need not wait.
    pub(super) fn book_at_once(&mut self, call: &Call) -> Option<(Arc<dyn Desk>, Booked)> {
        let line = self.lines.of(call.class);
        if self.is_ended || !self.lines.is_empty(line) || !self.lines.may_go(line) {
            return None;
        }
        self.book(call, line)
    }

    fn book(&mut self, call: &Call, line: usize) -> Option<(Arc<dyn Desk>, Booked)> {
        // With reserves, calls ahead would wait for a thread that is another line's own. What cannot be begun anew could not be taken back.
        let most_ahead = if self.lines.len() == 1 && call.is_whole() { self.limit } else { 0 };
        let number = call.number;
        let (desk, id) = self.desks.book(number, line, most_ahead)?;
        self.lines.enter(line);
        self.total.begun += 1;
        Some((desk, Booked { desk: id, number, line }))
    }

    /// Requests that wait for a thread, here or at a desk.
    fn waiting(&self) -> usize {
        self.lines.waiting() + self.desks.ahead()
    }

    /// Has the call wait, or gives it back where too many do.
    pub(super) fn line_up(&mut self, call: Call) -> Option<Call> {
        if self.is_ended || self.waiting() >= self.limit {
            self.total.refused_full += 1;
            return Some(call);
        }
        self.lines.put(call);
        None
    }

    /// Has a call wait again that was handed out, or gives it back where that is over.
    pub(super) fn put_back(&mut self, call: Call) -> Option<Call> {
        if self.is_ended {
            return Some(call);
        }
        self.lines.put(call);
        None
    }

    /// The next call that may go, with a desk for it.
    pub(super) fn turn(&mut self) -> Option<Turn> {
        let line = self.lines.first()?;
        let head = self.lines.pop(line)?;
        if head.responder.is_closed() {
            return Some(Turn::Left(head));
        }
        match self.book(&head, line) {
            Some((desk, booked)) => Some(Turn::Begin(head, desk, booked)),
            None => {
                self.lines.put(head);
                None
            }
        }
    }

    /// Releases a permit. Says whether a desk that is handed no more calls has none left.
    pub(super) fn vacate(&mut self, booked: Booked) -> bool {
        let Some(place) = self.desks.get_mut(booked.desk) else { return false };
        if !place.vacate(booked.number, booked.line) {
            return false;
        }
        if place.is_open {
            self.lines.leave(booked.line);
        }
        !place.is_open && place.is_empty()
    }

    /// A permit was dropped because its call is over.
    pub(super) fn stir(&mut self, booked: Booked) {
        if let Some(place) = self.desks.get_mut(booked.desk) {
            place.stir();
        }
    }

    /// What a word means for a call that waits: nothing, or it is taken out.
    pub(super) fn heard(&mut self, number: u64, word: Word) -> Option<Call> {
        self.total.expired += u64::from(word == Word::Expire);
        matches!(word, Word::Cancel | Word::Expire).then(|| self.lines.remove(number)).flatten()
    }

    pub(super) fn desk_of(&self, number: u64) -> Option<Arc<dyn Desk>> {
        self.desks.with_call(number).map(|place| Arc::clone(&place.desk))
    }

    /// The id of a request that waits.
    pub(super) fn request_id(&self, number: u64) -> Option<Box<str>> {
        self.lines.find(number).map(|call| call.head.view().request_id().unwrap_or_default().into())
    }

    pub(super) fn end(&mut self) -> Vec<Call> {
        self.is_ended = true;
        self.lines.take_while(|_| true)
    }

    pub(super) fn figures(&self, waits: Distribution) -> Figures {
        let desks: Vec<_> = self.desks.figures().collect();
        Figures {
            waiting: self.waiting(),
            limit: self.limit,
            threads: self.desks.threads(),
            busy: desks.iter().map(|desk| desk.in_progress.min(desk.threads)).sum(),
            total: self.total,
            waits,
            desks,
        }
    }
}
