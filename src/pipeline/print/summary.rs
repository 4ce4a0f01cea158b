//! A stack in one line, for the log at start.

use std::fmt::Write;

use crate::pipeline::model::{Event, File};

/// `request_id > compress > wsgi`; routes in brackets, a named app by its name.
pub(in crate::pipeline) fn summary(file: &File) -> String {
    let mut line = String::new();
    file.stack.walk(|event, position| match event {
        Event::Layer(_, layer) => _ = write!(line, "{} > ", layer.kind.name),
        Event::App(app) => line.push_str(app.kind.name),
        Event::Named(id, _) => line.push_str(&file.apps[id].name),
        Event::Routes(_) => line.push_str("routes ["),
        Event::Route(_) => line.push_str(if position.routes.last().is_some_and(|branch| branch.is_first) { "" } else { " | " }),
        Event::RouteEnd => line.push_str(if position.routes.last().is_some_and(|branch| branch.is_last) { "]" } else { "" }),
    });
    line
}
