//! A Python layer and all that stands below it: what runs in one process, wherever that is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ziggurat_middleware::Lifecycle;

use super::build::Builder;
use super::diagnostic::Diagnostic;
use super::expand::Mask;
use super::grammar::{App, Expansions, Named, Part, Stack, Written, understand_part};
use super::registry::Registry;
use super::tree::{Entry, Span};
use crate::wsgi::{Callable, Runtime};

/// An island on its way to the process that runs it. Of the file it takes along its own part alone, and of what must stay hidden what stands there:
/// that process may be another user's. Its findings say where in the file they belong; who has the text shows them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Island {
    base: PathBuf,
    mask: Mask,
    written: Written,
    apps: Vec<Entry>,
    expansions: Expansions,
}

impl Island {
    pub(super) fn new(base: &Path, mask: &Mask, written: &Written, apps: Vec<Entry>, expansions: &Expansions) -> Self {
        let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
        let parts: Vec<&Span> = std::iter::once(&written.app.span).chain(apps.iter().map(|entry| &entry.value.span)).collect();
        let is_inside = |at: &usize| parts.iter().any(|part| part.contains(at));
        let expansions: Expansions = expansions.iter().filter(|(at, _)| is_inside(at)).map(|(at, node)| (*at, node.clone())).collect();
        let values = serde_json::to_string(&(written, &apps, &expansions)).unwrap_or_default();
        Self { base, mask: mask.for_text(&values), written: written.clone(), apps, expansions }
    }

    /// Builds what [`Island::new`] packed up, in this process.
    ///
    /// # Errors
    ///
    /// What of it cannot be built, for [`unpack`].
    pub(crate) fn build(packed: Value, registry: &Registry, lifecycle: &Lifecycle, runtime: &Arc<Runtime>) -> Result<Callable, Vec<Value>> {
        let island: Self = match serde_json::from_value(packed) {
            Ok(island) => island,
            Err(error) => return Err(pack(&[Diagnostic::without_place(format!("the stack was not understood: {error}"))])),
        };
        let Self { base, mask, written, apps, expansions } = island;
        let built = || {
            let (named, stack) = understand_part(written, apps, expansions, registry, &mask, &base)?;
            let builder = Builder::new(&named, &mask, base.as_path().into(), lifecycle).within(runtime);
            builder.callable(&stack.layers, &stack.app)
        };
        built().map_err(|findings| pack(&findings))
    }
}

/// Findings for the process that has the file's text too.
pub(super) fn pack(findings: &[Diagnostic]) -> Vec<Value> {
    // Structs of text and numbers are always JSON.
    findings.iter().map(|finding| serde_json::to_value(finding).unwrap_or_default()).collect()
}

/// Findings from another process.
pub(super) fn unpack(findings: Vec<Value>) -> Vec<Diagnostic> {
    let unread = |error| Diagnostic::without_place(format!("a worker says what is wrong in words that are not understood: {error}"));
    findings.into_iter().map(|finding| serde_json::from_value(finding).unwrap_or_else(unread)).collect()
}

/// What can be reached from a part of a stack.
#[derive(Default)]
pub(super) struct Reach<'a> {
    /// The WSGI apps.
    pub(super) wsgi: Vec<&'a Part>,
    /// The Python layers.
    pub(super) layers: Vec<&'a Part>,
    /// The entries of `apps`, by their numbers.
    pub(super) named: BTreeSet<usize>,
}

impl<'a> Reach<'a> {
    /// What can be reached from this app.
    pub(super) fn of(app: &'a App, named: &'a [Named]) -> Self {
        let mut reach = Self::default();
        reach.app(app, named);
        reach
    }

    /// Whether there is any Python.
    pub(super) const fn is_python(&self) -> bool {
        !self.wsgi.is_empty() || !self.layers.is_empty()
    }

    /// The WSGI app, where there is exactly one.
    pub(super) fn only_app(&self) -> Option<&'a Part> {
        match self.wsgi.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    fn stack(&mut self, stack: &'a Stack, named: &'a [Named]) {
        self.layers.extend(stack.layers.iter().filter(|layer| layer.kind.is_python()));
        self.app(&stack.app, named);
    }

    fn app(&mut self, app: &'a App, named: &'a [Named]) {
        match app {
            App::Part(part) if part.kind.is_python() => self.wsgi.push(part),
            App::Part(_) => {}
            App::Named(index, _) => {
                if self.named.insert(*index) {
                    self.stack(&named[*index].stack, named);
                }
            }
            App::Routes { routes, .. } => routes.iter().for_each(|route| self.stack(&route.stack, named)),
        }
    }
}
