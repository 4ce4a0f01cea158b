//! `ziggurat check`: everything that is wrong with a file.

use http::Extensions;

use super::{FAILURE, File, MISUSE, SUCCESS, color, complain, fix, load, print};
use crate::pipeline::Registry;
use crate::run;

/// The options of the command.
#[derive(clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: File,

    /// Prints findings as JSON, for editors.
    #[arg(long)]
    json: bool,

    /// Makes warnings errors: the exit code is 1 if there are any.
    #[arg(long)]
    strict: bool,

    /// First mends what can be mended by moving or removing a line, or by changing one value. Comments and formatting stay.
    ///
    /// It prints what it has mended. The file is replaced in one step, and only if it has not changed in the meantime.
    #[arg(long)]
    fix: bool,
}

/// Builds everything as `run` does, and prints the findings.
pub(super) fn check(options: &Check, registry: &Registry, host: &Extensions) -> u8 {
    let Check { file, json, strict, fix } = options;
    if *fix && let Err(message) = fix::fix(&file.path, registry) {
        return complain(&message, FAILURE);
    }
    let (report, code) = match load(file, registry) {
        Err(report) => (report, MISUSE),
        Ok(pipeline) => match run::try_build(&pipeline, host) {
            Err(report) => (report, FAILURE),
            Ok(warnings) => {
                let warnings = pipeline.warnings().clone().with(warnings);
                let is_refused = *strict && !warnings.is_empty();
                let warnings = if is_refused { warnings.strict() } else { warnings };
                let failing = pipeline.failing_tests();
                let code = if failing.is_empty() && !is_refused { SUCCESS } else { FAILURE };
                (warnings.with(failing), code)
            }
        },
    };
    if *json {
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
