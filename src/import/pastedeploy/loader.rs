//! What Paste Deploy would load: a tree of apps and filters with their factories and their configuration.
//!
//! It follows `paste.deploy.loadwsgi` in what is inherited, what counts and what is refused, but calls nothing.

use std::path::{Component, Path};

use super::super::remarks::Treatment::{Dropped, Taken};
use super::super::remarks::{Place, Remarks};
use super::super::{NotImported, read};
use super::ini::Ini;
use super::sections::{Read, take};
use crate::detect::python::is_name;

/// How deep sections may use each other, how many parts there may be in all, and how many files.
const DEEPEST: usize = 32;
const MOST_PARTS: usize = 1_000;
const MOST_FILES: usize = 16;

/// What a section is wanted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    App,
    Filter,
    Server,
}

impl Wanted {
    /// The groups of equal prefixes of sections: of each, the first one that has the name counts.
    pub(super) const fn prefixes(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::App => &[&["app", "application"], &["composite", "composit"], &["pipeline"], &["filter-app"]],
            Self::Filter => &[&["filter"]],
            Self::Server => &[&["server"]],
        }
    }
}

/// A value of the configuration, and where it is said.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) place: Place,
}

/// The code that a section names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `Distribution#name`.
    Egg(String),
    /// `package.module:callable`.
    Object(String),
}

/// How the code is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    App,
    Filter,
    /// The app is its first argument.
    FilterApp,
    /// It loads other sections.
    Composite,
    /// The entry point says it.
    OfEgg,
}

/// A factory with its configuration.
#[derive(Clone, Debug)]
pub(super) struct Factory {
    pub(super) target: Target,
    pub(super) protocol: Protocol,
    pub(super) global: Vec<(String, String)>,
    pub(super) local: Vec<Item>,
    /// Where the code is named.
    pub(super) place: Place,
    pub(super) theirs: String,
    /// Whether the section that has it has a filter of its own, and names the code itself: Paste Deploy then gives it the options of sections that use this one, too.
    is_shared: bool,
    /// The file and the name of the section, for what only Paste Deploy can load. None for what is named without a section.
    pub(super) section: Option<(usize, String)>,
}

/// A part of the tree.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Factory(Factory),
    /// Filters over an app, outermost first.
    Filtered(Vec<Part>, Box<Part>),
}

/// The files that are read, and what is said of their lines.
pub(super) struct Loader {
    pub(super) files: Vec<Ini>,
    pub(super) remarks: Remarks,
    /// The sections that are being loaded, by file and name.
    path: Vec<(usize, String)>,
    parts: usize,
    /// Whether Paste Deploy itself loads a section, and with it others that nobody knows.
    pub(super) leaves_sections: bool,
}

type Result<T> = std::result::Result<T, NotImported>;

impl Loader {
    /// Over a file, with the variables that a command line sets.
    pub(super) fn new(mut file: Ini, variables: Vec<(String, String)>) -> Self {
        file.known = variables;
        Self { files: vec![file], remarks: Remarks::default(), path: Vec::new(), parts: 0, leaves_sections: false }
    }

    /// Loads what a section of the first file says.
    pub(super) fn load(&mut self, wanted: Wanted, name: &str) -> Result<Part> {
        let variables = self.files[0].known.clone();
        self.named(wanted, 0, name, &variables)
    }

    /// Loads the app that a composite names, and makes something of it while the section of the composite counts as being loaded.
    pub(super) fn app_of<T>(&mut self, composite: &Factory, name: &str, make: impl FnOnce(&mut Self, Part) -> Result<T>) -> Result<T> {
        let section = composite.section.clone().unwrap_or_default();
        let file = section.0;
        self.path.push(section);
        let part = self.named(Wanted::App, file, name, &composite.global);
        let made = part.and_then(|part| make(self, part));
        self.path.pop();
        made
    }

    /// A section by its name, or what an address such as `egg:Paste#gzip` names.
    fn named(&mut self, wanted: Wanted, file: usize, name: &str, global: &[(String, String)]) -> Result<Part> {
        self.parts += 1;
        if self.parts > MOST_PARTS || self.path.len() > DEEPEST {
            return Err(NotImported(format!(
                "`{}` has more than {MOST_PARTS} parts, or they are nested more than {DEEPEST} levels deep",
                self.files[file].name
            )));
        }
        let Some((scheme, rest)) =
            name.split_once(':').filter(|(scheme, _)| scheme.bytes().all(|octet| octet.is_ascii_alphabetic()) && !scheme.is_empty())
        else {
            return self.section(wanted, file, name, global);
        };
        let factory = |target, protocol| {
            Part::Factory(Factory {
                target,
                protocol,
                global: global.to_vec(),
                local: Vec::new(),
                place: Place::default(),
                theirs: name.to_owned(),
                is_shared: false,
                section: None,
            })
        };
        match scheme.to_ascii_lowercase().as_str() {
            "egg" => Ok(factory(Target::Egg(rest.trim().to_owned()), Protocol::OfEgg)),
            "call" if is_object(rest.trim()) => {
                let protocol = if wanted == Wanted::Filter { Protocol::Filter } else { Protocol::App };
                Ok(factory(Target::Object(rest.trim().to_owned()), protocol))
            }
            "config" => {
                let (path, section) = rest.split_once('#').unwrap_or((rest, "main"));
                let other = self.open(file, path.trim(), global)?;
                self.section(wanted, other, section.trim(), global)
            }
            _ => Err(NotImported(format!(
                "{}: `{}` is no name of a section, and none of `egg:Distribution#name`, `call:module:factory` and `config:file.ini`",
                self.files[file].name,
                super::shown(name)
            ))),
        }
    }

