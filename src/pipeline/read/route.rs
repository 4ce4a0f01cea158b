//! Routes: stacks with a condition.

use std::num::NonZeroUsize;

use ziggurat_middleware::Findings;
use ziggurat_middleware::units::Duration;

use super::grammar::{Grammar, all, take};
use super::places::{NAME, Scope, Siblings};
use crate::apps::matching::{Match, Prefix};
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{Route, Typed};
use crate::pipeline::options::OptionReader;
use crate::pipeline::tree::{Node, Value};

impl Grammar<'_> {
    pub(super) fn routes(&mut self, node: Node, scope: &Scope) -> Option<Vec<Route>> {
        const HINT: &str = "write `\"routes\": [{ \"match\": { \"path\": \"/api/*\" }, \"app\": ... }, { \"app\": ... }]`";
        let span = node.span.clone();
        let found = node.kind();
        let Value::Array(items) = node.value else {
            self.findings.push(Diagnostic::error(Id::WrongType, "`routes` is a list", span).label(format!("this is {found}")).hint(HINT));
            return None;
        };
        if items.is_empty() {
            self.findings.push(
                Diagnostic::error(Id::InvalidValue, "the list of routes is empty", span)
                    .label("every request would be answered 404")
                    .hint(HINT),
            );
            return None;
        }
        let mut siblings = Siblings::default();
        let mut routes = all(items.into_iter().rev().map(|item| self.route(item, scope, &mut siblings)).collect())?;
        routes.reverse();
        Some(routes)
    }

    fn route(&mut self, node: Node, scope: &Scope, siblings: &mut Siblings) -> Option<Route> {
        let (whole, mut keys) =
            self.object(node, "a route is an object with an `app`", "write `{ \"match\": { \"path\": \"/api/*\" }, \"app\": ... }`")?;
        self.known_keys(&keys, &["enabled", "match", "mount", NAME, "deadline", "reserve", "layers", "allow", "app"], "a route");
        let name = self.name(&mut keys);
        let enabled = take(&mut keys, "enabled").map(|node| self.enabled(node)).transpose();
        let condition = take(&mut keys, "match");
        let mount = take(&mut keys, "mount");
        let span = condition.as_ref().or(mount.as_ref()).map_or(&whole, |node| &node.span).clone();
        let scope = match &name {
            Some(name) => Scope::of_route(name),
            None => scope.route(&siblings.label(condition.as_ref(), mount.as_ref())),
        };
        let condition = condition.map(|node| self.condition(node)).transpose();
        let mount = mount.map(|node| self.mount(node)).transpose();
        let deadline = take(&mut keys, "deadline").map(|node| self.deadline(node)).transpose();
        let reserve = take(&mut keys, "reserve").map(|node| self.reserve(node)).transpose();
        let stack = self.stack(keys, &whole, &scope, "the route");
        Some(Route {
            span,
            name,
            enabled: enabled.ok()?,
            condition: condition.ok()?,
            mount: mount.ok()?,
            deadline: deadline.ok()?,
            reserve: reserve.ok()?,
            stack: stack?,
        })
    }

    fn enabled(&mut self, node: Node) -> Result<Typed<bool>, ()> {
        let value = self.note(self.reader("`enabled`").read(&node)).ok_or(())?;
        Ok(Typed { value, node })
    }

    fn condition(&mut self, node: Node) -> Result<Typed<Match>, ()> {
        let reader = OptionReader { owner: "`match`", noun: "condition", secrets: self.secrets };
        if !node.is_object() {
            let finding = Diagnostic::error(Id::WrongType, "`match` takes an object of conditions", node.span.clone())
                .label(format!("this is {}", node.kind()));
            self.findings.push(finding.hint("write `\"match\": { \"path\": \"/api/*\" }`"));
            return Err(());
        }
        let value: Match = self.note(reader.read(&node)).ok_or(())?;
        let mut findings = Findings::default();
        value.validate(&mut findings);
        self.findings.extend(findings.into_iter().map(|finding| reader.locate(Id::InvalidValue, finding, &node)));
        Ok(Typed { value, node })
    }

    fn mount(&mut self, node: Node) -> Result<Typed<Prefix>, ()> {
        let value = self.note(self.reader("`mount`").read(&node)).ok_or(())?;
        Ok(Typed { value, node })
    }

    fn deadline(&mut self, node: Node) -> Result<Typed<Duration>, ()> {
        let value: Duration = self.note(self.reader("`deadline`").read(&node)).ok_or(())?;
        if value.0.is_zero() {
            self.findings.push(
                Diagnostic::error(Id::InvalidValue, "a `deadline` of zero would fail every request", node.span)
                    .label("no time at all")
                    .hint("write a time such as `\"5s\"`, or leave the key out"),
            );
            return Err(());
        }
        Ok(Typed { value, node })
    }

    fn reserve(&mut self, node: Node) -> Result<Typed<NonZeroUsize>, ()> {
        let explain = |finding: Diagnostic| finding.hint("it is how many of the app's threads are kept for this route: `\"reserve\": 2`");
        let threads = self.reader("`reserve`").read(&node).map_err(|findings| findings.into_iter().map(explain).collect());
        Ok(Typed { value: self.note(threads).ok_or(())?, node })
    }
}
