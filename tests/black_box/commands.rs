//! Commands that start nothing: `check`, `show`, `schema`, `layers`, `completions`, help.

use std::path::Path;
use std::process::Output;

use crate::support::{command, folder_of};

const BROKEN: &str = "{\n  \"layers\": [{ \"compress\": { \"levle\": 6 } }, \"request_di\"],\n  \"app\": { \"respond\": 204 }\n}\n";

#[test]
fn check_shows_every_finding_and_exits_with_2() {
    let folder = folder_of(&[("pipeline.json", BROKEN)]);
    let output = run(folder.path(), &["check"]);
    let text = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("pipeline.json:2:30") && text.contains("`levle`"), "{text}");
    assert!(text.contains("`request_di`") && text.contains("`request_id`"), "{text}");
}

#[test]
fn check_prints_findings_as_json_for_editors() {
    let folder = folder_of(&[("pipeline.json", BROKEN)]);
    let output = run(folder.path(), &["check", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = findings.as_array().unwrap();
    assert_eq!(findings.len(), 2);
    assert_eq!(findings[0]["line"], 2);
    assert_eq!(findings[0]["column"], 30);
}

#[test]
fn check_imports_the_app_and_points_at_its_line_when_that_fails() {
    let folder = folder_of(&[
        ("pipeline.json", "{\n  \"app\": { \"wsgi\": \"site_that_breaks:app\" }\n}\n"),
        ("site_that_breaks.py", "import does_not_exist_anywhere\n"),
    ]);
    let output = run(folder.path(), &["check"]);
    let text = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("pipeline.json:2:20"), "{text}");
    assert!(text.contains("ModuleNotFoundError") && text.contains("does_not_exist_anywhere"), "{text}");
}

#[test]
fn check_says_ok_to_a_good_file() {
    let folder = folder_of(&[("pipeline.json", r#"{ "layers": ["request_id"], "app": { "respond": 204 } }"#)]);
    let output = run(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "pipeline.json: ok\n");
}

/// A file whose log stands below what answers.
const BLIND: &str = "{\n  \"layers\": [\n    { \"access\": [{ \"allow\": \"10.0.0.0/8\" }] },\n    \"access_log\"\n  ],\n  \"app\": { \"respond\": 204 }\n}\n";

#[test]
fn check_warns_of_a_wrong_order_and_strict_makes_that_an_error() {
    let folder = folder_of(&[("pipeline.json", BLIND)]);
    let output = run(folder.path(), &["check"]);
    insta::assert_snapshot!(text(&output.stderr));
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "pipeline.json: ok\n"));
    let output = run(folder.path(), &["check", "--strict", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&findings[0]["id"], &findings[0]["severity"]), (&"log-misses".into(), &"error".into()));
    assert_eq!((&findings[0]["line"], &findings[0]["related"]["line"]), (&4.into(), &3.into()));
}

#[test]
fn check_fix_moves_the_line_and_leaves_the_rest_of_the_file_alone() {
    let file = BLIND.replace("  \"layers\"", "  // from the top\n  \"layers\"").replace("\"access_log\"", "\"access_log\" // all of it");
    let folder = folder_of(&[("pipeline.jsonc", &file)]);
    let output = run(folder.path(), &["check", "--fix", "--strict", "pipeline.jsonc"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "fixed: pipeline.jsonc:5:5: what `access` answers is not in the log\n");
    let fixed = std::fs::read_to_string(folder.path().join("pipeline.jsonc")).unwrap();
    let expected = "{\n  // from the top\n  \"layers\": [\n    \"access_log\", // all of it\n    { \"access\": [{ \"allow\": \"10.0.0.0/8\" }] }\n  ],\n  \"app\": { \"respond\": 204 }\n}\n";
    assert_eq!(fixed, expected);
    let output = run(folder.path(), &["check", "--fix", "pipeline.jsonc"]);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(std::fs::read_to_string(folder.path().join("pipeline.jsonc")).unwrap(), expected);
}

#[test]
fn lints_are_listed_and_each_has_a_page() {
    let folder = folder_of(&[]);
    let list = text(&run(folder.path(), &["lints"]).stdout);
    assert!(list.contains("  log-misses ") && list.lines().count() > 40, "{list}");
    assert!(text(&run(folder.path(), &["lints", "log-misses"]).stdout).contains("## When to allow it"));
    let output = run(folder.path(), &["lints", "log-mises"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("did you mean `log-misses`?"));
}

#[test]
fn a_missing_file_is_a_plain_error() {
    let folder = folder_of(&[]);
    let output = run(folder.path(), &["run", "nowhere.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("nowhere.json"));
}

#[test]
fn show_fills_in_the_defaults_in_the_order_written() {
    let folder = folder_of(&[("pipeline.json", r#"{ "layers": ["request_id", { "timeout": "5s" }], "app": { "respond": 204 } }"#)]);
    let output = run(folder.path(), &["show"]);
    let text = text(&output.stdout);
    let places: Vec<_> = ["request_id", "timeout", "respond"].iter().map(|name| text.find(&format!("\n  {name}"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
    assert!(text.contains("5s"), "{text}");
}

#[test]
fn every_layer_and_app_is_listed_and_has_a_page() {
    let folder = folder_of(&[]);
    let listing = text(&run(folder.path(), &["layers"]).stdout);
    for name in [
        "request_id",
        "access_log",
        "forwarded",
        "compress",
        "static",
        "basic_auth",
        "headers",
        "security_headers",
        "sendfile",
        "body_limit",
        "timeout",
        "cors",
        "wsgi",
        "respond",
        "metrics",
        "redirect",
        "routes",
    ] {
        assert!(listing.contains(name), "{listing}");
        let page = run(folder.path(), &["layers", name]);
        assert_eq!(page.status.code(), Some(0));
        assert!(text(&page.stdout).contains(name));
    }
    assert_eq!(run(folder.path(), &["layers", "nothing"]).status.code(), Some(2));
}

#[test]
fn the_schema_is_json_and_completions_are_printed() {
    let folder = folder_of(&[]);
    let schema: serde_json::Value = serde_json::from_slice(&run(folder.path(), &["schema"]).stdout).unwrap();
    assert!(schema["properties"]["layers"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&run(folder.path(), &["completions", shell]).stdout).contains("ziggurat"));
    }
}

#[test]
fn a_wrong_command_line_exits_with_2_and_help_with_0() {
    let folder = folder_of(&[]);
    assert_eq!(run(folder.path(), &["run", "--nonsense"]).status.code(), Some(2));
    let help = run(folder.path(), &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("ziggurat check"));
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder).args(arguments).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn a_mistyped_command_and_a_file_are_not_taken_for_apps() {
    let folder = folder_of(&[("site.json", "{}"), ("cheque.py", "application = None\n")]);
    for (arguments, hint) in [(["chekc"], "did you mean `ziggurat check`?"), (["site.json"], "`ziggurat run site.json`")] {
        let output = run(folder.path(), &arguments);
        let text = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(hint), "{text}");
    }
}
