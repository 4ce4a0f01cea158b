//! The life of a stack after it is built: hooks of its layers, background tasks, and state across reloads.

use std::any::Any;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Extensions;
use serde_json::Value;

use crate::cache::Purge;
use crate::state_store::StateStore;
use crate::tasks::Tasks;
use crate::{Metrics, Place, Request};

/// The hooks, background tasks and kept state of a stack. The program that runs the stack holds it as long as the stack runs.
#[derive(Clone, Default)]
pub struct Lifecycle(Arc<Inner>);

#[derive(Default)]
struct Inner {
    hooks: Mutex<Hooks>,
    state: StateStore,
    tasks: Tasks,
    host: Extensions,
}

type Hook = Arc<dyn Fn() + Send + Sync>;
type StatusHook = Arc<dyn Fn() -> Value + Send + Sync>;
type ExplainHook = Arc<dyn Fn(&Request) -> Vec<String> + Send + Sync>;
type PurgeHook = Arc<dyn Fn(&Purge) -> usize + Send + Sync>;
type ScrapeHook = Arc<dyn Fn(&mut Metrics) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) reopen: Vec<Hook>,
    pub(crate) stacks: Vec<Hook>,
    pub(crate) status: Vec<(Place, StatusHook)>,
    pub(crate) explain: Vec<(Place, ExplainHook)>,
    pub(crate) purge: Vec<(Place, PurgeHook)>,
    pub(crate) scrape: Vec<ScrapeHook>,
    pub(crate) shutdown: Vec<Box<dyn FnOnce() + Send>>,
}

impl Lifecycle {
    /// A lifecycle with facts about the program, which layers and apps read with [`Context::host`](crate::Context::host). Successors have the same facts.
    #[must_use]
    pub fn hosted(host: Extensions) -> Self {
        Self(Arc::new(Inner { host, ..Inner::default() }))
    }

    /// The lifecycle of the stack that replaces this one: without hooks and tasks, and with access to the state that this stack keeps. State that the new stack does not
    /// ask for is dropped with this lifecycle.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self(Arc::new(Inner { state: self.0.state.successor(), host: self.0.host.clone(), ..Inner::default() }))
    }

    /// The places whose state this stack keeps for its successor ([`Context::keep`](crate::Context::keep)).
    #[must_use]
    pub fn kept(&self) -> HashSet<Place> {
        self.0.state.places()
    }

    /// Opens log files again.
    pub fn reopen(&self) {
        let hooks = self.hooks().reopen.clone();
        for hook in hooks {
            hook();
        }
    }

    /// Logs the stacks of all app threads.
    pub fn stacks(&self) {
        let hooks = self.hooks().stacks.clone();
        for hook in hooks {
            hook();
        }
    }

    /// The status of the layers and apps, each with its place, in the order in which they were built.
    #[must_use]
    pub fn status(&self) -> Vec<(Place, Value)> {
        let hooks = self.hooks().status.clone();
        hooks.into_iter().map(|(place, hook)| (place, hook())).collect()
    }

    /// What the layer or app at this place says of a request now ([`Context::on_explain`](crate::Context::on_explain)).
    #[must_use]
    pub fn explain(&self, place: &Place, request: &Request) -> Vec<String> {
        let hooks: Vec<ExplainHook> = self.hooks().explain.iter().filter(|(at, _)| at == place).map(|(_, hook)| Arc::clone(hook)).collect();
        hooks.iter().flat_map(|hook| hook(request)).collect()
    }

    /// Has the caches of the stack remove stored responses, and returns how many each of them has removed, by place, in the order in which they were built.
    #[must_use]
    pub fn purge(&self, purge: &Purge) -> Vec<(Place, usize)> {
        let hooks = self.hooks().purge.clone();
        hooks.into_iter().map(|(place, hook)| (place, hook(purge))).collect()
    }

    /// The metrics of all layers and apps.
    #[must_use]
    pub fn scrape(&self) -> Metrics {
        let hooks = self.hooks().scrape.clone();
        let mut metrics = Metrics::default();
        for hook in hooks {
            hook(&mut metrics);
        }
        metrics
    }

    /// Tells the layers and apps that the server drains ([`Context::draining`](crate::Context::draining)). Call it when the server begins to stop.
    pub fn drain(&self) {
        self.0.tasks.drain();
    }

    /// Ends the background tasks ([`Context::spawn`](crate::Context::spawn)) and waits for them, at most 5 s. Call it when the stack serves no more requests, before
    /// [`Lifecycle::shutdown`]. A second call has no effect.
    pub async fn retire(&self) {
        self.0.tasks.retire().await;
    }

    /// Runs the shutdown hooks on this thread, newest first. A second call has no effect.
    ///
    /// Without a call of [`Lifecycle::retire`], as for a stack that cannot be built, the background tasks are cancelled and not waited for.
    pub fn shutdown(&self) {
        self.0.tasks.cancel();
        let hooks = std::mem::take(&mut self.hooks().shutdown);
        for hook in hooks.into_iter().rev() {
            hook();
        }
    }

    pub(crate) fn keep<T: Any + Send + Sync>(&self, place: &Place, make: impl FnOnce() -> T) -> Arc<T> {
        self.0.state.keep(place, make)
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(crate) fn host(&self) -> &Extensions {
        &self.0.host
    }

    pub(crate) fn hooks(&self) -> MutexGuard<'_, Hooks> {
        self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lifecycle")
    }
}

