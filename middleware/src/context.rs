//! What a layer or an app gets while it is built.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::cache::Purge;
use crate::lifecycle::{Lifecycle, Scraper};
use crate::spool::SpoolOptions;
use crate::store::Store;
use crate::{Client, Draining, Finding, Metrics, Place, Request, ReserveClass, Result, Retired, Watcher};

/// What a layer or an app gets while it is built: its place, the folder of relative paths, state across reloads, background tasks, and hooks.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use ziggurat_middleware::{Context, Finding, Result};
///
/// fn open(context: &Context) -> Result<()> {
///     // Relative paths start at the pipeline file.
///     let file = context.resolve("words.txt");
///     let words = std::fs::read_to_string(&file).map_err(|error| Finding::new(format!("cannot read `{}`: {error}", file.display())).at("words"))?;
///     // After a reload, this is the count of the previous stack.
///     let seen = context.keep(AtomicU64::default);
///     seen.fetch_add(words.split_whitespace().count() as u64, Ordering::Relaxed);
///     // `ziggurat status` shows it, and the log states it after the last request.
///     let hook = Arc::clone(&seen);
///     context.on_status(move || hook.load(Ordering::Relaxed).into());
///     context.on_shutdown(move || tracing::info!("{} words seen", seen.load(Ordering::Relaxed)));
///     Ok(())
/// }
/// # let folder = tempfile::tempdir().unwrap();
/// # std::fs::write(folder.path().join("words.txt"), "three small words").unwrap();
/// # let lifecycle = ziggurat_middleware::Lifecycle::default();
/// # open(&Context::new("words", folder.path(), lifecycle.clone())).unwrap();
/// # assert_eq!(lifecycle.status()[0].1, 3);
/// ```
///
/// Do not capture `Context` in a hook: it creates a reference cycle and leaks the stack.
#[derive(Clone)]
#[non_exhaustive]
pub struct Context {
    place: Place,
    base: Arc<Path>,
    lifecycle: Lifecycle,
    reserves: Arc<[Reserve]>,
    withheld: Arc<[String]>,
    drain: Duration,
    spool: Arc<SpoolOptions>,
    store: Option<Arc<dyn Store>>,
}

/// The default of [`Context::drain`].
const DRAIN: Duration = Duration::from_secs(30);

/// Threads of an app that a route reserves for its requests, which carry the fact [`ReserveClass`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// The requests that may use them.
    pub class: ReserveClass,
    /// The number of threads, at least 1.
    pub threads: usize,
}

impl Context {
    /// The context of the layer or app at `place`. Relative paths start at the folder `base`.
    pub fn new(place: impl Into<Place>, base: impl Into<Arc<Path>>, lifecycle: Lifecycle) -> Self {
        Self {
            place: place.into(),
            base: base.into(),
            lifecycle,
            reserves: Arc::default(),
            withheld: Arc::default(),
            drain: DRAIN,
            spool: Arc::default(),
            store: None,
        }
    }

    /// Sets the threads that routes reserve of the app.
    #[must_use]
    pub fn with_reserves(self, reserves: impl Into<Arc<[Reserve]>>) -> Self {
        Self { reserves: reserves.into(), ..self }
    }

    /// Sets the variables of the environment that belong to other parts of the pipeline.
    #[must_use]
    pub fn with_withheld(self, names: impl Into<Arc<[String]>>) -> Self {
        Self { withheld: names.into(), ..self }
    }

    /// Sets the drain time.
    #[must_use]
    pub fn with_drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// Sets where bodies wait, and how much they may take.
    #[must_use]
    pub fn with_spool(self, spool: Arc<SpoolOptions>) -> Self {
        Self { spool, ..self }
    }

    /// Sets the store that this process shares with others.
    #[must_use]
    pub fn with_store(self, store: Option<Arc<dyn Store>>) -> Self {
        Self { store, ..self }
    }

