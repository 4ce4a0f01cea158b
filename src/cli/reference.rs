//! `ziggurat layers` and `ziggurat lints`: what the reference pages say.

use std::path::PathBuf;

use super::{FAILURE, MISUSE, SUCCESS, complain, print};
use crate::docs;
use crate::pipeline::{Registry, lints};

/// The options of `layers`.
#[derive(clap::Args)]
pub(super) struct Layers {
    /// A layer or app.
    name: Option<String>,

    /// Prints all as JSON: the name, the role, what it does, and the Python middleware that it replaces.
    #[arg(long, conflicts_with = "name")]
    json: bool,

    /// Writes the reference pages, one per layer and app, into this folder.
    #[arg(long, value_name = "FOLDER", conflicts_with = "name", hide = true)]
    write: Option<PathBuf>,
}

/// The options of `lints`.
#[derive(clap::Args)]
pub(super) struct Lints {
    /// The id of a lint.
    id: Option<String>,
}

/// Lists layers and apps, or prints the page of one.
pub(super) fn layers(options: &Layers, registry: &Registry) -> u8 {
    match options {
        Layers { name: Some(name), .. } => page(docs::terminal_page(registry, name)),
        Layers { write: Some(folder), .. } => match docs::write_pages(registry, folder) {
            Ok(()) => SUCCESS,
            Err(error) => complain(&format!("error: cannot write to {}: {error}", folder.display()), FAILURE),
        },
        Layers { json: true, .. } => print(&format!("{:#}\n", docs::json(registry))),
        Layers { .. } => print(&docs::listing(registry)),
    }
}

/// Lists lints, or prints the page of one.
pub(super) fn lints(options: &Lints) -> u8 {
    match &options.id {
        Some(id) => page(docs::lint_page(id)),
        None => print(&lints::listing()),
    }
}

fn page(found: Result<String, String>) -> u8 {
    match found {
        Ok(page) => print(&page),
        Err(message) => complain(&message, MISUSE),
    }
}
