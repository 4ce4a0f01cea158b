//! A stack in one line, for the log at start.

use std::fmt::Write;

use super::grammar::{App, Stack, Tree};

/// `request_id > compress > wsgi mysite.wsgi:application`; routes in brackets, a named app by its name.
pub(crate) fn summary(tree: &Tree) -> String {
    let mut line = String::new();
    stack(&mut line, tree, &tree.stack);
    line
}

fn stack(line: &mut String, tree: &Tree, body: &Stack) {
    for layer in &body.layers {
        let _ = write!(line, "{} > ", layer.kind.name);
    }
    match &body.app {
        App::Part(part) => line.push_str(part.kind.name),
        App::Named(number, _) => line.push_str(tree.apps.get(*number).map_or("", |named| &named.name)),
        App::Routes { routes, .. } => {
            line.push_str("routes [");
            for (at, route) in routes.iter().enumerate() {
                line.push_str(if at == 0 { "" } else { " | " });
                stack(line, tree, &route.stack);
            }
            line.push(']');
        }
    }
}
