//! A short-lived process that reads the settings of a Django site for the server.

use std::ffi::CStr;
use std::io::{BufRead, BufReader, Write};

use pyo3::prelude::*;
use ziggurat_middleware::Finding;

use super::super::interpreter::{PythonThread, finalize_process, initialize};
use super::super::load::{Target, extend_path, import_failed, raised};
use super::{descriptor, watch};
use crate::worker::boot::Refusal;
use crate::worker::django_settings::{Settings, SettingsQuery, SettingsReply, line};
use crate::worker::identity::become_user;

const READER: &CStr = match CStr::from_bytes_with_nul(concat!(include_str!("settings.py"), "\0").as_bytes()) {
    Ok(code) => code,
    Err(_) => panic!("the source holds a NUL"),
};

/// Answers the query on the link.
///
/// # Errors
///
/// A message for a user who started this by hand.
pub(crate) fn run() -> Result<(), String> {
    let not_a_query = |error: &dyn std::fmt::Display| {
        format!("error: there is no query of a server: {error}\nhint: the server starts this command itself")
    };
    let mut link = descriptor::take().map_err(|error| not_a_query(&error))?;
    let mut asked = String::new();
    BufReader::new(&link).read_line(&mut asked).map_err(|error| not_a_query(&error))?;
    let query = serde_json::from_str(&asked).map_err(|error| not_a_query(&error))?;
    let reply = watch::over(&link, || match settings(&query) {
        Ok(settings) => SettingsReply::Settings(settings),
        Err(finding) => SettingsReply::Refused(Refusal::from(finding)),
    });
    finalize_process();
    // If this fails, nobody waits for it.
    let _ = link.write_all(&line(&reply));
    Ok(())
}

fn settings(query: &SettingsQuery) -> Result<Settings, Finding> {
    become_user(query.user.as_deref(), query.group.as_deref())?;
    if let Some(folder) = &query.chdir {
        std::env::set_current_dir(folder)
            .map_err(|error| Finding::new(format!("cannot work in the folder `{}`: {error}", folder.display())).at("chdir"))?;
    }
    initialize()?;
    let _busy = PythonThread::mark();
    Python::attach(|py| read(py, query))
}

fn read(py: Python<'_>, query: &SettingsQuery) -> Result<Settings, Finding> {
    let module = query.settings.as_str();
    py.import("os")?.getattr("environ")?.set_item("DJANGO_SETTINGS_MODULE", module)?;
    extend_path(py, &query.path)?;
    let target = Target::of_module(module);
    let failed = |error: PyErr| import_failed(py, &target, &query.path, &error);
    py.import(module).map_err(failed)?;
    py.import("django").map_err(failed)?;
    let reader = PyModule::from_code(py, READER, c"<ziggurat>", c"ziggurat_settings")?;
    let settings = reader.getattr("read")?.call1((module,)).map_err(|error| raised(py, &format!("the settings `{module}`"), &error))?;
    serde_json::from_str(settings.extract()?).map_err(|error| Finding::new(format!("the settings `{module}` cannot be parsed: {error}")))
}
