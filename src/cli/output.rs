//! What commands print, and the codes that they return.

use std::io::{self, IsTerminal, Write};

use super::{FAILURE, SUCCESS};

/// Prints to standard output. A reader that is gone (`ziggurat schema | head`) is not a failure.
pub(super) fn print(text: &str) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => FAILURE,
        _ => SUCCESS,
    }
}

pub(super) fn complain(text: &str, code: u8) -> u8 {
    // Without standard error, there is nowhere to report a failure to.
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
    code
}

pub(super) fn color() -> bool {
    color_on(&io::stderr())
}

pub(super) fn color_on(stream: &impl IsTerminal) -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && stream.is_terminal()
}
