//! A program that listens for front servers.

use std::path::PathBuf;

use crate::support::Program;

pub const PROTOCOLS: [&str; 3] = ["fastcgi", "scgi", "uwsgi"];

/// The site on a socket per protocol. `options` are further keys of the app, each with a comma before it.
pub fn site(app: &str, options: &str) -> Program {
    let entries = PROTOCOLS.map(|protocol| format!(r#"{{ "at": "unix:{protocol}.sock", "protocol": "{protocol}" }}"#)).join(", ");
    let pipeline = format!(r#"{{ "listen": [{entries}], "app": {{ "wsgi": {{ "app": "site_under_test:{app}"{options} }} }} }}"#);
    let folder = crate::support::folder_of(&[("site_under_test.py", include_str!("site.py")), ("pipeline.json", &pipeline)]);
    let mut command = crate::support::command(folder.path());
    command.args(["run", "pipeline.json"]).env("ZIGGURAT_TEST_CLOSED", folder.path().join("closed"));
    Program::spawn(command, folder)
}

/// The socket of a protocol.
pub fn socket(program: &Program, protocol: &str) -> PathBuf {
    program.folder().join(format!("{protocol}.sock"))
}
