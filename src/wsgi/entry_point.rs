//! `egg:Distribution#name`: a factory that an installed distribution advertises as an entry point, as Paste Deploy finds it.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use ziggurat_middleware::Finding;

use super::load::{environment, kind, traceback};

/// The groups of entry points that make an application.
const OF_APPS: &[Group] = &[Group { name: "paste.app_factory", is_factory: true }];

/// The groups that make a middleware. The first one that has the name counts.
const OF_MIDDLEWARE: &[Group] =
    &[Group { name: "paste.filter_factory", is_factory: true }, Group { name: "paste.filter_app_factory", is_factory: false }];

/// The groups of factories that load other parts of a configuration.
const OF_COMPOSITES: &[&str] = &["paste.composite_factory", "paste.composit_factory"];

/// A group of entry points.
struct Group {
    name: &'static str,
    /// Whether its result is called with the application; otherwise the application is the first argument.
    is_factory: bool,
}

/// The name of an entry point. [`super::load::Target`] is the same for modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryPoint<'a> {
    /// The option that names it.
    pub(super) key: &'static str,
    pub(super) distribution: &'a str,
    pub(super) name: &'a str,
}

impl<'a> EntryPoint<'a> {
    /// Parses what follows `egg:`; `main` is the name where there is none.
    pub(super) fn parse(key: &'static str, text: &'a str) -> Result<Self, Finding> {
        let (distribution, name) = text.split_once('#').unwrap_or((text, "main"));
        let is_name = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_control() || c.is_whitespace() || "#:/".contains(c));
        if is_name(distribution) && is_name(name) {
            return Ok(Self { key, distribution, name });
        }
        let finding = Finding::new(format!("`egg:{text}` does not name an entry point")).at(key);
        Err(finding.hint("write `egg:Distribution#name`, as in `egg:Paste#gzip`"))
    }

    /// Loads it, and says whether it is a factory in the sense of [`super::load::Target::is_factory`].
    pub(super) fn load<'py>(&self, py: Python<'py>) -> Result<(Bound<'py, PyAny>, bool), Finding> {
        let Self { key, distribution, name } = *self;
        let metadata = py.import("importlib.metadata")?;
        let found = metadata.call_method1("distribution", (distribution,)).map_err(|error| {
            let is_missing = metadata.getattr("PackageNotFoundError").is_ok_and(|missing| error.matches(py, missing).unwrap_or(false));
            let finding = Finding::new(format!("the distribution `{distribution}` is not installed")).at(key);
            let finding = finding.hint(format!("install it in {}", environment()));
            if is_missing { finding } else { finding.note(traceback(py, &error)) }
        })?;
        let all = found.getattr("entry_points")?;
        let named = |group: &str| -> PyResult<Option<Bound<'py, PyAny>>> {
            let by = PyDict::new(py);
            by.set_item("group", group)?;
            by.set_item("name", name)?;
            all.call_method("select", (), Some(&by))?.try_iter()?.next().transpose()
        };
        for group in self.groups() {
            if let Some(entry) = named(group.name)? {
                let object = entry.call_method0("load").map_err(|error| {
                    let message =
                        format!("the entry point `{name}` of `{distribution}` cannot be loaded: it raised `{}`", kind(py, &error));
                    Finding::new(message).at(key).note(traceback(py, &error))
                })?;
                return Ok((object, group.is_factory));
            }
        }
        if key == "app" {
            for group in OF_COMPOSITES {
                if named(group)?.is_some() {
                    let finding = Finding::new(format!("the entry point `{name}` of `{distribution}` is a `{group}`")).at(key);
                    return Err(finding.hint(
                        "it loads other sections of its file: write `paste.deploy:loadapp()` with `\"args\": [\"config:/path/site.ini\"]`",
                    ));
                }
            }
        }
        let groups = self.groups().iter().map(|group| format!("`{}`", group.name)).collect::<Vec<_>>().join(" or ");
        let finding = Finding::new(format!("`{distribution}` has no entry point `{name}` in {groups}")).at(key);
        Err(match self.others(&all)?.as_slice() {
            [] => finding.hint("it has none of this kind"),
            others => finding.hint(format!("it has {}", others.join(", "))),
        })
    }

    fn groups(&self) -> &'static [Group] {
        if self.key == "app" { OF_APPS } else { OF_MIDDLEWARE }
    }

    /// The names that the distribution has in the groups.
    fn others(&self, all: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
        let mut names = Vec::new();
        for entry in all.try_iter()? {
            let entry = entry?;
            let group = entry.getattr("group")?.extract::<String>()?;
            if self.groups().iter().any(|known| known.name == group) {
                names.push(format!("`{}`", entry.getattr("name")?.extract::<String>()?));
            }
        }
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_point_is_a_name_of_a_distribution() {
        let parse = |text| EntryPoint::parse("app", text);
        assert_eq!(parse("Paste#gzip"), Ok(EntryPoint { key: "app", distribution: "Paste", name: "gzip" }));
        assert_eq!(parse("my-site"), Ok(EntryPoint { key: "app", distribution: "my-site", name: "main" }));
        for odd in ["", "#main", "a#", "a b#c", "a#b#c", "a/b", "a:b#c"] {
            assert!(parse(odd).unwrap_err().hint.unwrap().contains("egg:Distribution#name"), "{odd}");
        }
    }
}
