//! The variables of the environment that an app does not inherit: those that the file gives to other parts.

use std::collections::{BTreeSet, HashMap, HashSet};

use ziggurat_middleware::{Place, Step};

use crate::pipeline::model::{Event, File, Part};

/// The variables in `${...}`.
pub(super) struct Variables {
    /// Those of each layer and each app.
    parts: HashMap<Place, BTreeSet<String>>,
    /// Those of `tls`, and of `traces`, `metrics` and `store` of `server`, which no app has a use for.
    server: BTreeSet<String>,
}

impl Variables {
    pub(super) fn of(file: &File) -> Self {
        let mut parts = HashMap::new();
        for stack in file.stacks() {
            stack.walk(|event, _| {
                if let Event::Layer(_, part) | Event::App(part) = event {
                    let names = part.options.variables().into_iter().map(str::to_owned).collect();
                    parts.insert(part.place.clone(), names);
                }
            });
        }
        let tls = file.listen.iter().filter_map(|entry| entry.tls.as_ref()).flat_map(|tls| tls.node.variables());
        let own = ["traces", "metrics", "store"].map(Step::from);
        let server = file.server.node.children().filter(|(key, _)| own.contains(key)).flat_map(|(_, options)| options.variables());
        Self { parts, server: tls.chain(server).map(str::to_owned).collect() }
    }

    /// Those that only parts other than these name.
    pub(super) fn of_others<'a>(&self, own: impl IntoIterator<Item = &'a Part>) -> Vec<String> {
        let places: HashSet<&Place> = own.into_iter().map(|part| &part.place).collect();
        let (own, others): (Vec<_>, Vec<_>) = self.parts.iter().partition(|(place, _)| places.contains(place));
        let own: BTreeSet<&String> = own.into_iter().flat_map(|(_, names)| names).collect();
        let others: BTreeSet<&String> = others.into_iter().flat_map(|(_, names)| names).chain(&self.server).collect();
        others.difference(&own).map(|name| (*name).clone()).collect()
    }
}
