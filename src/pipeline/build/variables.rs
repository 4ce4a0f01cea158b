//! The variables of the environment that an app does not inherit: those that the file gives to other parts.

use std::collections::{BTreeMap, HashSet};

use ziggurat_middleware::{Place, Step};

use crate::pipeline::model::{Event, File, Part};

/// The variables in `${...}`, with the layers and apps that name each. `tls`, and `traces`, `metrics` and `store` of `server` name some, too, which no app has a use for.
pub(super) struct Variables(BTreeMap<String, HashSet<Place>>);

impl Variables {
    pub(super) fn of(file: &File) -> Self {
        let mut variables = BTreeMap::<String, HashSet<Place>>::new();
        for stack in file.stacks() {
            stack.walk(|event, _| {
                if let Event::Layer(_, part) | Event::App(part) = event {
                    for name in part.options.variables() {
                        variables.entry(name.to_owned()).or_default().insert(part.place.clone());
                    }
                }
            });
        }
        let tls = file.listen.iter().filter_map(|entry| entry.tls.as_ref()).flat_map(|tls| tls.node.variables());
        let own = ["traces", "metrics", "store"].map(Step::from);
        let server = file.server.node.children().filter(|(key, _)| own.contains(key)).flat_map(|(_, options)| options.variables());
        for name in tls.chain(server) {
            variables.entry(name.to_owned()).or_default();
        }
        Self(variables)
    }

    /// Those that none of these parts names.
    pub(super) fn of_others<'a>(&self, own: impl IntoIterator<Item = &'a Part>) -> Vec<String> {
        let own: Vec<&Place> = own.into_iter().map(|part| &part.place).collect();
        let others = self.0.iter().filter(|(_, places)| !own.iter().any(|place| places.contains(*place)));
        others.map(|(name, _)| name.clone()).collect()
    }
}
