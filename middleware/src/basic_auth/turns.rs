//! Turns of work, shared fairly between clients.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::ClientShare;

/// Gives a few turns at a time: to the clients that wait in rotation, and to each in the order of its requests.
pub(super) struct Turns {
    at_a_time: usize,
    most_of_one: usize,
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    waiting: VecDeque<(ClientShare, VecDeque<oneshot::Sender<Turn>>)>,
}

/// A turn; dropping it gives the next.
pub(super) struct Turn(Option<Arc<Turns>>);

impl Turns {
    /// So many turns at a time, and at most so many requests that wait: of one client, and of all.
    pub(super) fn new(at_a_time: usize, most_of_one: usize, most: usize) -> Self {
        Self { at_a_time, most_of_one, most, state: Mutex::default() }
    }

    /// Waits for a turn; `None` if too many wait. Where all together are too many, those of the client that has most are refused.
    pub(super) async fn wait(self: &Arc<Self>, client: ClientShare) -> Option<Turn> {
        let turn = {
            let mut state = self.lock();
            if state.running < self.at_a_time {
                state.running += 1;
                return Some(Turn(Some(Arc::clone(self))));
            }
            state.enter(client, self.most_of_one, self.most)?
        };
        turn.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, client: ClientShare, most_of_one: usize, most: usize) -> Option<oneshot::Receiver<Turn>> {
        self.waiting.retain_mut(|(_, turns)| {
            turns.retain(|turn| !turn.is_closed());
            !turns.is_empty()
        });
        let own = self.waiting.iter().position(|(other, _)| *other == client);
        let count = own.map_or(0, |own| self.waiting[own].1.len());
        if count >= most_of_one {
            return None;
        }
        if self.waiting.iter().map(|(_, turns)| turns.len()).sum::<usize>() >= most {
            let (_, longest) = self.waiting.iter_mut().max_by_key(|(_, turns)| turns.len())?;
            if longest.len() <= count + 1 {
                return None;
            }
            longest.pop_back();
        }
        let (give, turn) = oneshot::channel();
        match own {
            Some(own) => self.waiting[own].1.push_back(give),
            None => self.waiting.push_back((client, VecDeque::from([give]))),
        }
        Some(turn)
    }

    /// The request that has waited longest of the client whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (client, mut turns) = self.waiting.pop_front()?;
        let next = turns.pop_front();
        if !turns.is_empty() {
            self.waiting.push_back((client, turns));
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(mut queue) = self.0.take() else { return };
        loop {
            let mut state = queue.lock();
            let Some(next) = state.next() else {
                state.running -= 1;
                return;
            };
            drop(state);
            match next.send(Self(Some(queue))) {
                Ok(()) => return,
                // Whoever waited has gone.
                Err(mut turn) => match turn.0.take() {
                    Some(back) => queue = back,
                    None => return,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::task::Poll;

    use futures_util::{FutureExt, poll};

    use super::*;

    fn client(last: u8) -> ClientShare {
        Some(IpAddr::from([192, 0, 2, last])).into()
    }

    #[tokio::test]
    async fn a_client_that_asks_once_waits_for_one_turn_of_a_client_that_asks_often() {
        let turns = Arc::new(Turns::new(1, 100, 1000));
        let running = turns.wait(client(1)).await.unwrap();
        let mut often: Vec<_> = (0..50).map(|_| Box::pin(turns.wait(client(1)))).collect();
        for wait in &mut often {
            assert!(poll!(wait).is_pending());
        }
        let mut once = Box::pin(turns.wait(client(2)));
        assert!(poll!(&mut once).is_pending());
        drop(running);
        let first = often[0].as_mut().now_or_never().unwrap().unwrap();
        assert!(poll!(&mut once).is_pending());
        drop(first);
        assert!(matches!(poll!(&mut once), Poll::Ready(Some(_))));
    }

    #[tokio::test]
    async fn what_is_too_much_is_refused_to_the_client_that_has_most() {
        let turns = Arc::new(Turns::new(1, 3, 4));
        let _running = turns.wait(client(1)).await.unwrap();
        let mut often: Vec<_> = (0..4).map(|_| Box::pin(turns.wait(client(1)))).collect();
        let states: Vec<_> = often.iter_mut().map(|wait| wait.now_or_never().map(|turn| turn.is_some())).collect();
        assert_eq!(states, [None, None, None, Some(false)]);
        let mut others: Vec<_> = (2..6).map(|last| Box::pin(turns.wait(client(last)))).collect();
        for wait in &mut others[..3] {
            assert!(poll!(wait).is_pending());
        }
        // The last two of the first client have made room, and everybody has as much now.
        assert!(matches!(poll!(&mut often[2]), Poll::Ready(None)) && matches!(poll!(&mut often[1]), Poll::Ready(None)));
        assert!(matches!(poll!(&mut others[3]), Poll::Ready(None)));
    }

    #[tokio::test]
    async fn the_turn_of_whoever_has_gone_is_the_next_ones() {
        let turns = Arc::new(Turns::new(1, 100, 100));
        let running = turns.wait(client(1)).await.unwrap();
        let mut gone = Box::pin(turns.wait(client(2)));
        let mut stays = Box::pin(turns.wait(client(3)));
        assert!(poll!(&mut gone).is_pending() && poll!(&mut stays).is_pending());
        drop(gone);
        drop(running);
        drop(stays.now_or_never().unwrap().unwrap());
        assert!(turns.wait(client(1)).now_or_never().unwrap().is_some());
    }

    #[test]
    fn the_addresses_that_one_ipv6_client_has_are_one_client() {
        let client = |text: &str| ClientShare::from(Some(text.parse().unwrap()));
        assert_eq!(client("2001:db8::1"), client("2001:db8::2:3"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_ne!(client("::ffff:192.0.2.1"), client("::ffff:192.0.2.2"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    }
}
