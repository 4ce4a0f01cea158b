//! Routes: stacks with a condition.

use std::num::NonZeroUsize;

use ziggurat_middleware::Findings;
use ziggurat_middleware::units::Duration;

use super::diagnostic::Diagnostic;
use super::grammar::{Grammar, Stack, all, take};
use super::read::{Subject, locate, read};
use super::tree::{Node, Span, Value};
use crate::apps::matching::{Match, Prefix};

#[derive(Debug)]
pub(crate) struct Route {
    /// The condition, or the whole route where it has none.
    pub(crate) span: Span,
    pub(crate) condition: Option<(Match, Node)>,
    pub(crate) mount: Option<Prefix>,
    /// How long the app below may take until it begins its answer.
    pub(crate) deadline: Option<(Duration, Node)>,
    /// How many threads of each `wsgi` app below are kept for requests that come this way.
    pub(crate) reserve: Option<(NonZeroUsize, Node)>,
    pub(crate) stack: Stack,
}

impl Grammar<'_> {
    pub(super) fn routes(&mut self, node: Node, place: &str) -> Option<Vec<Route>> {
        const HINT: &str = "write `\"routes\": [{ \"match\": { \"path\": \"/api/*\" }, \"app\": ... }, { \"app\": ... }]`";
        let span = node.span.clone();
        let found = node.kind();
        let Value::Array(items) = node.value else {
            self.findings.push(Diagnostic::error("`routes` is a list", span).label(format!("this is {found}")).hint(HINT));
            return None;
        };
        if items.is_empty() {
            self.findings
                .push(Diagnostic::error("the list of routes is empty", span).label("every request would be answered 404").hint(HINT));
            return None;
        }
        all(items.into_iter().enumerate().map(|(i, item)| self.route(item, &format!("{place}[{i}]"))).collect())
    }

    fn route(&mut self, node: Node, place: &str) -> Option<Route> {
        let (whole, mut keys) =
            self.object(node, "a route is an object with an `app`", "write `{ \"match\": { \"path\": \"/api/*\" }, \"app\": ... }`")?;
        self.known_keys(&keys, &["match", "mount", "deadline", "reserve", "layers", "app"], "a route");
        let condition = take(&mut keys, "match");
        let mount = take(&mut keys, "mount");
        let span = condition.as_ref().or(mount.as_ref()).map_or(&whole, |node| &node.span).clone();
        let condition = condition.map(|node| self.condition(node)).transpose();
        let mount = mount.map(|node| self.mount(node)).transpose();
        let deadline = take(&mut keys, "deadline").map(|node| self.deadline(node)).transpose();
        let reserve = take(&mut keys, "reserve").map(|node| self.reserve(node)).transpose();
        let stack = self.stack(keys, &whole, &format!("{place}."), "the route");
        Some(Route {
            span,
            condition: condition.ok()?,
            mount: mount.ok()?,
            deadline: deadline.ok()?,
            reserve: reserve.ok()?,
            stack: stack?,
        })
    }

    fn condition(&mut self, node: Node) -> Result<(Match, Node), ()> {
        let subject = Subject { name: "`match`", noun: "condition", mask: self.mask };
        if !node.is_object() {
            let finding =
                Diagnostic::error("`match` takes an object of conditions", node.span.clone()).label(format!("this is {}", node.kind()));
            self.findings.push(finding.hint("write `\"match\": { \"path\": \"/api/*\" }`"));
            return Err(());
        }
        let condition: Match = self.note(read(&node, subject)).ok_or(())?;
        let mut findings = Findings::default();
        condition.validate(&mut findings);
        self.findings.extend(findings.into_iter().map(|finding| locate(finding, &node, subject)));
        Ok((condition, node))
    }

    fn mount(&mut self, node: Node) -> Result<Prefix, ()> {
        self.note(read(&node, self.subject("`mount`"))).ok_or(())
    }

    fn deadline(&mut self, node: Node) -> Result<(Duration, Node), ()> {
        let deadline: Duration = self.note(read(&node, self.subject("`deadline`"))).ok_or(())?;
        if deadline.0.is_zero() {
            self.findings.push(
                Diagnostic::error("a `deadline` of nothing would fail every request", node.span)
                    .label("no time at all")
                    .hint("write a time such as `\"5s\"`, or leave the key out"),
            );
            return Err(());
        }
        Ok((deadline, node))
    }

    fn reserve(&mut self, node: Node) -> Result<(NonZeroUsize, Node), ()> {
        let explain = |finding: Diagnostic| finding.hint("it is how many of the app's threads are kept for this route: `\"reserve\": 2`");
        let threads = read(&node, self.subject("`reserve`")).map_err(|findings| findings.into_iter().map(explain).collect());
        Ok((self.note(threads).ok_or(())?, node))
    }
}
