//! `ziggurat certs`: lists the certificates of a pipeline, and makes one for development.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::json;
use ziggurat_middleware::Lifecycle;

use super::{FAILURE, File, MISUSE, SUCCESS, acme, color, complain, load, print, status};
use crate::acme::Timestamp;
use crate::pipeline::Registry;
use crate::tls;

/// For whom a certificate is if nobody is named: this machine.
const THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The options of the command.
#[derive(clap::Args)]
pub(super) struct Certs {
    #[command(flatten)]
    file: File,

    /// Prints the list as JSON.
    #[arg(long)]
    json: bool,

    /// Makes a certificate that no authority vouches for, and its key, which only this user can read.
    #[arg(long, conflicts_with = "json")]
    self_signed: bool,

    /// A host name or an address that the new certificate is for; may be repeated. By default `localhost`, `127.0.0.1` and `::1`.
    #[arg(long = "name", value_name = "NAME", requires = "self_signed")]
    names: Vec<String>,

    /// The folder of the new files.
    #[arg(long, value_name = "FOLDER", default_value = "tls", requires = "self_signed")]
    folder: PathBuf,
}

/// Lists the certificates of a pipeline, or makes one.
pub(super) fn certs(options: &Certs, registry: &Registry) -> u8 {
    if options.self_signed { self_signed(&options.names, &options.folder) } else { list(&options.file, registry, options.json) }
}

/// Lists the certificates in the files that a pipeline names, and those that its authorities are asked for. The exit code is 1 if one of the latter is missing, has expired, or
/// could not be renewed.
fn list(file: &File, registry: &Registry, json: bool) -> u8 {
    let pipeline = match load(file, registry) {
        Ok(pipeline) => pipeline,
        Err(report) => return complain(&report.render(color()), MISUSE),
    };
    let servers = match pipeline.certificates(&Arc::default(), &Lifecycle::default()) {
        Ok((servers, warnings)) => {
            if !warnings.is_empty() {
                complain(&warnings.render(color()), SUCCESS);
            }
            servers
        }
        Err(report) => return complain(&report.render(color()), FAILURE),
    };
    let mut status = tls::status::status(&servers, SystemTime::now());
    let now = Timestamp::from(SystemTime::now());
    let reports = pipeline.acme_reports(now);
    let printed = if json {
        status["acme"] = json!(reports);
        print(&format!("{status:#}\n"))
    } else if servers.is_empty() {
        print("no listener has TLS\n")
    } else {
        let files = if status["certificates"].as_array().is_some_and(Vec::is_empty) {
            String::new()
        } else {
            status::records(&status["certificates"])
        };
        print(&(files + &acme::table(&reports, now)))
    };
    if printed == SUCCESS && !acme::are_sound(&reports, now) { FAILURE } else { printed }
}

/// Writes a certificate for development and its key into a folder. Existing files stay.
fn self_signed(names: &[String], folder: &Path) -> u8 {
    let names = if names.is_empty() { THIS_MACHINE.map(str::to_owned).to_vec() } else { names.to_vec() };
    let made = match tls::self_signed(&names) {
        Ok(made) => made,
        Err(error) => {
            let text = format!("error: {error}\nhint: write host names and addresses, as in `--name site.test`");
            return complain(&text, MISUSE);
        }
    };
    // `*` and `:` are awkward in the names of files.
    let stem = names[0].replace('*', "wildcard").replace(':', "-");
    let (cert, key) = (folder.join(format!("{stem}.pem")), folder.join(format!("{stem}.key")));
    let written = fs::create_dir_all(folder).map_err(|error| (folder, error));
    let written = written.and_then(|()| write(&key, &made.key, 0o600).map_err(|error| (key.as_path(), error)));
    let written = written.and_then(|()| {
        write(&cert, &made.cert, 0o644).map_err(|error| {
            // A key without its certificate is of no use.
            let _ = fs::remove_file(&key);
            (cert.as_path(), error)
        })
    });
    if let Err((path, error)) = written {
        return match error.kind() {
            ErrorKind::AlreadyExists => complain(
                &format!("error: `{}` already exists\nhint: remove it, or write to another folder with `--folder`", path.display()),
                MISUSE,
            ),
            _ => complain(&format!("error: cannot write `{}`: {error}", path.display()), FAILURE),
        };
    }
    let listen = json!({ "at": ":8443", "tls": { "cert": cert.display().to_string(), "key": key.display().to_string() } });
    print(&format!(
        "wrote {} and {}, for {}\n\nIn the pipeline file:\n  \"listen\": {listen}\n\nNo client trusts it by itself. curl does with `--cacert {}`; for public sites, see docs/tls.md.\n",
        cert.display(),
        key.display(),
        names.join(", "),
        cert.display()
    ))
}

/// Writes a new file with these permissions.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(text.as_bytes())
}
