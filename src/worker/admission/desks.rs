//! Where calls go: the desks, what each has in hand, and which gets the next.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Desk, DeskFigures, DeskId, Room};
use crate::call::Word;

/// The desks of an app.
#[derive(Default)]
pub(super) struct Desks {
    places: Vec<Place>,
    opened: u64,
    /// Calls handed out so far, which tells which desk was used last.
    handed: u64,
}

/// A desk and what it has in hand.
pub(super) struct Place {
    pub(super) id: DeskId,
    pub(super) desk: Arc<dyn Desk>,
    room: Room,
    /// The calls it has, in the order in which they were handed over.
    calls: VecDeque<Handed>,
    /// How many of them came by which line.
    by_line: Box<[usize]>,
    /// It is handed calls.
    pub(super) is_open: bool,
    /// It has calls ahead and gets nowhere: it is handed nothing ahead.
    is_stalled: bool,
    /// For so many looks it is handed nothing at all, for it gave a call back that a free thread should have begun with.
    shut: u32,
    /// How often in a row.
    shuts: u32,
    /// Looks of the watch so far, and when it last finished a call.
    looks: u32,
    stirred: u32,
    used: u64,
    begun: u64,
}

/// A call that a desk has.
struct Handed {
    number: u64,
    /// The look after which it was handed over.
    since: u32,
    asked: Asked,
}

/// Whether a call was asked back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    /// It waited for a thread.
    Ahead,
    /// A thread should have begun with it.
    Within,
}

/// A call ahead is asked back when its desk has finished nothing for so many looks: for 10 ms at least.
const PATIENCE: u32 = 2;

/// The same for a call for which there is a thread, which is asked back in case the desk's interpreter is held by somebody: 50 ms.
const PATIENCE_WITHIN: u32 = 10;

/// For so many looks a desk is handed nothing at first, and at most, which has given such a call back: from 50 ms to 1.6 s.
const SHUT: u32 = 10;
const SHUT_AT_MOST: u32 = 320;

/// Calls that are to be given back.
pub(super) struct Recall {
    desk: Arc<dyn Desk>,
    numbers: Vec<u64>,
}

impl Recall {
    /// Asks the desk for them. Gives those of which it has not heard yet.
    pub(super) fn say(mut self) -> Vec<u64> {
        self.numbers.retain(|number| !self.desk.tell(*number, Word::Recall));
        self.numbers
    }
}

impl Desks {
    pub(super) fn open(&mut self, desk: Arc<dyn Desk>, room: Room, lines: usize) -> DeskId {
        self.opened += 1;
        let id = DeskId(self.opened);
        self.places.push(Place {
            id,
            desk,
            room,
            calls: VecDeque::with_capacity(room.threads + room.ahead),
            by_line: vec![0; lines].into(),
            is_open: true,
            is_stalled: false,
            shut: 0,
            shuts: 0,
            looks: 0,
            stirred: 0,
            used: 0,
            begun: 0,
        });
        id
    }

    pub(super) fn close(&mut self, id: DeskId) -> Option<Place> {
        let at = self.places.iter().position(|place| place.id == id)?;
        Some(self.places.swap_remove(at))
    }

