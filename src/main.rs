//! The `ziggurat` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ziggurat::Ziggurat::new().main()
}
