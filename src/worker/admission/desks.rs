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
    pub(super) calls: VecDeque<u64>,
    /// How many of them came by which line.
    by_line: Box<[usize]>,
    /// It is handed calls.
    pub(super) is_open: bool,
    /// It has calls ahead and gets nowhere: it is handed nothing ahead.
    is_stalled: bool,
    /// Looks of the watch since it last finished a call.
    quiet: u8,
    used: u64,
    begun: u64,
}

/// Calls that are to be given back.
pub(super) struct Recall {
    desk: Arc<dyn Desk>,
    numbers: Vec<u64>,
}

impl Recall {
    /// Asks the desk for them.
    pub(super) fn say(self) {
        for number in self.numbers {
            self.desk.tell(number, Word::Recall);
        }
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
            quiet: 0,
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
        self.places.iter().find(|place| place.calls.contains(&number))
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
        place.calls.push_back(number);
        place.by_line[line] += 1;
        place.used = handed;
        place.begun += 1;
        if place.calls.len() == place.room.threads + 1 {
            place.quiet = 0;
        }
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

    /// Whether a desk has calls ahead that may have to be taken back.
    pub(super) fn is_any_ahead(&self) -> bool {
        self.open_ones().any(|place| place.is_ahead() && !place.is_stalled)
    }

    /// One look: what is to be taken back from desks that finished nothing during the last `patience` looks.
    pub(super) fn stalled(&mut self, patience: u8) -> Vec<Recall> {
        let mut recalls = Vec::new();
        for place in self.places.iter_mut().filter(|place| place.is_open && place.is_ahead() && !place.is_stalled) {
            place.quiet += 1;
            if place.quiet > patience {
                place.is_stalled = true;
                recalls.push(place.recall());
            }
        }
        recalls
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
        self.calls.len() < self.room.threads
    }

    fn has_room_ahead(&self) -> bool {
        !self.is_stalled && self.calls.len() < self.room.threads + self.room.ahead
    }

    fn is_ahead(&self) -> bool {
        self.calls.len() > self.room.threads
    }

    /// The call is over. Says whether the desk had it.
    pub(super) fn vacate(&mut self, number: u64, line: usize) -> bool {
        let Some(at) = self.calls.iter().position(|call| *call == number) else { return false };
        self.calls.remove(at);
        self.by_line[line] -= 1;
        true
    }

    /// A call was finished.
    pub(super) const fn stir(&mut self) {
        self.is_stalled = false;
        self.quiet = 0;
    }

    /// The calls ahead. A desk begins in the order in which it was handed calls, so they are the last ones.
    pub(super) fn recall(&self) -> Recall {
        Recall { desk: Arc::clone(&self.desk), numbers: self.calls.iter().skip(self.room.threads).copied().collect() }
    }
}