    pub(super) fn get_mut(&mut self, id: DeskId) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.id == id)
    }

    /// The desk that has this call.
    pub(super) fn with_call(&self, number: u64) -> Option<&Place> {
        self.places.iter().find(|place| place.calls.iter().any(|call| call.number == number))
    }

    /// The desk for the next call: one with a free thread, or else one that may be handed calls ahead, of which there may be so many at all
    /// desks together; the least loaded; the one used last.
    fn choose(&mut self, most_ahead: usize) -> Option<&mut Place> {
        let free = self.best(Place::has_free_thread);
        let nth = free.or_else(|| self.best(Place::has_room_ahead).filter(|_| self.ahead() < most_ahead))?;
        Some(&mut self.places[nth])
    }

    fn best(&self, is_eligible: impl Fn(&Place) -> bool) -> Option<usize> {
        let eligible = self.places.iter().enumerate().filter(|(_, place)| place.is_open && is_eligible(place));
        eligible.min_by_key(|(_, place)| (place.calls.len(), u64::MAX - place.used)).map(|(nth, _)| nth)
    }

    /// Gives the call to the desk for the next one, in the books.
    pub(super) fn book(&mut self, number: u64, line: usize, most_ahead: usize) -> Option<(Arc<dyn Desk>, DeskId)> {
        let handed = self.handed + 1;
        let place = self.choose(most_ahead)?;
        place.calls.push_back(Handed { number, since: place.looks, asked: Asked::No });
        place.by_line[line] += 1;
        place.used = handed;
        place.begun += 1;
        let booked = (Arc::clone(&place.desk), place.id);
        self.handed = handed;
        Some(booked)
    }

    /// Threads of open desks.
    pub(super) fn threads(&self) -> usize {
        self.open_ones().map(|place| place.room.threads).sum()
    }

    /// Calls of a line at open desks.
    pub(super) fn calls_of(&self, line: usize) -> usize {
        self.open_ones().map(|place| place.by_line[line]).sum()
    }

    fn open_ones(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| place.is_open)
    }

    /// Calls that were handed out and wait for a thread.
    pub(super) fn ahead(&self) -> usize {
        self.places.iter().map(|place| place.calls.len().saturating_sub(place.room.threads)).sum()
    }

    /// Whether there is a desk to look at.
    pub(super) fn is_any_to_be_watched(&self) -> bool {
        self.places.iter().any(Place::is_to_be_watched)
    }

    /// One look: what is to be asked back from desks that finish nothing. Says too whether a desk may be handed calls again.
    pub(super) fn look(&mut self) -> (Vec<Recall>, bool) {
        let mut recalls = Vec::new();
        let mut is_any_open_again = false;
        for place in self.places.iter_mut().filter(|place| place.is_to_be_watched()) {
            place.looks = place.looks.wrapping_add(1);
            is_any_open_again |= place.shut == 1;
            place.shut = place.shut.saturating_sub(1);
            recalls.extend(place.overdue());
        }
        (recalls, is_any_open_again)
    }

    /// These calls were asked back before their desk had heard of them.
    pub(super) fn ask_again(&mut self, numbers: &[u64]) {
        for call in self.places.iter_mut().flat_map(|place| &mut place.calls) {
            if numbers.contains(&call.number) {
                call.asked = Asked::No;
            }
        }
    }

    pub(super) fn figures(&self) -> impl Iterator<Item = DeskFigures> {
        self.places.iter().map(|place| DeskFigures {
            id: place.id,
            is_open: place.is_open,
            threads: place.room.threads,
            in_progress: place.calls.len(),
            begun: place.begun,
        })
    }
}

impl Place {
    fn has_free_thread(&self) -> bool {
        self.shut == 0 && self.calls.len() < self.room.threads
    }

    fn has_room_ahead(&self) -> bool {
        !self.is_stalled && self.shut == 0 && self.calls.len() < self.room.threads + self.room.ahead
    }

    /// The oldest call is never asked back: if anything keeps the desk from beginning with it, that is what its deadline is for.
    fn is_to_be_watched(&self) -> bool {
        self.shut > 0 || self.calls.iter().skip(1).any(|call| call.asked == Asked::No)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The call is over, or came back. Says whether the desk had it.
    pub(super) fn vacate(&mut self, number: u64, line: usize) -> bool {
        let Some(at) = self.calls.iter().position(|call| call.number == number) else { return false };
        let call = self.calls.remove(at);
        self.by_line[line] -= 1;
        if call.is_some_and(|call| call.asked == Asked::Within) && !self.calls.is_empty() {
            self.shut = (SHUT << self.shuts.min(16)).min(SHUT_AT_MOST);
            self.shuts += 1;
        }
        true
    }

    /// A call was finished.
    pub(super) const fn stir(&mut self) {
        self.is_stalled = false;
        self.shut = 0;
        self.shuts = 0;
        self.stirred = self.looks;
    }

    /// The calls to be asked back now. A desk begins in the order in which it was handed calls, so those ahead are the last ones.
    fn overdue(&mut self) -> Option<Recall> {
        let (looks, idle) = (self.looks, self.looks.wrapping_sub(self.stirred));
        let mut numbers = Vec::new();
        for (nth, call) in self.calls.iter_mut().enumerate().skip(1).filter(|(_, call)| call.asked == Asked::No) {
            let (asked, patience) = if nth < self.room.threads { (Asked::Within, PATIENCE_WITHIN) } else { (Asked::Ahead, PATIENCE) };
            if idle.min(looks.wrapping_sub(call.since)) > patience {
                call.asked = asked;
                self.is_stalled |= asked == Asked::Ahead;
                numbers.push(call.number);
            }
        }
        (!numbers.is_empty()).then(|| Recall { desk: Arc::clone(&self.desk), numbers })
    }

    /// All calls ahead.
    pub(super) fn recall(&self) -> Recall {
        let numbers = self.calls.iter().skip(self.room.threads).map(|call| call.number).collect();
        Recall { desk: Arc::clone(&self.desk), numbers }
    }
}
