//! What a layer or an app is given while it is built.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::lifecycle::{Lifecycle, Scraper};
use crate::{Client, Finding, Metrics, Place, ReserveClass, Result, Retired, Watcher};

/// The surroundings of a layer under construction: its place in the file, the folder that relative paths start from, and the
/// moments of the program it may take part in.
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
///     // A reload finds the count of the stack before.
///     let seen = context.keep(AtomicU64::default);
///     seen.fetch_add(words.split_whitespace().count() as u64, Ordering::Relaxed);
///     // Shown by `ziggurat status`, and written down at the end, after the last request.
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
/// It never gives the configuration of other layers. Do not capture `Context` in a hook: it creates a reference cycle and leaks the stack.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    place: Place,
    base: Arc<Path>,
    lifecycle: Lifecycle,
    reserves: Arc<[Reserve]>,
    drain: Duration,
}

/// How long what is replaced may go on where nobody says otherwise.
const DRAIN: Duration = Duration::from_secs(30);

/// Threads of an app that a route above it keeps for its own requests, which carry the fact [`ReserveClass`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Which requests may use them.
    pub class: ReserveClass,
    /// How many threads are kept, at least one.
    pub threads: usize,
}

impl Context {
    /// A context for the layer or app at `place`; relative paths start from `base`.
    pub fn new(place: impl Into<Place>, base: impl Into<Arc<Path>>, lifecycle: Lifecycle) -> Self {
        Self { place: place.into(), base: base.into(), lifecycle, reserves: Arc::default(), drain: DRAIN }
    }

    /// This context with what the routes above the app keep of its threads.
    #[must_use]
    pub fn with_reserves(self, reserves: impl Into<Arc<[Reserve]>>) -> Self {
        Self { reserves: reserves.into(), ..self }
    }

    /// This context with the time that requests have to finish where what serves them is replaced.
    #[must_use]
    pub fn with_drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// The identity of this layer or app in the pipeline.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// A path as the file means it: relative ones start at the file's folder.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.join(path)
    }

    /// What the routes by which requests may reach this app keep of its threads, in file order. For an app that has no threads it means nothing.
    #[must_use]
    pub fn reserves(&self) -> &[Reserve] {
        &self.reserves
    }

    /// How long requests may go on in what is about to be replaced, and are then cut off: 30 s where the program did not say otherwise.
    #[must_use]
    pub fn drain(&self) -> Duration {
        self.drain
    }

    /// A fact about the program that runs the stack, where it left one of this type with its [`Lifecycle`].
    #[must_use]
    pub fn host<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.lifecycle.host().get()
    }

    /// The HTTP client of the program, for layers that ask other servers.
    ///
    /// # Errors
    ///
    /// That the program has none; `?` shows it at the layer's place in the file.
    pub fn client(&self) -> Result<Client> {
        let client = self.host::<Client>().cloned();
        client.ok_or_else(|| {
            Finding::new("this program has no HTTP client for its layers").hint("leave a `Client` with the stack's `Lifecycle`")
        })
    }

    /// Has the stack built anew when code in this folder or below it changes, where the program watches for that (`ziggurat run --watch`). To be
    /// called before the code is read, so that no change is missed.
    pub fn watch(&self, folder: impl AsRef<Path>) {
        if let Some(watcher) = self.host::<Watcher>() {
            watcher.watch(folder.as_ref());
        }
    }

    /// Whether the program watches code, so that the stack is built anew often and only its author uses it.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.host::<Watcher>().is_some()
    }

    /// State that survives a reload. If the layer or app of the same [`Place`] kept a `T` in the previous generation, this is it; otherwise `make`
    /// gives it. State that the new generation does not ask for is dropped with the old one.
    pub fn keep<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.lifecycle.keep(&self.place, make)
    }

    /// Runs a background task that belongs to the stack: health checks, a cache that is refreshed, keys that are fetched again.
    ///
    /// It runs on the runtime of the stack until it ends or the stack retires, which is after the last request, before the shutdown hooks. Then it is
    /// dropped where it awaits. If it panics, the log says so with the layer's place, and it is not started again. A task of a stack that cannot be built ends,
    /// too. A reload starts the tasks of the new stack before those of the old one end.
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
    /// Outside of a tokio runtime, as [`tokio::spawn`] does. Stacks are built inside of one, those of workers and of other WSGI servers too.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.lifecycle.tasks().spawn(&self.place, task);
    }

    /// Tells when the stack retires, for response bodies and connections that would otherwise not end.
    #[must_use]
    pub fn retired(&self) -> Retired {
        self.lifecycle.tasks().retired()
    }

    /// Runs `hook` when log files are to be opened again (SIGUSR1). It must not block for long.
    pub fn on_reopen(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.lifecycle.hooks().reopen.push(Arc::new(hook));
    }

    /// Runs `hook` when the log is to show where all of the app's threads are (SIGUSR2). It must not block for long.
    pub fn on_stacks(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.lifecycle.hooks().stacks.push(Arc::new(hook));
    }

    /// Has `hook` say how this layer or app fares whenever somebody asks (`ziggurat status`). It must not block.
    pub fn on_status(&self, hook: impl Fn() -> Value + Send + Sync + 'static) {
        self.lifecycle.hooks().status.push((self.place.clone(), Arc::new(hook)));
    }

    /// Has `hook` add its figures to every scrape. It must not block. Where a family may have samples from several places, their labels have
    /// to tell them apart; [`Context::place`] does.
    pub fn on_scrape(&self, hook: impl Fn(&mut Metrics) + Send + Sync + 'static) {
        self.lifecycle.hooks().scrape.push(Arc::new(hook));
    }

    /// A handle by which the figures of the whole stack can be asked for at any later time.
    #[must_use]
    pub fn scraper(&self) -> Scraper {
        Scraper(self.lifecycle.clone())
    }

    /// Runs `hook` after the drain, when no request is inside the stack any more; the newest hook runs first. It may block.
    pub fn on_shutdown(&self, hook: impl FnOnce() + Send + 'static) {
        self.lifecycle.hooks().shutdown.push(Box::new(hook));
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
