//! `ziggurat key`: makes a key for the layer `api_key`.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ziggurat_middleware::api_key::NewKey;

use super::{FAILURE, MISUSE, complain, print};

/// The options of the command.
#[derive(clap::Args)]
pub(super) struct Key {
    /// Whose key it is: `REMOTE_USER` for apps.
    name: String,

    /// What the key is meant for; may be repeated. The option `scopes` of the layer asks for them.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,

    /// Appends the line to this file, which is made if it is missing and which only this user can then read, and prints the key alone.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Makes a key and prints it, with the line of the file or without it.
pub(super) fn key(options: &Key) -> u8 {
    let made = match NewKey::new(&options.name, &options.scopes) {
        Ok(made) => made,
        Err(error) => return complain(&format!("error: {error}"), MISUSE),
    };
    match &options.to {
        None => print(&format!("key:  {}\nline: {}\n", made.key, made.line)),
        Some(path) => match append(path, &made.line) {
            Ok(()) => print(&format!("{}\n", made.key)),
            Err(error) => complain(&format!("error: cannot write `{}`: {error}", path.display()), FAILURE),
        },
    }
}

/// Adds a line at the end of a file, in one write: the running server may read it at any time.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let start = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{start}{line}\n").as_bytes())
}
