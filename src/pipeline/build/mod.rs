//! From a checked file to services: apps first, then layers, innermost first.
//!
//! A stack is built natively from the outside down to its outermost Python layer ([`front`]). That layer and everything below it are a [`WorkerStack`]. It is
//! built in the process that runs it ([`in_process`]), where Python parts next to each other are one callable.

mod certificates;
mod front;
mod in_process;
mod linted;
mod listeners;
mod store;
mod timings;
mod uncovered;
mod variables;
mod worker_stack;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use http::StatusCode;
use serde::de::DeserializeOwned;
use tower::service_fn;
use ziggurat_middleware::timing::Timings;
use ziggurat_middleware::{Context, Deadline, Finding, IntoApp, Lifecycle, Next, Place, Problem, Request, ReserveClass};

pub(super) use certificates::begin_orders;
pub(super) use front::front;
pub(crate) use in_process::Imported;
pub(super) use in_process::{InProcess, in_process};
pub(super) use linted::is_linted;
pub(super) use listeners::{listeners, open as open_tls};
pub(super) use store::store;
pub(super) use timings::timings;
pub(crate) use worker_stack::WorkerStack;

use super::diagnostic::Diagnostic;
use super::model::{self, Apps, Part};
use super::secrets::Secrets;
use crate::apps::routes::{Route, Routes, Table, Target};

/// The input of a build.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) apps: &'a Apps,
    pub(super) secrets: &'a Secrets,
    /// The folder that relative paths start from.
    pub(super) base: &'a Path,
    pub(super) lifecycle: &'a Lifecycle,
    /// Of a stack that is timed.
    pub(super) timings: Option<&'a Timings>,
    /// Whether a layer has Python callables checked.
    pub(super) is_linted: bool,
}

impl Site<'_> {
    /// The place, with the figures of its layer or app if the stack is timed.
    fn place(&self, place: &Place) -> Place {
        self.timings.map_or_else(|| place.clone(), |timings| timings.place(place))
    }
}

/// Builds single parts. It notes and replaces what cannot be built, and so finds all mistakes of a file.
struct Parts<'a> {
    site: Site<'a>,
    base: Arc<Path>,
    findings: Vec<Diagnostic>,
}

impl<'a> Parts<'a> {
    fn new(site: Site<'a>) -> Self {
        Self { site, base: site.base.into(), findings: Vec::new() }
    }

    fn context(&self, place: &Place) -> Context {
        Context::new(self.site.place(place), Arc::clone(&self.base), self.site.lifecycle.clone())
    }

    /// A native layer over `inner`, or an app.
    fn native(&mut self, part: &Part, context: &Context, inner: Option<Next>) -> Next {
        let made = part.kind.make(&part.options, self.site.secrets, context, inner);
        self.note(made).unwrap_or_else(|| unbuilt(&part.place))
    }

    /// Does something with the options of a part.
    fn with<T: DeserializeOwned, R>(&mut self, part: &Part, run: impl FnOnce(T) -> Result<R, Finding>) -> Option<R> {
        let made = part.kind.with(&part.options, self.site.secrets, run);
        self.note(made)
    }

    fn note<T>(&mut self, made: Result<T, Vec<Diagnostic>>) -> Option<T> {
        made.map_err(|findings| self.findings.extend(findings)).ok()
    }

    /// What was built, if there are no findings. Otherwise what was started is shut down.
    fn finish<T>(self, built: Option<T>) -> Result<T, Vec<Diagnostic>> {
        match built {
            Some(built) if self.findings.is_empty() => Ok(built),
            _ => {
                self.site.lifecycle.shutdown();
                Err(self.findings)
            }
        }
    }
}

/// The service of a table, over the stacks of its routes.
fn table(site: Site<'_>, table: &model::Routes, mut stack: impl FnMut(&model::Route) -> (Next, Option<ReserveClass>)) -> Next {
    let routes = table.routes.iter().filter(|route| route.is_enabled()).map(|route| {
        let (next, reserve) = stack(route);
        Route {
            condition: route.condition.as_ref().map(|condition| condition.value.clone()),
            mount: route.mount.as_ref().map(|mount| mount.value.clone()),
            target: Target { deadline: route.deadline.as_ref().map(|deadline| Deadline(deadline.value.0)), reserve, next },
        }
    });
    Routes::new(Table::new(routes.collect())).into_next(&site.place(&table.place))
}

/// A service in place of a part that could not be built.
fn unbuilt(place: &Place) -> Next {
    service_fn(async |_: Request| Ok::<_, Infallible>(Problem::new(StatusCode::SERVICE_UNAVAILABLE).into_response())).into_next(place)
}
