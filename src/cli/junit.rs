//! Results as JUnit XML, which CI systems read.

use std::io;
use std::path::Path;
use std::time::Duration;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

/// One test.
#[derive(Debug)]
pub(super) struct TestCase {
    pub(super) name: String,
    /// The group that it belongs to.
    pub(super) class: String,
    /// How long it has run.
    pub(super) took: Duration,
    pub(super) result: TestResult,
}

#[derive(Debug)]
pub(super) enum TestResult {
    Passed,
    /// With a reason, if there is one to tell.
    Skipped(Option<String>),
    Failed {
        message: String,
        text: String,
    },
}

/// Writes a suite into a file.
pub(super) fn write(path: &Path, suite: &str, cases: &[TestCase]) -> io::Result<()> {
    let failed = cases.iter().filter(|case| matches!(case.result, TestResult::Failed { .. })).count();
    let skipped = cases.iter().filter(|case| matches!(case.result, TestResult::Skipped(_))).count();
    let [all, failed, skipped] = [cases.len(), failed, skipped].map(|count| count.to_string());
    let took = seconds(cases.iter().map(|case| case.took).sum());
    let attributes = [
        ("name", printable(suite)),
        ("tests", all),
        ("failures", failed),
        ("errors", "0".to_owned()),
        ("skipped", skipped),
        ("time", took),
    ];
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.create_element("testsuites").write_inner_content(|writer| {
        let element = writer.create_element("testsuite");
        let attributes = attributes.iter().map(|(name, value)| (*name, value.as_str()));
        element.with_attributes(attributes).write_inner_content(|writer| cases.iter().try_for_each(|case| element_of(writer, case)))?;
        Ok(())
    })?;
    std::fs::write(path, writer.into_inner())
}

fn element_of(writer: &mut Writer<Vec<u8>>, case: &TestCase) -> io::Result<()> {
    let attributes = [("classname", printable(&case.class)), ("name", printable(&case.name)), ("time", seconds(case.took))];
    let element = writer.create_element("testcase").with_attributes(attributes.iter().map(|(name, value)| (*name, value.as_str())));
    if matches!(case.result, TestResult::Passed) {
        element.write_empty()?;
        return Ok(());
    }
    element.write_inner_content(|writer| {
        match &case.result {
            TestResult::Passed => {}
            TestResult::Skipped(None) => {
                writer.create_element("skipped").write_empty()?;
            }
            TestResult::Skipped(Some(reason)) => {
                writer.create_element("skipped").with_attribute(("message", printable(reason).as_str())).write_empty()?;
            }
            TestResult::Failed { message, text } => {
                let failure = writer.create_element("failure").with_attribute(("message", printable(message).as_str()));
                failure.write_text_content(BytesText::new(&printable(text)))?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// A time as the format writes it: in seconds.
fn seconds(time: Duration) -> String {
    format!("{:.6}", time.as_secs_f64())
}

/// XML has no control characters but white space.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !c.is_whitespace() { '\u{fffd}' } else { c }).collect()
}
