//! Checks of a file as a whole: addresses that exclude each other, challenges that nobody meets, apps that contain themselves, routes that no request reaches, names that no
//! route has, proxies and gateways in a loop, folders that hold code, dashboards for everybody, apps without a use, options without an effect.

mod acme;
mod addresses;
pub(super) mod boundary;
mod exposed;
mod loops;
mod names;
mod order;
mod published;
pub(super) mod reserves;
mod routes;

use std::collections::BTreeSet;
use std::path::Path;

use super::diagnostic::{Diagnostic, Id, Severity};
use super::lints;
use super::model::{AppId, Event, File, NamedApp};
use super::secrets::Secrets;
pub(super) use order::{Order, too_deep};
use reserves::Reserves;

/// The most layers and apps that a request may pass. Each takes a little of the stack of the thread that runs it.
pub(super) const MAX_STAGES: usize = 256;

/// Errors and warnings about the file at `path` as a whole.
pub(super) fn check(file: &File, secrets: &Secrets, path: &Path) -> Vec<Diagnostic> {
    let mut findings = addresses::check(file);
    findings.extend(acme::check(file));
    findings.extend(routes::check(file));
    findings.extend(names::check(file, secrets));
    findings.extend(loops::check(file));
    findings.extend(published::check(file, path));
    findings.extend(exposed::check(file, secrets));
    match Order::of(file) {
        Ok(order) => match order.too_deep(file) {
            Some(finding) => findings.push(finding),
            None => {
                findings.extend(Reserves::new(file, &order).into_findings());
                findings.extend(boundary::check(file));
            }
        },
        Err(circles) => findings.extend(circles),
    }
    findings.extend(unused(file));
    if findings.iter().all(|finding| finding.severity != Severity::Error) {
        findings.extend(lints::check(file, secrets, path.parent().unwrap_or(Path::new(""))));
    }
    // An error may be the cause of a warning, so warnings wait.
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        findings.retain(|finding| finding.severity == Severity::Error);
    }
    findings
}

/// Entries of `apps` that no request comes to.
fn unused(file: &File) -> impl Iterator<Item = Diagnostic> {
    let mut used = BTreeSet::new();
    let mut stacks = vec![&file.stack];
    while let Some(stack) = stacks.pop() {
        stack.walk(|event, _| {
            if let Event::Named(id, _) = event
                && used.insert(id)
            {
                stacks.push(&file.apps[id].stack);
            }
        });
    }
    let warning = |app: &NamedApp| {
        Diagnostic::warning(Id::UnusedApp, format!("the app `{}` is not used", app.name), app.name_span.clone())
            .label("nothing leads to it")
            .hint(format!("name it in an `app`, as in `\"app\": \"{}\"`, or remove it", app.name))
    };
    file.apps.iter().filter(move |(id, _): &(AppId, _)| !used.contains(id)).map(move |(_, app)| warning(app))
}
