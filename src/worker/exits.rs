//! The ends of processes that are no children of this one: their parent reports them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::boot::Ended;

/// The ends of processes, as their parent reports them.
#[derive(Default)]
pub(crate) struct ExitReports {
    told: Mutex<Told>,
    news: Notify,
}

#[derive(Default)]
struct Told {
    /// The newest is last.
    ended: VecDeque<Ended>,
    /// The parent is gone and reports no more.
    is_over: bool,
}

/// How many ends are kept: more than a pool has processes.
const REMEMBERED: usize = 1024;

impl ExitReports {
    /// Waits for the end of a process; `None` if nobody reports it.
    pub(crate) async fn of(&self, pid: u32) -> Option<Ended> {
        loop {
            let news = self.news.notified();
            if let Some(ended) = self.find(pid) {
                return Some(ended);
            }
            if self.is_over() {
                return None;
            }
            news.await;
        }
    }

    /// The end of a process, if it has been reported.
    pub(crate) fn find(&self, pid: u32) -> Option<Ended> {
        self.lock().ended.iter().rev().find(|ended| ended.pid == pid).copied()
    }

    /// Forgets a process; its id may be used again.
    pub(crate) fn forget(&self, pid: u32) {
        self.lock().ended.retain(|ended| ended.pid != pid);
    }

    /// Whether the parent is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Notes an end.
    pub(crate) fn report(&self, ended: Ended) {
        let mut told = self.lock();
        if told.ended.len() >= REMEMBERED {
            told.ended.pop_front();
        }
        told.ended.push_back(ended);
        drop(told);
        self.news.notify_waiters();
    }

    /// Notes that the parent is gone.
    pub(crate) fn end(&self) {
        self.lock().is_over = true;
        self.news.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn an_end_that_was_reported_before_anybody_waited_is_known() {
        let exits = ExitReports::default();
        exits.report(Ended { pid: 7, code: Some(3), signal: None });
        assert_eq!(exits.of(7).await.and_then(|ended| ended.code), Some(3));
        assert!(exits.find(7).is_some() && exits.find(8).is_none());
    }

    #[tokio::test]
    async fn waiting_for_an_end_that_nobody_reports_any_more_ends() {
        let exits = Arc::new(ExitReports::default());
        let waiting = tokio::spawn({
            let exits = Arc::clone(&exits);
            async move { exits.of(7).await.is_none() }
        });
        tokio::task::yield_now().await;
        exits.end();
        assert!(waiting.await.unwrap());
    }
}