    /// Another file, below the folder of the first one.
    fn open(&mut self, from: usize, path: &str, global: &[(String, String)]) -> Result<usize> {
        let first = &self.files[0];
        let full = Path::new(&self.files[from].here).join(path);
        let inside = full
            .strip_prefix(&first.here)
            .ok()
            .filter(|rest| rest.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)));
        let Some(inside) = inside else {
            let hint = "only files below the folder of the first one are read: copy it there, and import again";
            return Err(NotImported(format!("`config:{}` is a file elsewhere\nhint: {hint}", super::shown(path))));
        };
        let full = full.display().to_string();
        if let Some(known) = self.files.iter().position(|file| file.path == full && file.known == global) {
            return Ok(known);
        }
        if self.files.len() == MOST_FILES {
            return Err(NotImported(format!("more than {MOST_FILES} files use each other")));
        }
        let folder = first.name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let name = Path::new(folder).join(inside).display().to_string();
        let text = read(Path::new(&full)).map_err(NotImported)?;
        let file = Ini::parse(&name, &full, &text).map_err(NotImported)?;
        self.files.push(Ini { known: global.to_vec(), ..file });
        Ok(self.files.len() - 1)
    }

    fn section(&mut self, wanted: Wanted, file: usize, name: &str, global: &[(String, String)]) -> Result<Part> {
        let at = self.find(wanted, file, name)?;
        let (header, line) = (self.files[file].sections[at].name.clone(), self.files[file].sections[at].line);
        let here = (file, header.clone());
        if self.path.contains(&here) {
            let circle: Vec<String> =
                self.path.iter().chain([&here]).map(|(file, name)| format!("{}[{name}]", self.files[*file].name)).collect();
            return Err(NotImported(format!("{}:{line}: the section uses itself: {}", self.files[file].name, circle.join(" -> "))));
        }
        self.path.push(here);
        let part = self.part(wanted, file, at, global);
        self.path.pop();
        part
    }

    fn part(&mut self, wanted: Wanted, file: usize, at: usize, global: &[(String, String)]) -> Result<Part> {
        let kind = self.files[file].sections[at].name.split(':').next().unwrap_or_default().to_owned();
        let header = self.files[file].sections[at].name.clone();
        let place = self.files[file].place(self.files[file].sections[at].line);
        self.remarks.once(&place, &format!("[{header}]"), Taken, section_note(&kind));
        let mut read = self.read(file, at, global)?;
        let global = read.global.clone();
        let filter_with = if wanted == Wanted::Server { None } else { take(&mut read.local, "filter-with") };
        if let Some(required) = take(&mut read.local, "require") {
            self.remarks.once(&required.place, "require = ...", Dropped, "what is not installed fails the import of the app");
        }
        let names_code = !read.local.iter().any(|item| item.name == "use");
        let mut part = match kind.as_str() {
            "pipeline" => self.pipeline(file, &place, read.local, &global)?,
            "filter-app" => {
                let next = take(&mut read.local, "next").ok_or_else(|| NotImported(format!("{place}: `[{header}]` has no `next`")))?;
                self.remarks.once(&next.place, &format!("next = {}", next.value), Taken, "what stands below the layer");
                let app = self.named(Wanted::App, file, &next.value, &global)?;
                over(vec![self.factory(Wanted::Filter, file, &header, read)?], app)
            }
            _ => self.factory(wanted, file, &header, read)?,
        };
        let Some(filter) = filter_with else { return Ok(part) };
        self.remarks.once(&filter.place, &format!("filter-with = {}", filter.value), Taken, "a layer above");
        let filter = self.named(Wanted::Filter, file, &filter.value, &global)?;
        if let Part::Factory(factory) = &mut part {
            factory.is_shared = names_code;
        }
        Ok(over(vec![filter], part))
    }

    /// `pipeline = filter filter app`.
    fn pipeline(&mut self, file: usize, place: &Place, mut local: Vec<Item>, global: &[(String, String)]) -> Result<Part> {
        let list = take(&mut local, "pipeline").ok_or_else(|| NotImported(format!("{place}: the pipeline has no option `pipeline`")))?;
        if let Some(other) = local.first() {
            return Err(NotImported(format!("{}: a pipeline has no option `{}`", other.place, super::shown(&other.name))));
        }
        let mut names: Vec<&str> = list.value.split_whitespace().collect();
        let app = names.pop().ok_or_else(|| NotImported(format!("{}: the pipeline is empty", list.place)))?;
        self.remarks.once(&list.place, &format!("pipeline = {}", list.value), Taken, "`layers`, and below them the app");
        let app = self.named(Wanted::App, file, app, global)?;
        let filters = names.into_iter().map(|name| self.named(Wanted::Filter, file, name, global)).collect::<Result<_>>()?;
        Ok(over(filters, app))
    }

    /// What `use` or `paste.app_factory` names, with the options of the section.
    fn factory(&mut self, wanted: Wanted, file: usize, header: &str, read: Read) -> Result<Part> {
        let Read { global, mut local, additions } = read;
        if let Some(used) = take(&mut local, "use") {
            let mut part = self.named(wanted, file, &used.value, &global)?;
            let theirs = format!("use = {}", used.value);
            let Some(factory) = used_by_name(&mut part) else {
                self.remarks.once(&used.place, &theirs, Taken, "it is that section");
                for item in local {
                    let note = "Paste Deploy passes it to nothing: the section of `use` is a pipeline, or uses another one and has a filter of its own";
                    self.remarks.once(&item.place, &format!("{} = ...", item.name), Dropped, note);
                }
                return Ok(part);
            };
            merge(&mut factory.global, &additions);
            for item in local {
                match factory.local.iter_mut().find(|known| known.name == item.name) {
                    Some(known) => {
                        let note = format!("it does not count: {} says it again", item.place);
                        self.remarks.once(&known.place, &format!("{} = ...", known.name), Dropped, note);
                        *known = item;
                    }
                    None => factory.local.push(item),
                }
            }
            if factory.section.is_none() {
                factory.place = used.place;
                factory.theirs = theirs;
                if header.starts_with("composit") && matches!(factory.protocol, Protocol::App | Protocol::OfEgg) {
                    factory.protocol = Protocol::Composite;
                }
            } else {
                self.remarks.once(&used.place, &theirs, Taken, "it has the factory and the options of that section, too");
            }
            factory.section = Some((file, header.to_owned()));
            return Ok(part);
        }
        let protocols: &[(&str, Protocol)] = match wanted {
            Wanted::App => &[
                ("paste.app_factory", Protocol::App),
                ("paste.composite_factory", Protocol::Composite),
                ("paste.composit_factory", Protocol::Composite),
            ],
            Wanted::Filter => &[("paste.filter_factory", Protocol::Filter), ("paste.filter_app_factory", Protocol::FilterApp)],
            Wanted::Server => &[("paste.server_factory", Protocol::Filter), ("paste.server_runner", Protocol::FilterApp)],
        };
        let found = protocols.iter().find_map(|(option, protocol)| Some((take(&mut local, option)?, *protocol)));
        let Some((named, protocol)) = found else {
            let options: Vec<String> = protocols.iter().map(|(option, _)| format!("`{option}`")).collect();
            return Err(NotImported(format!(
                "{}: `[{header}]` names no code\nhint: `use` or one of {} names it",
                self.line_of(file, header),
                options.join(", ")
            )));
        };
        let target = named.value.split('[').next().unwrap_or_default().trim().to_owned();
        if !is_object(&target) {
            return Err(NotImported(format!("{}: `{}` is no `module:factory`", named.place, super::shown(&named.value))));
        }
        Ok(Part::Factory(Factory {
            target: Target::Object(target),
            protocol,
            global,
            local,
            place: named.place,
            theirs: format!("{} = {}", named.name, named.value),
            is_shared: false,
            section: Some((file, header.to_owned())),
        }))
    }

    fn line_of(&self, file: usize, header: &str) -> Place {
        let ini = &self.files[file];
        ini.place(ini.sections.iter().find(|section| section.name == header).map_or(0, |section| section.line))
    }
}

/// The factory that gets the options of a section which uses this part.
fn used_by_name(part: &mut Part) -> Option<&mut Factory> {
    match part {
        Part::Factory(factory) => Some(factory),
        Part::Filtered(_, app) => match &mut **app {
            Part::Factory(factory) if factory.is_shared => Some(factory),
            _ => None,
        },
    }
}

fn section_note(kind: &str) -> &'static str {
    match kind {
        "pipeline" => "layers over an app",
        "composite" | "composit" => "several apps",
        "filter" => "a layer",
        "filter-app" => "a layer over an app",
        "server" => "the server",
        _ => "an app",
    }
}

fn over(filters: Vec<Part>, app: Part) -> Part {
    Part::Filtered(filters, Box::new(app))
}

/// Sets values by their names.
pub(super) fn merge(values: &mut Vec<(String, String)>, more: &[(String, String)]) {
    for (name, value) in more {
        match values.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.clone_from(value),
            None => values.push((name.clone(), value.clone())),
        }
    }
}

/// Whether this is `package.module:object`.
fn is_object(text: &str) -> bool {
    text.split_once(':').is_some_and(|(module, object)| module.split('.').all(is_name) && object.split('.').all(is_name))
}
