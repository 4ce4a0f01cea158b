//! Where the calls of an app run: in worker processes, or on threads of this process.

use std::ffi::CStr;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Map, Value};
use ziggurat_middleware::{Context, Finding, Next};

use super::application::Application;
use super::callable::Callable;
use super::environ::Concurrency;
use super::interpreter::initialize;
use super::options::Wsgi;
use super::thread_pool::{PREFETCH, ThreadPool};
use crate::call::bodies::BodyBudgets;
use crate::call::service::{AppService, RequestLimits};
use crate::call::websocket::WebSocketRules;
use crate::worker::SingleRequest;
use crate::worker::admission::{Admission, Backend, Capacity};
use crate::worker::boot::Refusal;

/// What is called: an app, or a stack whose outermost layer is Python.
pub(crate) struct Callee<'a> {
    /// The name in the process list, for instance `hello:app`.
    pub(crate) name: &'a str,
    /// What a worker builds, if that is more than the app.
    pub(crate) stack: Option<Value>,
    /// Makes the callable in this process.
    pub(crate) callable: &'a dyn Fn() -> Result<Callable, Refusal>,
}

impl Wsgi {
    /// The service that calls it as these options say.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or its workers cannot be started.
    pub(crate) fn serve(&self, context: &Context, callee: &Callee<'_>) -> Result<Next, Refusal> {
        let run_once = context.host::<SingleRequest>().is_some();
        let (workers, threads) = match run_once {
            true => (0, 1),
            false if context.is_watched() => self.while_watched(context),
            false => (self.processes(), self.threads()),
        };
        self.check_reserves(context.reserves(), workers.max(1) * threads)?;
        let bodies = BodyBudgets::new(context, self.buffer);
        let (hook, place) = (bodies.clone(), context.place().clone());
        context.on_scrape(move |metrics| hook.scrape(place.as_str(), metrics));
        let limits = RequestLimits {
            bodies: bodies.clone(),
            streaming: self.streaming,
            deadline: self.deadline.map(|deadline| deadline.0),
            slow: self.slow.map(|slow| slow.0),
            websockets: self.websocket_rules(context),
        };
        if workers > 0 {
            let app = AppService::new(self.worker_pool(context, callee, workers, threads, bodies)?, limits);
            return Ok(Next::new(context.place(), app.with_layers(callee.stack.is_some())));
        }
        if run_once {
            forget_headers()?;
        }
        let callable = (callee.callable)()?;
        let multithread = !run_once && (threads != 1 || self.websockets.limit > 0);
        let concurrency = Concurrency { multithread, multiprocess: run_once, run_once };
        let made = Python::attach(|py| Application::new(py, &callable, context.place().as_str(), concurrency)?.owned(py));
        let application = made.map(Arc::new).map_err(Finding::from)?;
        let admission = self.pool(context, callee, &application, threads, bodies)?;
        Ok(Next::new(context.place(), AppService::new(admission, limits).with_layers(callee.stack.is_some())))
    }

    fn websocket_rules(&self, context: &Context) -> Option<WebSocketRules> {
        let idle = self.websockets.idle.map(|idle| idle.0);
        (self.websockets.limit > 0).then(|| WebSocketRules { idle, draining: context.draining() })
    }

    /// Threads of this process, behind a queue.
    fn pool(
        &self,
        context: &Context,
        callee: &Callee<'_>,
        application: &Arc<Application>,
        threads: usize,
        bodies: BodyBudgets,
    ) -> Result<Arc<Admission>, Finding> {
        let pool = ThreadPool::start(application, threads, false, || {}, || {})
            .map_err(|error| Finding::new(format!("the app's threads cannot be started: {error}")).at("threads"))?;
        let pool = Arc::new(pool);
        let admission = self.admission(context);
        admission.open(Arc::clone(&pool) as Arc<dyn Backend>, Capacity { threads, prefetch: PREFETCH });
        let hook = Arc::clone(&pool);
        context.on_stacks(move || hook.stacks());
        report(context, callee.name, &admission, bodies);
        let hook = Arc::clone(&admission);
        context.on_shutdown(move || {
            hook.end();
            pool.end();
        });
        Ok(admission)
    }

    /// The queue of the app.
    pub(super) fn admission(&self, context: &Context) -> Arc<Admission> {
        let limit = usize::try_from(self.queue.limit).unwrap_or(usize::MAX);
        let websockets = usize::try_from(self.websockets.limit).unwrap_or(usize::MAX);
        Admission::new(context.place().as_str(), limit, self.queue.wait.0, websockets, context.reserves())
    }
}

/// Removes the headers of the request from `os.environ`: a client names them, so `HTTP_PROXY` is not the proxy of this process.
fn forget_headers() -> Result<(), Finding> {
    const FORGET: &CStr = c"import os
for name in [name for name in os.environ if name.startswith('HTTP_')]:
    del os.environ[name]
";
    initialize()?;
    Python::attach(|py| py.run(FORGET, Some(&PyDict::new(py)), None)).map_err(Finding::from)
}

/// Reports the figures of an app in this process to status and metrics.
fn report(context: &Context, app: &str, admission: &Arc<Admission>, bodies: BodyBudgets) {
    let (app, hook) = (app.to_owned(), Arc::clone(admission));
    context.on_status(move || {
        let mut status = Map::from_iter([("app".to_owned(), app.as_str().into()), ("workers".to_owned(), 0.into())]);
        status.extend(hook.stats().status());
        status.insert("waiting bodies".to_owned(), bodies.status());
        status.into()
    });
    let (place, hook) = (context.place().clone(), Arc::clone(admission));
    context.on_scrape(move |metrics| hook.stats().scrape(place.as_str(), metrics));
}
