//! An argument that was meant as a command or a file, and not as an app.

use std::path::Path;

use clap::CommandFactory;

use super::Cli;
use crate::pipeline::closest;

/// A message about an argument that is meant as a command or a file, and not as an app.
pub(super) fn explain(app: &str) -> Option<String> {
    let path = Path::new(app);
    let is_json =
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json") || extension.eq_ignore_ascii_case("jsonc"));
    if is_json {
        return Some(format!("error: `{app}` is a file, not a command or an app\nhint: serve it with `ziggurat run {app}`"));
    }
    if app.contains([':', '.', '/']) || path.with_extension("py").exists() || path.exists() {
        return None;
    }
    let commands = Cli::command();
    let names: Vec<&str> = commands.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name).collect();
    closest(app, names).map(|name| {
        format!("error: `{app}` is neither a command nor an app\nhint: did you mean `ziggurat {name}`? An app is written `module:callable`")
    })
}
