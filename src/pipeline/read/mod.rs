//! From text to a [`File`]: syntax, then expansion of `${...}`, then names, types and values. Each phase reports all its findings, and the next one begins
//! only if there are none.

mod allow;
pub(super) mod expand;
mod file_tests;
mod grammar;
mod listen;
mod places;
mod route;
mod stack;
mod suggest;
mod syntax;
pub(super) mod text;

use std::path::Path;

use super::diagnostic::{Diagnostic, Source};
use super::model::{File, Part};
use super::registry::Registry;
use super::secrets::Secrets;
pub(super) use allow::AllowEntry;
use expand::Environment;
use grammar::Grammar;
pub(super) use grammar::ROUTES;
pub(super) use places::NAME;
use text::Dialect;

/// Reads a whole file. Relative paths in it start at `base`.
pub(super) fn file(
    source: &Source,
    dialect: Dialect,
    base: &Path,
    registry: &Registry,
    environment: Environment<'_>,
) -> Result<(File, Secrets), Vec<Diagnostic>> {
    let mut root = text::parse(&source.text, dialect)?;
    let secrets = expand::expand(&mut root, &source.text, base, environment)?;
    let mut grammar = Grammar::new(&root, registry, &secrets, base);
    let file = grammar.file(root);
    Ok((grammar.finish(file)?, secrets))
}

/// Reads a list of layers alone.
pub(super) fn layers(
    source: &Source,
    base: &Path,
    registry: &Registry,
    environment: Environment<'_>,
) -> Result<(Vec<Part>, Secrets), Vec<Diagnostic>> {
    let mut root = text::parse(&source.text, Dialect::Json)?;
    let secrets = expand::expand(&mut root, &source.text, base, environment)?;
    let mut grammar = Grammar::new(&root, registry, &secrets, base);
    let layers = grammar.layers_alone(root);
    Ok((grammar.finish(layers)?, secrets))
}
