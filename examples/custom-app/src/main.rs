//! Ziggurat with the app `feature_flags`.

use std::process::ExitCode;

fn main() -> ExitCode {
    custom_app::program().main()
}
