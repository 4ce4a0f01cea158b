//! Text as a pipeline file: it is a pipeline, or findings that can be shown.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ziggurat::pipeline::Pipeline;

fuzz_target!(|text: &str| {
    match Pipeline::from_text("pipeline.json", text, Path::new("/nowhere"), &ziggurat::builtin(), &|_| Some("value".into())) {
        Ok(pipeline) => drop((pipeline.show(), pipeline.normalized())),
        Err(report) => assert!(!report.render(false).is_empty() && report.to_json().is_array()),
    }
});
