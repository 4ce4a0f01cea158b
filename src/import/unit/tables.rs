//! Tables of routes that pass requests to each other, and to themselves.

use serde_json::{Value as Json, json};

use super::json::{Node, Value};
use super::{Import, decoded};
use crate::import::remarks::Treatment::{Approximated, Dropped, Taken};

/// What follows the name of a table that stands once more, for paths that it has rewritten.
const AGAIN: char = '\u{0}';

/// The table that is being written.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pass: String,
    is_again: bool,
}

/// The name without the mark, and whether it has one.
pub(super) fn unmarked(pass: &str) -> (&str, bool) {
    pass.strip_suffix(AGAIN).map_or((pass, false), |pass| (pass, true))
}

/// Whether this names a table of routes.
pub(super) fn is_table(pass: &str) -> bool {
    pass == "routes" || pass.starts_with("routes/")
}

impl Import<'_> {
    /// The routes of a table. What is said of one that stands twice is said once.
    pub(super) fn table(&mut self, pass: &str, steps: &Node) -> Json {
        let (pass, is_again) = unmarked(pass);
        let around = self.table.replace(Table { pass: decoded(pass), is_again });
        let json = if is_again {
            let said = std::mem::take(&mut self.remarks);
            let json = self.routes(steps);
            self.remarks = said;
            json
        } else {
            self.routes(steps)
        };
        self.table = around;
        json
    }

    /// The app that a step passes requests to. A pipeline has no circles.
    pub(super) fn passed(&mut self, pass: &Node, target: &str, has_rewrite: bool) -> Json {
        let theirs = format!("pass = {target:?}");
        let to = decoded(target);
        let here = self.table.clone().filter(|_| is_table(&to));
        match here {
            Some(here) if here.pass == to && has_rewrite && !here.is_again => {
                let note = "the table stands once more, for the path that is rewritten. A request that this step would take again gets 503";
                self.add(pass, &theirs, Approximated, note);
                self.target(&format!("{target}{AGAIN}")).into()
            }
            Some(here) if here.pass == to || (self.is_named_before(target, &here.pass) && self.reaches(&to, &here.pass)) => {
                let note = "requests would come back to this table, and a pipeline has no circles: they get 503. Write the route by hand";
                self.add(pass, &theirs, Dropped, note);
                json!({ "respond": 503 })
            }
            _ => {
                self.add(pass, &theirs, Taken, "the app of the route");
                self.target(target).into()
            }
        }
    }

    /// Whether a name has been given to one before the other.
    fn is_named_before(&self, one: &str, other: &str) -> bool {
        let at = |name: &str| self.order.iter().position(|known| decoded(known) == decoded(name));
        at(one).is_some_and(|one| at(other).is_none_or(|other| one < other))
    }

    /// Whether steps of a table pass requests to another one, also by way of others.
    fn reaches(&self, from: &str, to: &str) -> bool {
        let mut open = vec![from.to_owned()];
        let mut seen: Vec<String> = Vec::new();
        while let Some(table) = open.pop() {
            if table == to && !seen.is_empty() {
                return true;
            }
            if !seen.contains(&table) {
                let routes = self.root.get("routes");
                let steps = table.split_once('/').map_or(routes, |(_, name)| routes?.get(name));
                steps.into_iter().for_each(|steps| passes(steps, &mut open));
                seen.push(table);
            }
        }
        false
    }
}

/// The tables that steps pass requests to.
fn passes(node: &Node, found: &mut Vec<String>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| passes(item, found)),
        Value::Object(entries) => {
            for (name, value) in entries {
                match value.text().map(decoded) {
                    Some(pass) if name == "pass" && is_table(&pass) => found.push(pass),
                    _ => passes(value, found),
                }
            }
        }
        _ => {}
    }
}
