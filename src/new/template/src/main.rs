//! Ziggurat with the layers of this crate, as a program.

use ziggurat::prelude::*;

fn main() -> ExitCode {
    {{module}}::program().main()
}
