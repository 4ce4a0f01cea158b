//! The apps of a module: names bound to the app of a framework, factories, and plain callables.

use super::modules::Module;
use super::python::{Line, last_call, literal, split};

/// An app that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    /// What follows the colon: `app`, `create_app()`.
    pub(super) callable: String,
    /// Its description: `a Flask app`.
    pub(super) what: &'static str,
    /// Whether it is a WSGI app.
    pub(super) is_wsgi: bool,
    /// Whether its framework serves the folder `static` beside the module.
    pub(super) has_static: bool,
}

/// Calls whose value is an app, by the last part of their name.
const MADE_BY: &[(&str, &str, bool)] = &[
    ("get_wsgi_application", "a Django app", true),
    ("Flask", "a Flask app", true),
    ("Bottle", "a Bottle app", true),
    ("default_app", "a Bottle app", true),
    ("wsgifunc", "a web.py app", true),
    ("make_wsgi_app", "a Pyramid app", true),
    ("WSGIApplication", "a WSGI app", true),
    ("loadapp", "an app of Paste Deploy", true),
    ("FastAPI", "a FastAPI app", false),
    ("Starlette", "a Starlette app", false),
    ("Quart", "a Quart app", false),
    ("get_asgi_application", "an ASGI app of Django", false),
];

/// The description of an app that another module's factory makes.
pub(super) const MADE: &str = "made by a factory";

/// The apps that a module binds at its top; factories only where it binds nothing else.
pub(super) fn bindings(module: &Module) -> Vec<Binding> {
    let top = || module.lines.iter().filter(|line| line.indent == 0);
    let classes = callable_classes(&module.lines);
    let mut found: Vec<Binding> = top().filter_map(|line| bound(line, module, &classes)).collect();
    let factories: Vec<Binding> = top().filter_map(|line| factory(line, module)).collect();
    // An app that nothing is added to is a left-over, or belongs to the factory beside it.
    if !factories.is_empty() && found.iter().all(|binding| is_bare(binding, module)) {
        found = factories;
    }
    found
}

/// Whether an app of a framework is made and then never mentioned: it has no routes.
fn is_bare(binding: &Binding, module: &Module) -> bool {
    let adds = format!("{}.", binding.callable);
    let has_routes = matches!(binding.what, "a Flask app" | "a Bottle app" | "a Falcon app");
    has_routes
        && !module
            .lines
            .iter()
            .any(|line| line.text.trim_start_matches('@').starts_with(&adds) || line.text.contains(&format!("({})", binding.callable)))
}

/// The apps that a module imports from others of the project, `from shop.app import app as application`: those of the names in `known`.
pub(super) fn imported<'a>(module: &Module, known: impl Fn(&str, &str) -> Option<&'a Binding>) -> Vec<Binding> {
    let mut found = Vec::new();
    for line in module.lines.iter().filter(|line| line.indent == 0) {
        let Some((from, names)) = line.text.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) else { continue };
        for part in split(names.trim_matches(['(', ')', ' '])) {
            let (name, alias) = part.split_once(" as ").map_or((part.trim(), part.trim()), |(name, alias)| (name.trim(), alias.trim()));
            if let Some(binding) = known(from.trim(), name) {
                found.push(Binding { callable: alias.to_owned(), ..binding.clone() });
            }
        }
    }
    found
}

fn bound(line: &Line, module: &Module, classes: &[&str]) -> Option<Binding> {
    if let Some((name, parameters)) = line.function() {
        return takes_environ(&parameters).then(|| Binding::wsgi(name, "a plain WSGI app"));
    }
    let (name, value) = line.assignment()?;
    let (called, arguments) = last_call(value)?;
    if let Some((_, what, is_wsgi)) = made_by(called, module) {
        let has_static = match what {
            "a Flask app" => !arguments.contains("static_"),
            "a web.py app" => true,
            _ => false,
        };
        return Some(Binding { callable: name.to_owned(), what, is_wsgi, has_static });
    }
    if classes.contains(&called) {
        return Some(Binding::wsgi(name, "a plain WSGI app"));
    }
    is_factory_name(called.rsplit('.').next().unwrap_or_default()).then(|| Binding::wsgi(name, MADE))
}

fn factory(line: &Line, module: &Module) -> Option<Binding> {
    let (name, parameters) = line.function()?;
    let needs_none = parameters.iter().all(|parameter| parameter.contains('=') || parameter.starts_with(['*', '/']));
    if !is_factory_name(name) || !needs_none {
        return None;
    }
    let mut inside = module.lines.iter().filter(|line| line.indent > 0);
    let made = inside.find_map(|line| {
        let value = line.assignment().map_or_else(|| line.text.strip_prefix("return "), |(_, value)| Some(value))?;
        let (called, arguments) = last_call(value)?;
        made_by(called, module).map(|made| (made, arguments))
    });
    let ((_, what, is_wsgi), arguments) = made.unwrap_or((("", "a factory of apps", true), "static_"));
    Some(Binding { callable: format!("{name}()"), what, is_wsgi, has_static: what == "a Flask app" && !arguments.contains("static_") })
}

fn made_by(called: &str, module: &Module) -> Option<(&'static str, &'static str, bool)> {
    let last = called.rsplit('.').next().unwrap_or_default();
    // Other libraries use the names `App` and `API` too.
    let falcon = || module.lines.iter().any(|line| line.text.starts_with("import falcon") || line.text.starts_with("from falcon import"));
    match last {
        "App" | "API" if (called == last || called.starts_with("falcon.")) && falcon() => {
            let is_wsgi = !called.contains("asgi");
            Some(("App", if is_wsgi { "a Falcon app" } else { "an ASGI app of Falcon" }, is_wsgi))
        }
        _ => MADE_BY.iter().find(|(name, ..)| *name == last).copied(),
    }
}

fn is_factory_name(name: &str) -> bool {
    matches!(name, "create_app" | "make_app" | "app_factory" | "create_application" | "make_application" | "get_app")
}

/// Whether these are the parameters of a WSGI app, by their usual names.
fn takes_environ(parameters: &[&str]) -> bool {
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.split([':', '=']).next().unwrap_or_default().trim()).collect();
    matches!(names[..], [environ, start] if matches!(environ, "environ" | "env" | "_environ" | "_env") && matches!(start, "start_response" | "_start_response" | "start"))
}

/// Classes of this module whose instances can be called as WSGI apps.
fn callable_classes(lines: &[Line]) -> Vec<&str> {
    let mut classes = Vec::new();
    let mut current = None;
    for line in lines {
        if line.indent == 0 {
            current = line.class();
        } else if let (Some(class), Some(("__call__", parameters))) = (current, line.function())
            && takes_environ(parameters.get(1..).unwrap_or_default())
        {
            classes.push(class);
        }
    }
    classes
}

impl Binding {
    fn wsgi(name: &str, what: &'static str) -> Self {
        Self { callable: name.to_owned(), what, is_wsgi: true, has_static: false }
    }
}

/// The default of an environment variable: `os.environ.setdefault("NAME", "value")`, or by assignment.
pub(super) fn default_of<'a>(module: &'a Module, variable: &str) -> Option<&'a str> {
    module.lines.iter().find_map(|line| {
        let after = line.text.split_once(variable)?.1;
        let (_, after) = after.split_once([',', '='])?;
        let value = split(after).first()?.trim_end_matches(')').trim();
        literal(value)
    })
}
