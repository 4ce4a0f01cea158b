//! The order lints that a stack allows, each with the reason.

use schemars::JsonSchema;
use serde::Deserialize;

use super::grammar::{Grammar, all};
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::lints;
use crate::pipeline::model::Allow;
use crate::pipeline::names::closest;
use crate::pipeline::tree::{Node, Span, Value};

/// An order lint that is meant to be broken here.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::pipeline) struct AllowEntry {
    /// The id of the lint. `ziggurat lints` lists them.
    lint: String,
    /// Why the order is right all the same, for whoever reads the file next.
    reason: String,
}

impl Grammar<'_> {
    pub(super) fn allow(&mut self, node: Node, scope: &Span) -> Option<Vec<Allow>> {
        const HINT: &str = "write `\"allow\": [{ \"lint\": \"log-misses\", \"reason\": \"...\" }]`";
        let found = node.kind();
        let Value::Array(items) = node.value else {
            let finding = Diagnostic::error(Id::WrongType, "`allow` is a list of lints, each with the reason", node.span);
            self.findings.push(finding.label(format!("this is {found}")).hint(HINT));
            return None;
        };
        all(items.into_iter().map(|item| self.allow_entry(item, scope)).collect())
    }

    fn allow_entry(&mut self, node: Node, scope: &Span) -> Option<Allow> {
        let AllowEntry { lint, reason } = self.note(self.reader("`allow`").read(&node))?;
        let at = |key: &str| node.nearest(&[key.into()]).span.clone();
        if lints::find(&lint).is_none() {
            let hint = match closest(&lint, lints::ids()) {
                Some(near) => format!("did you mean `{near}`? `ziggurat lints` lists them all"),
                None => "`ziggurat lints` lists them all".to_owned(),
            };
            let finding = Diagnostic::error(Id::UnknownLint, format!("unknown lint `{}`", lint.escape_debug()), at("lint"));
            self.findings.push(finding.label("no lint has this id").hint(hint));
            return None;
        }
        if reason.trim().is_empty() {
            let finding = Diagnostic::error(Id::InvalidValue, "the reason is empty", at("reason"));
            self.findings.push(finding.label("nobody will know why").hint("say why the order is right here"));
            return None;
        }
        Some(Allow { lint, scope: scope.clone(), node })
    }
}
