//! A short-lived process that reads the settings of a Django site for the front.

use std::ffi::CStr;
use std::io::{BufRead, BufReader, Write};

use pyo3::prelude::*;
use ziggurat_middleware::Finding;

use super::super::interpreter::{Busy, finalize, initialize};
use super::super::load::{Target, extend_path, import_failed, raised};
use super::{link, watch};
use crate::worker::boot::Refusal;
use crate::worker::identity::become_user;
use crate::worker::inquiry::{Answer, Question, Settings, line};

const READER: &CStr = match CStr::from_bytes_with_nul(concat!(include_str!("settings.py"), "\0").as_bytes()) {
    Ok(code) => code,
    Err(_) => panic!("the source holds a NUL"),
};

/// Answers the one question that comes over standard input.
///
/// # Errors
///
/// A message for whoever started this otherwise than the server does.
pub(crate) fn run() -> Result<(), String> {
    let misused = |error: &dyn std::fmt::Display| format!("error: no question as standard input: {error}\nhint: the server asks itself");
    let mut link = link().map_err(|error| misused(&error))?;
    let mut asked = String::new();
    BufReader::new(&link).read_line(&mut asked).map_err(|error| misused(&error))?;
    let question = serde_json::from_str(&asked).map_err(|error| misused(&error))?;
    let answer = watch::over(&link, || match settings(&question) {
        Ok(settings) => Answer::Settings(settings),
        Err(finding) => Answer::Refused(Refusal::from(finding)),
    });
    finalize();
    // Nobody waits for it any more where this fails.
    let _ = link.write_all(&line(&answer));
    Ok(())
}

fn settings(question: &Question) -> Result<Settings, Finding> {
    become_user(question.user.as_deref(), question.group.as_deref())?;
    if let Some(folder) = &question.chdir {
        std::env::set_current_dir(folder)
            .map_err(|error| Finding::new(format!("cannot work in the folder `{}`: {error}", folder.display())).at("chdir"))?;
    }
    initialize()?;
    let _busy = Busy::mark();
    Python::attach(|py| read(py, question))
}

fn read(py: Python<'_>, question: &Question) -> Result<Settings, Finding> {
    let module = question.settings.as_str();
    py.import("os")?.getattr("environ")?.set_item("DJANGO_SETTINGS_MODULE", module)?;
    extend_path(py, &question.path)?;
    let target = Target::of_module(module);
    let failed = |error: PyErr| import_failed(py, &target, &question.path, &error);
    py.import(module).map_err(failed)?;
    py.import("django").map_err(failed)?;
    let reader = PyModule::from_code(py, READER, c"<ziggurat>", c"ziggurat_settings")?;
    let told = reader.getattr("told")?.call1((module,)).map_err(|error| raised(py, &format!("the settings `{module}`"), &error))?;
    serde_json::from_str(told.extract()?).map_err(|error| Finding::new(format!("the settings `{module}` are not understood: {error}")))
}
