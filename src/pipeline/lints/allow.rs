//! The lints that a file allows.

use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::fix::Fix;
use crate::pipeline::model::{Allow, Event, File};
use crate::pipeline::tree::Span;

/// The findings that are left, and one about each `allow` without need.
pub(super) fn apply(file: &File, findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let allows = all(file);
    let mut is_used = vec![false; allows.len()];
    let is_left = |finding: &Diagnostic| {
        let nth = allows.iter().position(|allow| allow.lint == finding.id.as_str() && is_about(finding, &allow.scope));
        if let Some(nth) = nth {
            is_used[nth] = true;
        }
        nth.is_none()
    };
    let mut left: Vec<Diagnostic> = findings.into_iter().filter(is_left).collect();
    left.extend(allows.iter().zip(&is_used).filter(|(_, is_used)| !**is_used).map(|(allow, _)| useless(allow)));
    left
}

/// Those of all stacks. The innermost object that allows a finding is the one that does.
fn all(file: &File) -> Vec<&Allow> {
    let mut allows = Vec::new();
    for stack in file.stacks() {
        allows.extend(&stack.allow);
        stack.walk(|event, _| {
            if let Event::Route(route) = event {
                allows.extend(&route.stack.allow);
            }
        });
    }
    allows.sort_by_key(|allow| allow.scope.len());
    allows
}

/// Whether one of the places of a finding is in this part of the file.
fn is_about(finding: &Diagnostic, scope: &Span) -> bool {
    let related = finding.related.as_deref().map(|(span, _)| span);
    finding.span.iter().chain(related).any(|span| scope.start <= span.start && span.end <= scope.end)
}

fn useless(allow: &Allow) -> Diagnostic {
    let message = format!("the lint `{}` finds nothing here", allow.lint);
    let finding = Diagnostic::warning(Id::UselessAllow, message, allow.node.span.clone())
        .label("allows nothing")
        .hint("remove it: it would hide a mistake that is made later");
    Diagnostic { fix: Some(Box::new(Fix::Remove { item: allow.node.span.clone() })), ..finding }
}