/// A handle to the metrics of a whole stack, for an app that shows them.
#[derive(Clone, Debug)]
pub struct Scraper(pub(crate) Lifecycle);

impl Scraper {
    /// The current metrics.
    #[must_use]
    pub fn scrape(&self) -> Metrics {
        self.0.scrape()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;
    use crate::Context;

    fn context(place: &str, lifecycle: &Lifecycle) -> Context {
        Context::new(place, Path::new("/srv"), lifecycle.clone())
    }

    #[test]
    fn shutdown_hooks_run_once_and_newest_first() {
        let lifecycle = Lifecycle::default();
        let context = context("x", &lifecycle);
        let log = Arc::new(Mutex::new(Vec::new()));
        for n in [1, 2] {
            let log = Arc::clone(&log);
            context.on_shutdown(move || log.lock().unwrap().push(n));
        }
        lifecycle.shutdown();
        lifecycle.shutdown();
        assert_eq!(*log.lock().unwrap(), [2, 1]);
    }

    #[tokio::test]
    async fn a_drain_is_known_in_the_stack_that_drains_and_not_in_its_successor() {
        let lifecycle = Lifecycle::default();
        let (draining, next) = (context("x", &lifecycle).draining(), context("x", &lifecycle.successor()).draining());
        assert!(draining.wait().now_or_never().is_none());
        lifecycle.drain();
        draining.wait().await;
        assert!(next.wait().now_or_never().is_none());
    }

    #[test]
    fn stacks_and_reopen_run_their_own_hooks_each_time() {
        let lifecycle = Lifecycle::default();
        let context = context("wsgi", &lifecycle);
        let (reopened, dumped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (on_reopen, on_stacks) = (Arc::clone(&reopened), Arc::clone(&dumped));
        context.on_reopen(move || _ = on_reopen.fetch_add(1, Ordering::SeqCst));
        context.on_stacks(move || _ = on_stacks.fetch_add(1, Ordering::SeqCst));
        lifecycle.stacks();
        lifecycle.stacks();
        lifecycle.reopen();
        assert_eq!((reopened.load(Ordering::SeqCst), dumped.load(Ordering::SeqCst)), (1, 2));
    }

    #[test]
    fn status_is_told_by_place_in_build_order() {
        let lifecycle = Lifecycle::default();
        context("wsgi", &lifecycle).on_status(|| json!({ "busy": 1 }));
        context("limit", &lifecycle).on_status(|| json!(2));
        let status: Vec<(String, Value)> = lifecycle.status().into_iter().map(|(place, value)| (place.to_string(), value)).collect();
        assert_eq!(status, [("wsgi".to_owned(), json!({ "busy": 1 })), ("limit".to_owned(), json!(2))]);
    }

    #[test]
    fn a_scraper_sees_what_was_built_after_it() {
        let lifecycle = Lifecycle::default();
        let scraper = context("metrics", &lifecycle).scraper();
        for place in ["wsgi", "shop"] {
            context(place, &lifecycle).on_scrape(move |metrics| {
                metrics.gauge("busy", "Threads at work.").sample(&[("place", place)], 1_u64);
            });
        }
        let text = scraper.scrape().to_string();
        assert_eq!(text, "# HELP busy Threads at work.\n# TYPE busy gauge\nbusy{place=\"wsgi\"} 1\nbusy{place=\"shop\"} 1\n");
    }

    #[test]
    fn facts_about_the_program_are_there_for_every_generation() {
        let mut host = Extensions::new();
        host.insert("ziggurat");
        let lifecycle = Lifecycle::hosted(host);
        assert_eq!(context("app", &lifecycle.successor()).host::<&str>(), Some(&"ziggurat"));
        assert_eq!(context("app", &Lifecycle::default()).host::<&str>(), None);
    }

    #[test]
    fn a_successor_has_no_hooks_of_its_predecessor() {
        let lifecycle = Lifecycle::default();
        context("app", &lifecycle).on_status(|| Value::Null);
        assert!(lifecycle.successor().status().is_empty());
    }
}
