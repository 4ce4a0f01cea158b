//! Finds out how the project in a folder is served, from its files. It runs no Python and imports nothing.

mod bindings;
mod commands;
mod modules;
mod pipeline;
pub(crate) mod python;
mod settings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use bindings::{Binding, MADE, bindings, default_of};
use commands::hints;
use modules::{Module, modules};
use python::is_name;
use settings::Settings;

/// How a project is served.
#[derive(Debug)]
pub(crate) struct Project {
    /// What was found and where, one line each.
    pub(crate) found: Vec<String>,
    app: App,
    /// The folder that modules are imported from, relative to the project's; empty for the project's own.
    base: PathBuf,
    /// The folder with files for `/static`, relative to the project's.
    static_files: Option<PathBuf>,
    /// What the configuration of another server says.
    settings: Settings,
}

#[derive(Debug)]
enum App {
    /// `module:callable`.
    Wsgi(String),
    /// The settings module of a Django site.
    Django(String),
}

/// Why no app was chosen.
#[derive(Debug)]
pub(crate) enum Undecided {
    /// There is no WSGI app; what there is instead.
    Nothing(Vec<String>),
    /// There are several: the value of `--app` for each, and its description.
    Several(Vec<(String, String)>),
    /// The value of `--app` is not `module:callable`.
    Misnamed(String),
}

/// An app of one of the project's modules.
struct Candidate<'a> {
    module: &'a Module,
    binding: Binding,
}

/// Looks at the project in `folder`. `wanted` is the app that the user named, as `module:callable`.
pub(crate) fn detect(folder: &Path, wanted: Option<&str>) -> Result<Project, Undecided> {
    let modules = modules(folder);
    let all: Vec<Candidate<'_>> = modules
        .iter()
        .filter(|module| !module.name.ends_with("manage"))
        .flat_map(|module| bindings(module).into_iter().map(move |binding| Candidate { module, binding }))
        .collect();
    let all = with_imported(all, &modules);
    if let Some(wanted) = wanted {
        return asked_for(folder, wanted, &modules, &all);
    }
    if let Some(project) = django(folder, &modules, &all)? {
        return Ok(project);
    }
    if let [hint] = &hints(folder)[..] {
        let target = format!("{}:{}", hint.module, hint.callable);
        let found = vec![format!("{} starts {} with `{target}`", hint.file, hint.server)];
        return Ok(Project {
            settings: hint.settings.clone(),
            found,
            app: App::Wsgi(target),
            base: hint.base.clone(),
            static_files: static_files(folder, &all, &hint.module),
        });
    }
    let (wsgi, other): (Vec<_>, Vec<_>) = all.iter().partition(|candidate| candidate.binding.is_wsgi);
    let chosen = match &wsgi[..] {
        [one] => one,
        [] => {
            let asgi = other.iter().map(|candidate| candidate.asgi());
            return Err(Undecided::Nothing(asgi.chain(scripts(folder)).collect()));
        }
        several => match entry(several) {
            Some(entry) => entry,
            None => return Err(Undecided::Several(several.iter().map(|candidate| (candidate.target(), candidate.what())).collect())),
        },
    };
    Ok(Project {
        found: vec![format!("`{}` is {}", chosen.target(), chosen.what())],
        app: App::Wsgi(chosen.target()),
        base: chosen.module.base.clone(),
        settings: Settings::default(),
        static_files: static_files(folder, &all, &chosen.module.name),
    })
}

/// Adds the apps that modules for servers import from others: `wsgi.py` often has nothing else.
fn with_imported<'a>(mut all: Vec<Candidate<'a>>, modules: &'a [Module]) -> Vec<Candidate<'a>> {
    let is_for_servers = |module: &&Module| matches!(module.name.rsplit('.').next(), Some("wsgi" | "passenger_wsgi" | "application"));
    let mut found = Vec::new();
    for module in modules.iter().filter(is_for_servers) {
        let known = |from: &str, name: &str| {
            let is_meant = |candidate: &&Candidate<'_>| {
                let is_module = match from.strip_prefix('.') {
                    Some(relative) => candidate.module.name.rsplit('.').next() == Some(relative),
                    None => candidate.module.name == from,
                };
                is_module && candidate.binding.callable == name
            };
            all.iter().find(is_meant).map(|candidate| &candidate.binding)
        };
        found.extend(bindings::imported(module, known).into_iter().map(|binding| Candidate { module, binding }));
    }
    all.extend(found);
    all
}

/// Files for other servers that name an app, and that no module name reaches.
fn scripts(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let script = |name: &String| -> Option<String> {
        if let Some(stem) = name.strip_suffix(".wsgi") {
            let module = stem.replace(['-', '.'], "_");
            return Some(format!(
                "{name} is a script for mod_wsgi: copy it to {module}_wsgi.py, and name `{module}_wsgi:application` with `--app`"
            ));
        }
        let text = modules::text(&folder.join(name)).filter(|_| name.ends_with(".ini"))?;
        let is_paste =
            text.lines().any(|line| line.starts_with("[app:") || line.starts_with("[composite:") || line.trim() == "[pipeline:main]");
        is_paste.then(|| format!("{name} is a configuration of Paste Deploy: `ziggurat import {name}` writes the pipeline file for it"))
    };
    names.iter().filter_map(script).collect()
}

