//! The error log, on standard error.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatFields, Writer};
use ziggurat_middleware::LogLine;

/// Starts the log at the level of `ZIGGURAT_LOG` (default `info`). A second call in the same process changes nothing.
pub(crate) fn start() {
    start_marked(Mark::default());
}

/// Starts the log with a mark at the beginning of each line's fields.
pub(crate) fn start_marked(mark: Mark) {
    let level = std::env::var("ZIGGURAT_LOG").ok().and_then(|level| EnvFilter::try_new(with_quiet_rustls(&level)).ok());
    let level = level.unwrap_or_else(|| with_quiet_rustls("info").into());
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).with_ansi(colour).with_target(false);
    let _ = log.fmt_fields(MessageLast { mark }).try_init();
}

/// A filter without the warnings of rustls about each client that does something odd, unless it names rustls: nothing bounds their number.
fn with_quiet_rustls(filter: &str) -> String {
    if filter.contains("rustls") { filter.to_owned() } else { format!("{filter},rustls=error") }
}

/// A text in each line that names the process which wrote it. It can be changed at any time.
#[derive(Clone, Default)]
pub(crate) struct Mark(Arc<ArcSwap<String>>);

impl Mark {
    /// Sets the text of lines from now on.
    pub(crate) fn set(&self, text: String) {
        self.0.store(Arc::new(text));
    }
}

struct MessageLast {
    mark: Mark,
}

impl<'writer> FormatFields<'writer> for MessageLast {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = LogLine::default();
        fields.record(&mut line);
        let mark = self.mark.0.load();
        let space = if mark.is_empty() { "" } else { " " };
        write!(writer, "{mark}{space}{line}")
    }
}

/// What another program says, as a part of a line: control characters are escaped.
pub(crate) fn said(text: &str) -> String {
    let mut said = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => said.push(' '),
            _ if character.is_control() => said.extend(character.escape_default()),
            _ => said.push(character),
        }
    }
    said
}
