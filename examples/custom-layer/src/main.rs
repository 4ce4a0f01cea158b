//! Ziggurat with the layer `api_key`.

use std::process::ExitCode;

fn main() -> ExitCode {
    custom_layer::program().main()
}