/// The app that is deployed, by convention: that of a module called `wsgi`, or the one that the project's own factory makes.
fn entry<'a, 'b>(several: &'a [&'b Candidate<'b>]) -> Option<&'a &'b Candidate<'b>> {
    let only = |is_entry: fn(&Candidate<'_>) -> bool| {
        let mut entries = several.iter().filter(|candidate| is_entry(candidate));
        entries.next().filter(|_| entries.next().is_none())
    };
    let is_made = |candidate: &Candidate<'_>| candidate.binding.what == MADE;
    let beside_its_factory = several.iter().all(|candidate| is_made(candidate) || candidate.binding.callable.ends_with("()"));
    only(|candidate| candidate.module.name.rsplit('.').next() == Some("wsgi")).or_else(|| only(is_made).filter(|_| beside_its_factory))
}

fn asked_for(folder: &Path, wanted: &str, modules: &[Module], all: &[Candidate<'_>]) -> Result<Project, Undecided> {
    let (name, callable) = wanted.split_once(':').unwrap_or((wanted, "application"));
    let is_dotted = |text: &str| text.split('.').all(is_name);
    if !is_dotted(name) || name.ends_with(".py") || !is_dotted(callable.trim_end_matches("()")) {
        return Err(Undecided::Misnamed(wanted.to_owned()));
    }
    let module = modules.iter().find(|module| module.name == name);
    let found = match module {
        Some(module) => format!("`{wanted}` is in {}", module.file.display()),
        None => format!("`{wanted}` is in no module of this folder; it must be installed"),
    };
    Ok(Project {
        found: vec![found],
        app: App::Wsgi(wanted.to_owned()),
        base: module.map(|module| module.base.clone()).unwrap_or_default(),
        settings: settings(folder),
        static_files: static_files(folder, all, name),
    })
}

/// What the one command line in the files of the project says beside its app.
fn settings(folder: &Path) -> Settings {
    match &hints(folder)[..] {
        [hint] => hint.settings.clone(),
        _ => Settings::default(),
    }
}

/// A Django project, known by its `manage.py`.
fn django(folder: &Path, modules: &[Module], all: &[Candidate<'_>]) -> Result<Option<Project>, Undecided> {
    let managed = |module: &Module| module.file.file_name().is_some_and(|name| name == "manage.py");
    let sites: Vec<(&Module, &str)> = modules
        .iter()
        .filter(|module| managed(module))
        .filter_map(|module| Some((module, default_of(module, "DJANGO_SETTINGS_MODULE")?)))
        .collect();
    let (manage, settings) = match &sites[..] {
        [] => return Ok(None),
        [site] => *site,
        several => {
            let entry = |(manage, settings): &(&Module, &str)| {
                let package = settings.split('.').next().unwrap_or_default();
                (format!("{package}.wsgi:application"), format!("the site of {}", manage.file.display()))
            };
            return Err(Undecided::Several(several.iter().map(entry).collect()));
        }
    };
    let base = manage.file.parent().unwrap_or(Path::new("")).to_owned();
    let mut found = vec![format!("{} is of a Django site with the settings `{settings}`", manage.file.display())];
    // The settings in production may differ from those in development.
    let deployed = all.iter().filter(|candidate| candidate.binding.what == "a Django app" && candidate.module.base == base);
    let mut deployed = deployed.filter_map(|candidate| Some((candidate, default_of(candidate.module, "DJANGO_SETTINGS_MODULE")?)));
    let settings = match deployed.next() {
        Some((candidate, deployed)) if deployed != settings => {
            found.push(format!("{} deploys it with `{deployed}`", candidate.module.file.display()));
            deployed
        }
        _ => settings,
    };
    Ok(Some(Project { found, app: App::Django(settings.to_owned()), base, static_files: None, settings: self::settings(folder) }))
}

/// The folder that the app's framework serves below `/static`, if it is there: that of the module, or of the factory that makes its app.
fn static_files(folder: &Path, all: &[Candidate<'_>], module: &str) -> Option<PathBuf> {
    let own = all.iter().find(|candidate| candidate.module.name == module && candidate.binding.what != MADE);
    let mut factories = all.iter().filter(|candidate| candidate.binding.callable.ends_with("()"));
    let candidate = own.or_else(|| factories.next().filter(|_| factories.next().is_none()))?;
    let path = candidate.module.file.parent()?.join("static");
    (candidate.binding.has_static && folder.join(&path).is_dir()).then_some(path)
}

impl Candidate<'_> {
    fn target(&self) -> String {
        format!("{}:{}", self.module.name, self.binding.callable)
    }

    fn what(&self) -> String {
        format!("{} in {}", self.binding.what, self.module.file.display())
    }

    fn asgi(&self) -> String {
        format!("`{}` is {}: it is for ASGI, and Ziggurat serves WSGI", self.target(), self.what())
    }
}
