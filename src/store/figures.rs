//! What is known of a store: whether it answers, how fast, and how often it did not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use ziggurat_middleware::metrics::{Counter, Histogram};
use ziggurat_middleware::{Metrics, Summary};

/// Why a question had no answer.
#[derive(Clone, Copy)]
pub(super) enum Failure {
    Unreachable,
    Timeout,
    /// An error in place of an answer.
    Refused,
    /// Too many questions are under way.
    Full,
}

impl Failure {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Unreachable, "unreachable"), (Self::Timeout, "timeout"), (Self::Refused, "refused"), (Self::Full, "full")];
}

/// The figures of one store, and its log.
pub(super) struct Figures {
    name: Arc<str>,
    answers: Histogram,
    failures: [Counter; Failure::ALL.len()],
    state: Mutex<State>,
    logged: Summary<&'static str>,
}

struct State {
    is_up: bool,
    since: Instant,
    /// Why it is down.
    why: String,
}

/// Upper bounds of answer times, in seconds.
const ANSWERS: &[f64] = &[0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1];

impl Figures {
    pub(super) fn new(name: String) -> Self {
        let state = State { is_up: false, since: Instant::now(), why: "no connection yet".to_owned() };
        Self {
            name: name.into(),
            answers: Histogram::new(ANSWERS),
            failures: Default::default(),
            state: Mutex::new(state),
            logged: Summary::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn observe(&self, time: Duration) {
        self.answers.observe(time);
    }

    pub(super) fn answered(&self) -> u64 {
        self.answers.get().count
    }

    pub(super) fn count(&self, failure: Failure) {
        self.failures[failure as usize].add(1);
    }

    /// Why it is down.
    pub(super) fn why(&self) -> String {
        self.state().why.clone()
    }

    pub(super) fn came_up(&self) {
        let down =
            std::mem::replace(&mut *self.state(), State { is_up: true, since: Instant::now(), why: "the connection has ended".to_owned() });
        let store = Arc::clone(&self.name);
        let again =
            move |count, _, seconds| tracing::info!(%store, count, "the store answers again: {count} more times within {seconds} s");
        if self.logged.begins("up", String::new, again) {
            let (store, seconds) = (&*self.name, down.since.elapsed().as_secs());
            tracing::info!(store, "the store answers, after {seconds} s");
        }
    }

    /// The state changes, or the reason why it is down.
    pub(super) fn went_down(&self, why: String) {
        let mut state = self.state();
        let is_news = state.is_up || state.why != why;
        let since = if state.is_up { Instant::now() } else { state.since };
        *state = State { is_up: false, since, why: why.clone() };
        drop(state);
        let store = Arc::clone(&self.name);
        let again = move |count, why, seconds| tracing::warn!(%store, count, "the store failed {count} more times within {seconds} s, the last time for this reason: {why}");
        if is_news && self.logged.begins("down", || why.clone(), again) {
            let store = &*self.name;
            tracing::warn!(store, "the store does not decide, layers do what `on_store_failure` says: {why}");
        }
    }

    pub(super) fn status(&self) -> Value {
        let state = self.state();
        json!({
            "store": &*self.name,
            "state": if state.is_up { "up" } else { "down" },
            "for_s": state.since.elapsed().as_secs(),
            "reason": if state.is_up { None } else { Some(&state.why) },
        })
    }

    pub(super) fn scrape(&self, metrics: &mut Metrics, under_way: usize) {
        let store = ("store", self.name());
        metrics.gauge("ziggurat_store_up", "Whether the store answers.").sample(&[store], u64::from(self.state().is_up));
        metrics.gauge("ziggurat_store_requests", "Commands that wait for the store.").sample(&[store], under_way);
        metrics.histogram("ziggurat_store_answer_seconds", "Times to the answers of the store.").sample(&[store], &self.answers);
        let failures = metrics.counter("ziggurat_store_failures_total", "Questions without an answer of the store.");
        for ((_, reason), count) in Failure::ALL.iter().zip(&self.failures) {
            failures.sample(&[store, ("reason", *reason)], count);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
