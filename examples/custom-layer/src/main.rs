//! Ziggurat with the layer `partner_key`.

use std::process::ExitCode;

fn main() -> ExitCode {
    custom_layer::program().main()
}
