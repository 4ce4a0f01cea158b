//! What the file says about workers before any is started.

use std::collections::BTreeSet;

use ziggurat_middleware::Place;

use super::Pipeline;
use super::model::{AppId, Below, Event, File, Part};
use super::registry::Role;
use super::tree::Value;
use crate::wsgi::{Wsgi, WsgiLayer};

/// The processes, or the threads of the server's process, that run an app.
pub(crate) struct Pool<'a> {
    /// Of the app, or of the Python layer above it if it leads to more apps than one.
    pub(crate) place: &'a Place,
    /// The number of worker processes; 0 if the app runs in the server's process.
    pub(crate) processes: usize,
    /// Whether workers end before others take their place.
    pub(crate) old_first: bool,
}

impl Pipeline {
    /// The pools that the stack has, in file order. `is_watched` is for development.
    pub(crate) fn pools(&self, is_watched: bool) -> Vec<Pool<'_>> {
        let elsewhere = in_workers(&self.file);
        let apps = self.file.apps.iter().filter(|(id, _)| !elsewhere.contains(id)).map(|(_, app)| &app.stack);
        let mut owners: Vec<&Part> = Vec::new();
        for stack in apps.chain([&self.file.stack]) {
            stack.walk(|event, position| match event {
                Event::Layer(_, part) if part.kind.is_python() && position.python.is_none() => {
                    owners.push(Below::of(position.stack, &self.file.apps).owner(part));
                }
                Event::App(part) if part.kind.is_python() && position.python.is_none() => owners.push(part),
                _ => {}
            });
        }
        owners.into_iter().filter_map(|owner| self.pool(owner, is_watched)).collect()
    }

    fn pool<'a>(&self, owner: &'a Part, is_watched: bool) -> Option<Pool<'a>> {
        let pool = |app: &Wsgi| Pool { place: &owner.place, processes: app.processes(), old_first: app.ends_old_first(is_watched) };
        // The options were read before, so they can be read again.
        match owner.kind.role {
            Role::Layer => owner.kind.with(&owner.options, &self.secrets, |layer: WsgiLayer| Ok(pool(&layer.as_app()))).ok(),
            Role::App => owner.kind.with(&owner.options, &self.secrets, |app: Wsgi| Ok(pool(&app))).ok(),
        }
    }
}

/// The entries of `apps` that the stacks of workers reach.
pub(super) fn in_workers(file: &File) -> BTreeSet<AppId> {
    let mut found = BTreeSet::new();
    for stack in file.stacks() {
        stack.walk_into_workers(&file.apps, |event, position| {
            if let (Event::Named(id, _), Some(_)) = (event, position.python) {
                found.insert(id);
            }
        });
    }
    found
}

/// The user and the group of the workers of each app that names any.
pub(super) fn identities(file: &File) -> Vec<(Option<String>, Option<String>)> {
    let mut found = Vec::new();
    for stack in file.stacks() {
        stack.walk(|event, _| {
            if let Event::App(part) = event
                && part.kind.name == "wsgi"
            {
                found.push((text(part, "user"), text(part, "group")));
            }
        });
    }
    found.retain(|(user, group)| user.is_some() || group.is_some());
    found
}

fn text(part: &Part, option: &str) -> Option<String> {
    match &part.options.nearest(&[option.into()]).value {
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::pipeline::Pipeline;

    #[test]
    fn users_of_workers_are_found_wherever_an_app_is_named() {
        let text = r#"{ "apps": { "blog": { "wsgi": { "app": "blog:app", "user": "blog" } } },
            "app": { "routes": [{ "match": { "path": "/x" }, "app": { "wsgi": { "app": "x:app", "group": "x" } } },
                                { "app": { "wsgi": "site:app" } }] } }"#;
        let pipeline = Pipeline::from_text("pipeline.json", text, Path::new("/srv"), &crate::builtin(), &|_| None);
        let found = pipeline.unwrap_or_else(|report| panic!("{report}")).worker_identities();
        assert_eq!(found, [(Some("blog".to_owned()), None), (None, Some("x".to_owned()))]);
    }
}
