//! The list `tests`.

use std::collections::BTreeMap;

use super::grammar::{Grammar, all};
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::file_tests::FileTest;
use crate::pipeline::model::Typed;
use crate::pipeline::tree::{Node, Span, Value};

impl Grammar<'_> {
    pub(super) fn file_tests(&mut self, node: Node) -> Option<Vec<Typed<FileTest>>> {
        let found = node.kind();
        let Value::Array(items) = node.value else {
            let finding = Diagnostic::error(Id::WrongType, "`tests` is a list", node.span).label(format!("this is {found}"));
            let hint = "write `\"tests\": [{ \"name\": \"...\", \"request\": \"GET /\", \"expect\": { \"status\": 200 } }]`";
            self.findings.push(finding.hint(hint));
            return None;
        };
        let tests = all(items.into_iter().map(|item| self.file_test(item)).collect())?;
        let mut names: BTreeMap<&str, &Span> = BTreeMap::new();
        for test in &tests {
            if let Some(first) = names.insert(&test.value.name, &test.node.span) {
                let message = format!("two tests have the name `{}`", test.value.name);
                let span = test.node.nearest(&["name".into()]).span.clone();
                self.findings.push(Diagnostic::error(Id::DuplicateName, message, span).related(first.clone(), "the first one"));
            }
        }
        Some(tests)
    }

    fn file_test(&mut self, node: Node) -> Option<Typed<FileTest>> {
        let reader = self.reader("a test");
        let value: FileTest = self.note(reader.read(&node))?;
        self.sound("a test", &node, |findings| value.validate(findings))?;
        Some(Typed { value, node })
    }
}