    /// The identity of this layer or app in the pipeline.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// The path that the file means: a relative path starts at the folder of the pipeline file.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.join(path)
    }

    /// The threads of this app that routes reserve, in file order. They have no meaning for an app without threads.
    #[must_use]
    pub fn reserves(&self) -> &[Reserve] {
        &self.reserves
    }

    /// The variables of the environment that only other parts of the pipeline file name in `${...}`. An app does not pass them on to its processes.
    #[must_use]
    pub fn withheld(&self) -> &[String] {
        &self.withheld
    }

    /// How long requests of a replaced stack or worker may take before they are cut off; 30 s by default.
    #[must_use]
    pub fn drain(&self) -> Duration {
        self.drain
    }

    /// Where bodies wait, and how much they may take: `server.spool`.
    #[must_use]
    pub fn spool(&self) -> &SpoolOptions {
        &self.spool
    }

    /// The folder of the temporary files that bodies wait in.
    #[must_use]
    pub fn spool_folder(&self) -> PathBuf {
        self.spool.folder(&self.base)
    }

    /// The store that this process shares with others: `server.store`, or an `Arc<dyn Store>` among the facts about the program ([`Context::host`]). A layer below a Python layer has none.
    #[must_use]
    pub fn store(&self) -> Option<&Arc<dyn Store>> {
        self.store.as_ref().or_else(|| self.host())
    }

    /// A fact about the program: a value of this type among those that the program gave to [`Lifecycle::hosted`].
    #[must_use]
    pub fn host<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.lifecycle.host().get()
    }

    /// The HTTP client of the program, for layers that ask other servers.
    ///
    /// # Errors
    ///
    /// If the program has none; `?` shows it at the layer's place in the file.
    pub fn client(&self) -> Result<Client> {
        let client = self.host::<Client>().cloned();
        client.ok_or_else(|| {
            Finding::new("this program has no HTTP client for its layers").hint("leave a `Client` with the stack's `Lifecycle`")
        })
    }

    /// Rebuilds the stack when code in this folder changes, if the program watches for changes (`ziggurat run --watch`). Call it before the code is read, so that no
    /// change is missed.
    pub fn watch(&self, folder: impl AsRef<Path>) {
        if let Some(watcher) = self.host::<Watcher>() {
            watcher.watch(folder.as_ref());
        }
    }

    /// Whether the program watches for changes of the code, as in development.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.host::<Watcher>().is_some()
    }

    /// State that survives a reload. If the layer or app of the same [`Place`] kept a `T` in the previous generation, this is it; otherwise `make`
    /// gives it. State that the new generation does not ask for is dropped with the old one.
    pub fn keep<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.lifecycle.keep(&self.place, make)
    }

    /// Runs a background task that belongs to the stack, for instance health checks or the refresh of a cache.
    ///
    /// The task runs until it ends or the stack retires. A stack retires after its last request, before its shutdown hooks run; the task is then dropped at its
    /// next `await`. If the task panics, the log names the layer's place, and the task is not restarted. If the stack cannot be built, its tasks end. During a
    /// reload, the tasks of the new stack start before those of the old one end.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ziggurat_middleware::{Context, Lifecycle};
    ///
    /// fn refresh_every_minute(context: &Context) {
    ///     context.spawn(async {
    ///         loop {
    ///             tokio::time::sleep(Duration::from_secs(60)).await;
    ///             // Fetch what has changed.
    ///         }
    ///     });
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// # let lifecycle = Lifecycle::default();
    /// # refresh_every_minute(&Context::new("keys", std::path::Path::new("/"), lifecycle.clone()));
    /// # lifecycle.retire().await;
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, as [`tokio::spawn`]. Stacks are always built inside of one, also in workers and under other WSGI servers.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.lifecycle.tasks().spawn(&self.place, task);
    }

    /// The signal that the server drains, at the beginning of the drain: WebSockets are told to go away. It does not come at a reload, after which the server goes on.
    #[must_use]
    pub fn draining(&self) -> Draining {
        self.lifecycle.tasks().draining()
    }

    /// The signal that the stack retires, for response bodies and connections that do not end by themselves.
    #[must_use]
    pub fn retired(&self) -> Retired {
        self.lifecycle.tasks().retired()
    }

    /// Registers a hook that opens log files again (SIGUSR1). It must not block for long.
    pub fn on_reopen(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.lifecycle.hooks().reopen.push(Arc::new(hook));
    }

    /// Registers a hook that logs the stacks of the app's threads (SIGUSR2). It must not block for long.
    pub fn on_stacks(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.lifecycle.hooks().stacks.push(Arc::new(hook));
    }

    /// Registers a hook that gives the status of the layer or app (`ziggurat status`). It must not block.
    pub fn on_status(&self, hook: impl Fn() -> Value + Send + Sync + 'static) {
        self.lifecycle.hooks().status.push((self.place.clone(), Arc::new(hook)));
    }

    /// Registers a hook that says what the running layer or app knows about a request (`ziggurat explain --live`), for instance how much of a limit is used up. It gets a
    /// request as [`Explain`](crate::Explain) does. It runs on a thread that may wait, for a second at most, and changes nothing.
    pub fn on_explain(&self, hook: impl Fn(&Request) -> Vec<String> + Send + Sync + 'static) {
        self.lifecycle.hooks().explain.push((self.place.clone(), Arc::new(hook)));
    }

    /// Registers a hook that removes stored responses (`ziggurat purge`), and returns how many. It must not block for long.
    pub fn on_purge(&self, hook: impl Fn(&Purge) -> usize + Send + Sync + 'static) {
        self.lifecycle.hooks().purge.push((self.place.clone(), Arc::new(hook)));
    }

    /// Registers a hook that adds metrics to every scrape. It must not block. If several places add samples to a family, a label must distinguish them, for instance with
    /// [`Context::place`].
    pub fn on_scrape(&self, hook: impl Fn(&mut Metrics) + Send + Sync + 'static) {
        self.lifecycle.hooks().scrape.push(Arc::new(hook));
    }

    /// A handle to the metrics of the whole stack.
    #[must_use]
    pub fn scraper(&self) -> Scraper {
        Scraper(self.lifecycle.clone())
    }

    /// Registers a hook that runs when the stack has retired: its requests are over, and its background tasks have ended. The hooks run newest first. They may block.
    pub fn on_shutdown(&self, hook: impl FnOnce() + Send + 'static) {
        self.lifecycle.hooks().shutdown.push(Box::new(hook));
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("place", &self.place).field("base", &self.base).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::Extensions;

    use super::*;

    #[test]
    fn a_program_that_watches_hears_of_folders_and_others_do_not() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut host = Extensions::new();
        let ear = Arc::clone(&heard);
        host.insert(Watcher::new(move |folder| ear.lock().unwrap().push(folder.to_owned())));
        let watched = Context::new("app", PathBuf::from("/srv"), Lifecycle::hosted(host));
        watched.watch("/srv/site");
        assert!(watched.is_watched());
        assert_eq!(*heard.lock().unwrap(), [PathBuf::from("/srv/site")]);
        let unwatched = Context::new("app", PathBuf::from("/srv"), Lifecycle::default());
        unwatched.watch("/srv/site");
        assert!(!unwatched.is_watched());
        assert_eq!(heard.lock().unwrap().len(), 1);
    }

    #[test]
    fn relative_paths_start_at_the_files_folder() {
        let context = Context::new("app", PathBuf::from("/srv/site"), Lifecycle::default());
        assert_eq!(context.resolve("static"), PathBuf::from("/srv/site/static"));
        assert_eq!(context.resolve("/static"), PathBuf::from("/static"));
    }
}
