//! `ziggurat init`: writes the pipeline file of a project.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::{FAILURE, MISUSE, complain, print};
use crate::detect::{Project, Undecided, detect};

const FILE: &str = "pipeline.json";

/// Writes the pipeline file of `folder`, and prints what was found and what to do next.
pub(super) fn init(folder: &Path, app: Option<&str>, force: bool) -> u8 {
    if !folder.is_dir() {
        return complain(&format!("error: `{}` is not a folder", folder.display()), MISUSE);
    }
    let file = if folder == Path::new(".") { PathBuf::from(FILE) } else { folder.join(FILE) };
    if file.exists() && !force {
        return complain(&is_there(&file), MISUSE);
    }
    let project = match detect(folder, app) {
        Ok(project) => project,
        Err(undecided) => return complain(&explain(folder, undecided), MISUSE),
    };
    match write(&file, &project.pipeline(), force) {
        Ok(()) => print(&report(folder, &file, &project)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => complain(&is_there(&file), MISUSE),
        Err(error) => complain(&format!("error: cannot write {}: {error}", file.display()), FAILURE),
    }
}

/// Writes a new file; with `force`, overwrites an existing one.
fn write(file: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.write(true).open(file)?.write_all(text.as_bytes())
}

fn is_there(file: &Path) -> String {
    format!("error: `{}` already exists\nhint: `ziggurat init --force` overwrites it", file.display())
}

fn report(folder: &Path, file: &Path, project: &Project) -> String {
    let mut text = String::new();
    for line in &project.found {
        let _ = writeln!(text, "found: {line}");
    }
    for line in project.notes() {
        let _ = writeln!(text, "note: {line}");
    }
    let named = if folder == Path::new(".") { String::new() } else { format!(" {}", file.display()) };
    let _ = write!(
        text,
        "wrote {}\n\nNext:\n  ziggurat check{named}   imports the app and reports everything that is wrong\n  \
         ziggurat run{named}     serves it\n\n\
         If the app's packages are in a virtual environment, set VIRTUAL_ENV to its folder.\n",
        file.display()
    );
    text
}

fn explain(folder: &Path, undecided: Undecided) -> String {
    let mut text = String::new();
    match undecided {
        Undecided::Nothing(instead) => {
            let _ = writeln!(text, "error: no WSGI app was found in `{}`", folder.display());
            for line in instead {
                let _ = writeln!(text, "  {line}");
            }
            text.push_str("hint: name it: `ziggurat init --app pkg.mod:callable`, or `pkg.mod:make()` for a factory");
        }
        Undecided::Several(apps) => {
            let _ = writeln!(text, "error: there is more than one app in `{}`:", folder.display());
            let width = apps.iter().map(|(target, _)| target.len()).max().unwrap_or_default();
            for (target, what) in &apps {
                let _ = writeln!(text, "  {target:width$}  {what}");
            }
            let first = apps.first().map_or("pkg.mod:callable", |(target, _)| target);
            let _ = write!(text, "hint: choose one: `ziggurat init --app {first}`");
        }
        Undecided::Misnamed(app) => {
            let _ = write!(text, "error: `{app}` does not name an app\nhint: write `module:callable`, as in `mysite.wsgi:application`");
        }
    }
    text
}
