//! Findings about the name of a layer or an app that is missing, unknown, or one of several, with a suggestion.

use super::grammar::{ROUTES, STACK_KEYS};
use super::places::NAME;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::names::{closest, list, suggestion};
use crate::pipeline::registry::{Registry, Role};
use crate::pipeline::synonyms;
use crate::pipeline::tree::{Entry, Node, Span, Value};

/// The only entry of the object that names a layer or an app.
pub(super) fn single(role: Role, mut entries: Vec<Entry>, span: Span, registry: &Registry) -> Result<Entry, Diagnostic> {
    let (article, noun, name, example) = match role {
        Role::Layer => ("a", "layer", "name", "{ \"compress\": { \"level\": 6 } }"),
        Role::App => ("an", "app", "kind", "{ \"wsgi\": \"hello:app\" }"),
    };
    if entries.len() == 1
        && let Some(entry) = entries.pop()
    {
        return Ok(entry);
    }
    let [first, second, ..] = entries.as_slice() else {
        return Err(Diagnostic::error(Id::NotOneName, format!("the {noun} has no {name}"), span)
            .label(format!("no {noun} in it"))
            .hint(format!("write `{example}`")));
    };
    let message = format!("{article} {noun} has one key, its {name}, and this one has {}", entries.len());
    let error = |entry: &Entry| Diagnostic::error(Id::NotOneName, message.as_str(), entry.key_span.clone());
    let is_known = |entry: &&Entry| registry.find(role, &entry.key).is_some() || (role == Role::App && entry.key == ROUTES);
    let known = entries.iter().find(is_known);
    let stray = entries.iter().find(|entry| !is_known(entry));
    let named = entries.iter().find(|entry| ["name", "type", "kind"].contains(&entry.key.as_str()));
    Err(match (known, stray, named.map(|entry| (entry, &entry.value.value))) {
        (Some(known), Some(stray), _) if role == Role::App && STACK_KEYS.contains(&stray.key.as_str()) => error(stray)
            .related(known.key_span.clone(), "the app")
            .hint("an app with layers of its own is an entry of `apps`, or a route: `{ \"layers\": [...], \"app\": {...} }`"),
        (Some(known), Some(stray), _) => error(stray)
            .label("does not belong here")
            .related(known.key_span.clone(), format!("the {noun}"))
            .hint(format!("options belong inside: `{{ \"{}\": {{ \"{}\": ... }} }}`", known.key, stray.key)),
        (None, _, Some((entry, Value::String(name)))) => {
            error(entry).hint(format!("the {noun} comes first: `{{ \"{name}\": {{ ... }} }}`"))
        }
        (None, ..) => error(second).hint(format!("write `{example}`")),
        (Some(_), None, _) => {
            let hint = match role {
                Role::Layer => format!("give each an object of its own: `{{ \"{}\": ... }}, {{ \"{}\": ... }}`", first.key, second.key),
                Role::App => "choose one, or put both in `routes`".to_owned(),
            };
            error(second).label(format!("the second {name}")).related(first.key_span.clone(), format!("the first {name}")).hint(hint)
        }
    })
}

/// A string that names no entry of `apps`.
pub(super) fn unknown_app(name: &str, node: &Node, entries: &[String], registry: &Registry) -> Diagnostic {
    let span = node.span.clone();
    let known = if entries.is_empty() {
        "the file has no `apps`; write an object such as `{ \"wsgi\": \"hello:app\" }`".to_owned()
    } else {
        format!("entries of `apps` are {}", list(entries.iter().map(String::as_str)))
    };
    if let Some(source) = node.secret() {
        return Diagnostic::error(Id::UnknownApp, format!("the value of `{source}` is not the name of an app"), span).hint(known);
    }
    let is_kind = name == ROUTES || registry.find(Role::App, name).is_some();
    if !is_kind && registry.find(Role::Layer, name).is_some() {
        return layer_for_app(name, span);
    }
    let hint = if is_kind {
        format!("`{name}` is a kind of app: write `{{ \"{name}\": ... }}`")
    } else if name.contains(':') {
        format!("a WSGI callable is written `{{ \"wsgi\": \"{name}\" }}`")
    } else if let Some((module, callable)) = name.rsplit_once('.') {
        format!("a WSGI callable is written `{{ \"wsgi\": \"{module}:{callable}\" }}`")
    } else if let Some(near) = closest(name, entries.iter().map(String::as_str)) {
        format!("did you mean `{near}`? Entries of `apps` are {}", list(entries.iter().map(String::as_str)))
    } else {
        known
    };
    Diagnostic::error(Id::UnknownApp, format!("unknown app `{name}`"), span).label("no entry of `apps` has this name").hint(hint)
}

