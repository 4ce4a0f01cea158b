//! `ziggurat import`: a pipeline file from the configuration of another server.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::{FAILURE, MISUSE, SUCCESS, complain, print};
use crate::import::{self, NotImported};
use crate::pipeline::{Pipeline, Registry};

/// The options of the command.
#[derive(clap::Args)]
pub(super) struct Import {
    /// The file of the other server: the JSON of NGINX Unit, an `.ini`, `.xml` or `.yaml` of uWSGI, an `.ini` of Paste Deploy, `gunicorn.conf.py`, a Procfile, a Dockerfile, a systemd unit or a shell script.
    #[arg(value_name = "FILE", required_unless_present = "command")]
    file: Option<PathBuf>,

    /// A command line of gunicorn, uWSGI or pserve, instead of a file.
    #[arg(long, value_name = "LINE", conflicts_with = "file")]
    command: Option<String>,

    /// Writes the pipeline to this file, which must not exist. By default it goes to standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// How the report is written to standard error.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    report: ReportFormat,
}

/// The form of the report.
#[derive(Clone, Copy, clap::ValueEnum)]
enum ReportFormat {
    Text,
    Json,
}

/// Writes the pipeline and the report.
pub(super) fn import(options: &Import, registry: &Registry) -> u8 {
    let imported = match (&options.command, &options.file) {
        (Some(line), _) => import::command(Path::new(""), line),
        (None, Some(file)) => import::file(file),
        (None, None) => return MISUSE,
    };
    let imported = match imported {
        Ok(imported) => imported,
        Err(NotImported(message)) => return complain(&format!("error: {message}"), MISUSE),
    };
    if let Some(file) = &options.output
        && let Err(error) =
            OpenOptions::new().write(true).create_new(true).open(file).and_then(|mut file| file.write_all(imported.pipeline.as_bytes()))
    {
        return match error.kind() {
            ErrorKind::AlreadyExists => complain(&format!("error: `{}` already exists", file.display()), MISUSE),
            _ => complain(&format!("error: cannot write {}: {error}", file.display()), FAILURE),
        };
    }
    match options.report {
        ReportFormat::Text => complain(&imported.remarks.text(), SUCCESS),
        ReportFormat::Json => complain(&format!("{:#}", imported.remarks.to_json()), SUCCESS),
    };
    if options.output.is_none() && print(&imported.pipeline) != SUCCESS {
        return FAILURE;
    }
    refused(options, &imported.pipeline, registry).map_or(SUCCESS, |report| complain(&report, FAILURE))
}

/// What `check` finds in the pipeline, if that is an error. Variables that are not set here may be set where it runs.
fn refused(options: &Import, pipeline: &str, registry: &Registry) -> Option<String> {
    let name = options.output.as_deref().unwrap_or(Path::new("pipeline.json"));
    let folder = name.parent().unwrap_or(Path::new(""));
    let parsed = serde_json::from_str(pipeline).unwrap_or_default();
    let set = |variable: &str| std::env::var_os(variable).or_else(|| import::stand_in(&parsed, variable).map(Into::into));
    let report = Pipeline::from_text(&name.display().to_string(), pipeline, folder, registry, &set).err()?;
    Some(report.render(super::color()))
}
