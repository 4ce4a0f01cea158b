//! Ziggurat with the router `live`.

use std::process::ExitCode;

fn main() -> ExitCode {
    axum_beside_django::program().main()
}