/// A name that no registered layer or kind of app has.
pub(super) fn unknown_kind(role: Role, name: &str, node: &Node, registry: &Registry) -> Diagnostic {
    let span = node.span.clone();
    if let Some(source) = node.secret() {
        return Diagnostic::error(Id::UnknownLayer, format!("the value of `{source}` is not the name of a {}", role.noun()), span);
    }
    let mut known: Vec<&str> = registry.of(role).iter().map(|kind| kind.name).collect();
    match role {
        Role::Layer if name == ROUTES || registry.find(Role::App, name).is_some() => {
            Diagnostic::error(Id::WrongRole, format!("`{name}` is an app, not a layer"), span)
                .label("a layer is needed here")
                .hint(format!("an app belongs below the layers: `\"app\": {{ \"{name}\": ... }}`"))
        }
        Role::Layer => Diagnostic::error(Id::UnknownLayer, format!("unknown layer `{name}`"), span).label("no layer has this name").hint(
            match closest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`? `ziggurat layers` lists them all"),
                None => synonyms::of_kind(name).unwrap_or_else(|| format!("layers are {}", list(known))),
            },
        ),
        Role::App if registry.find(Role::Layer, name).is_some() => layer_for_app(name, span),
        Role::App => {
            known.push(ROUTES);
            known.sort_unstable();
            Diagnostic::error(Id::UnknownApp, format!("unknown kind of app `{name}`"), span).label("no kind of app has this name").hint(
                match closest(name, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`? Kinds are {}", list(known)),
                    None => synonyms::of_kind(name).unwrap_or_else(|| format!("kinds are {}", list(known))),
                },
            )
        }
    }
}

fn layer_for_app(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(Id::WrongRole, format!("`{name}` is a layer, not an app"), span)
        .label("an app is needed here")
        .hint("layers belong in the list `layers`, above the app")
}

/// A key that an object of the grammar does not have.
pub(super) fn unknown_key(entry: &Entry, known: &[&str], owner: &str, registry: &Registry) -> Diagnostic {
    let key = entry.key.as_str();
    let is_kind = key == ROUTES || registry.find(Role::App, key).is_some();
    let hint = if key == NAME {
        "`as` names a layer, an app or a route; an entry of `apps` is called by its key".to_owned()
    } else if is_kind && closest(key, known.iter().copied()).is_none() {
        format!("`{key}` is a kind of app: write `\"app\": {{ \"{key}\": ... }}`")
    } else if registry.find(Role::Layer, key).is_some() {
        format!("`{key}` is a layer: write `\"layers\": [{{ \"{key}\": ... }}]`")
    } else if let Some(near) = closest(key, known.iter().copied()) {
        format!("did you mean `{near}`? Keys are {}", list(known.iter().copied()))
    } else {
        let other = synonyms::of_option(owner, key, known).or_else(|| synonyms::of_kind(key));
        other.unwrap_or_else(|| suggestion(key, "Keys", known.iter().copied()))
    };
    Diagnostic::error(Id::UnknownKey, format!("unknown key `{key}` in {owner}"), entry.key_span.clone())
        .label("not one of its keys")
        .hint(hint)
}
