//! Paste Deploy: its `.ini`, in which filters stand over apps. It is where the idea of a pipeline in a file comes from.

mod ini;
mod loader;
mod native;
mod sections;
mod server;
mod stack;
mod urlmap;

use std::path::{Component, Path};

use serde_json::{Map, Value as Json};

use super::commands::{Found, Start};
use super::draft::Draft;
use super::remarks::Treatment::{Dropped, Taken};
use super::remarks::{Place, Remarks};
use super::{Imported, NotImported, read};
use ini::Ini;
use loader::{Loader, Wanted};
use stack::Stack;

/// The beginnings of sections that name an app.
const SECTIONS: [&str; 6] = ["[app:", "[application:", "[composite:", "[composit:", "[pipeline:", "[filter-app:"];

/// The longest part of a file in a message.
const LONGEST: usize = 80;

/// What runs the app, as far as another part of a configuration says it.
#[derive(Default)]
pub(super) struct Served {
    pub(super) draft: Draft,
    /// Options of the processes.
    pub(super) wsgi: Map<String, Json>,
    pub(super) remarks: Remarks,
}

/// Whether this is a configuration of Paste Deploy.
pub(super) fn is_config(text: &str) -> bool {
    text.lines().any(|line| SECTIONS.iter().any(|section| line.starts_with(section)))
}

/// Imports a file with its server.
pub(super) fn config(name: &str, text: &str) -> Result<Imported, NotImported> {
    let mut site = Site::read(Path::new(name), name, text, "main", Vec::new())?;
    let served = server::server(&mut site.loader, "main")?;
    site.served_by(served)
}

/// Imports a command line of `pserve`, with the file that it names.
pub(super) fn command(folder: &Path, found: Found) -> Result<Imported, NotImported> {
    let Start { place, call, environment, mut remarks, .. } = found.start("pserve", "pserve")?;
    for (place, name, _) in environment {
        remarks.add(&place, &name, Dropped, "it stays where it is: workers inherit the variables of the server");
    }
    for (name, _) in call.environment {
        remarks.add(&place, &name, Dropped, "set it where the server is started");
    }
    let (mut file, mut app, mut server, mut variables) = (None, "main".to_owned(), "main".to_owned(), Vec::new());
    let mut words = call.arguments.into_iter();
    while let Some(word) = words.next() {
        let (flag, attached) = word.raw.split_once('=').map_or((word.raw.as_str(), None), |(flag, value)| (flag, Some(value.to_owned())));
        let mut value = || attached.clone().or_else(|| words.next().map(|word| word.raw)).unwrap_or_default();
        match flag {
            "-n" | "--app-name" => app = value(),
            "--server-name" => server = value(),
            "--reload" | "-b" | "--browser" | "-v" | "--verbose" | "-q" | "--quiet" => {
                remarks.add(
                    &place,
                    &word.raw,
                    Dropped,
                    "`ziggurat run --watch` reloads when code changes; there is no other of these options",
                );
            }
            flag if flag.starts_with('-') => remarks.add(&place, &word.raw, Dropped, "there is no counterpart"),
            _ if file.is_none() => {
                let unknown = || NotImported(format!("{place}: the file is not known before it runs: `{}`", word.raw));
                file = Some(word.value.plain_text().ok_or_else(unknown)?);
            }
            name => match word.value.plain_text().as_deref().and_then(|text| text.split_once('=')) {
                Some((name, value)) => {
                    remarks.add(&place, name, Taken, "in the first argument of every factory, and in place of `%(NAME)s`");
                    variables.push((name.to_owned(), value.to_owned()));
                }
                None => remarks.add(&place, name, Dropped, "it is no `NAME=value` that is known before it runs"),
            },
        }
    }
    let file = file.ok_or_else(|| NotImported(format!("{place}: `pserve` names no file")))?;
    let uri = if file.contains('#') { file.clone() } else { format!("{file}#{app}") };
    let mut site = Site::below(folder, &uri, variables)?;
    remarks.add(&place, &file, Taken, "its sections follow");
    let mut served = server::server(&mut site.loader, &server)?;
    remarks.extend(std::mem::take(&mut served.remarks));
    site.served_by(Served { remarks, ..served })
}

/// The app of a file.
pub(super) struct Site {
    loader: Loader,
    stack: Stack,
}

impl Site {
    /// Reads a file below `folder` that a command line of another server names: `site.ini` or `config:site.ini#name`.
    pub(super) fn below(folder: &Path, uri: &str, variables: Vec<(String, String)>) -> Result<Self, NotImported> {
        let uri = uri.strip_prefix("config:").unwrap_or(uri);
        let (path, section) = uri.split_once('#').unwrap_or((uri, "main"));
        let is_below = Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_below {
            return Err(NotImported(format!(
                "`{path}` is a file elsewhere\nhint: only files below the folder of the command line are read"
            )));
        }
        let file = folder.join(path);
        let text = read(&file).map_err(NotImported)?;
        Self::read(&file, &file.display().to_string(), &text, section, variables)
    }

    fn read(path: &Path, name: &str, text: &str, section: &str, variables: Vec<(String, String)>) -> Result<Self, NotImported> {
        let absolute = std::path::absolute(path).map_err(|error| NotImported(format!("`{name}` has no absolute path: {error}")))?;
        let ini = Ini::parse(name, &absolute.display().to_string(), text).map_err(NotImported)?;
        let mut loader = Loader::new(ini, variables);
        let part = loader.load(Wanted::App, section)?;
        let stack = Stack::of(&mut loader, part, false)?;
        Ok(Self { loader, stack })
    }

    /// The pipeline with what runs it.
    pub(super) fn served_by(mut self, mut served: Served) -> Result<Imported, NotImported> {
        let mut left: Vec<String> = self.stack.run_by(&served.wsgi);
        left.sort();
        left.dedup();
        for option in left {
            let note =
                format!("`{option}` belongs to one app, and a layer of Python stands over several: their workers have no such option");
            served.remarks.add(&Place::default(), &option, Dropped, note);
        }
        let here = format!("here = {}", self.loader.files[0].here);
        let note = "the folder of the file, in `args`, and in place of `%(here)s`: write another one where the site moves";
        served.remarks.add(&Place::default(), &here, Taken, note);
        self.loader.remarks.extend(served.remarks);
        self.loader.rest();
        let (layers, app) = self.stack.into_json();
        served.draft.layers.extend(layers);
        served.draft.app = app;
        Ok(Imported { pipeline: served.draft.text(), remarks: self.loader.remarks.sorted() })
    }
}

/// The beginning of a text of the file, for messages.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}
