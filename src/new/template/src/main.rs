//! Ziggurat with the layers of this crate, as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    {{module}}::program().main()
}
