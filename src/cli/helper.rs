//! Processes of this program that the server starts itself, each with one end of a link.

use std::io;
use std::os::unix::net::UnixStream;

use super::{FAILURE, MISUSE, SUCCESS, complain};
use crate::pipeline::{Registry, WorkerStack};
use crate::tls::root_reader;
use crate::worker::{spawner, title};
use crate::wsgi;

pub(super) fn worker(registry: &Registry) -> u8 {
    match wsgi::child::run(&|stack, lifecycle, runtime| WorkerStack::build(stack, registry, lifecycle, runtime)) {
        Ok(true) => SUCCESS,
        Ok(false) => FAILURE,
        Err(message) => complain(&message, MISUSE),
    }
}

pub(super) fn settings() -> u8 {
    match wsgi::child::settings::run() {
        Ok(()) => SUCCESS,
        Err(message) => complain(&message, MISUSE),
    }
}

pub(super) fn root_reader() -> u8 {
    title::set_short("zg:root-reader");
    over_link(|link| root_reader::process::run(&link))
}

pub(super) fn spawner() -> u8 {
    title::set_short("zg:spawner");
    over_link(spawner::process::run)
}

fn over_link(run: impl FnOnce(UnixStream) -> io::Result<()>) -> u8 {
    match wsgi::child::link().and_then(run) {
        Ok(()) => SUCCESS,
        Err(error) => complain(&format!("error: {error}\nhint: the server starts this command itself"), MISUSE),
    }
}
