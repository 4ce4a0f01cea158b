//! Sends HTTP/1.1 requests over loopback from one thread and checks every response octet by octet.
//!
//! The plan is JSON on standard input, the report JSON on standard output:
//!
//! ```json
//! { "address": "127.0.0.1:8000", "seconds": 3.0, "requests": 1000000,
//!   "groups": [{ "name": "hello", "connections": 64,
//!     "exchanges": [{ "request": "hello.request", "status": 200, "body": "hello.body" }] }] }
//! ```
//!
//! `request` and `body` name files: the octets to send, and the body that must come back. A run ends after `seconds` or `requests`,
//! whichever is first, and then waits for the answers under way. The first wrong answer ends it with exit code 1.

mod answer;
mod client;
mod plan;
mod report;

use std::{io, process::ExitCode};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let plan = plan::Plan::read(io::stdin())?;
    let outcome = client::Client::new(&plan)?.run()?;
    serde_json::to_writer_pretty(io::stdout(), &report::Report::new(&plan, outcome))?;
    Ok(())
}
