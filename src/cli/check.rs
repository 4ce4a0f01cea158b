//! `ziggurat check`: everything that is wrong with a file.

use http::Extensions;

use super::{FAILURE, File, MISUSE, SUCCESS, color, complain, load, print};
use crate::pipeline::Registry;
use crate::run;

/// Builds everything as `run` does, and prints the findings.
pub(super) fn check(file: &File, registry: &Registry, host: &Extensions, json: bool) -> u8 {
    let (report, code) = match load(file, registry) {
        Err(report) => (report, MISUSE),
        Ok(pipeline) => match run::try_build(&pipeline, host) {
            Err(report) => (report, FAILURE),
            Ok(warnings) => {
                let failing = pipeline.failing_tests();
                let code = if failing.is_empty() { SUCCESS } else { FAILURE };
                (pipeline.warnings().clone().with(warnings).with(failing), code)
            }
        },
    };
    if json {
        print(&format!("{:#}\n", report.to_json()));
        return code;
    }
    let text = report.render(color());
    if !text.is_empty() {
        complain(&text, code);
    }
    if code == SUCCESS {
        print(&format!("{}: ok\n", file.path.display()));
    }
    code
}
