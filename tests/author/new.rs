//! The crate that `ziggurat new` writes builds, passes its own tests and runs as it is.

use crate::workshop::Workshop;

#[test]
fn a_new_crate_tests_checks_lists_and_serves_its_layer() {
    let workshop = Workshop::new("served");
    let steps = workshop.must_run("", "ziggurat new build-stamp");
    assert!(steps.contains("cd build-stamp\n  cargo test"), "{steps}");

    let tests = workshop.must_run("build-stamp", "cargo test");
    assert!(tests.contains("test tests::every_response_has_the_header ... ok"), "{tests}");
    assert!(workshop.must_run("build-stamp", "cargo run -- layers").contains("build_stamp        Adds the header `x-build-stamp`"));
    assert!(workshop.must_run("build-stamp", "cargo run -- check").contains("pipeline.json: ok"));
    let schema: serde_json::Value = serde_json::from_str(&workshop.must_run("build-stamp", "cargo run -- schema")).unwrap();
    assert!(schema.to_string().contains("What the header says."));

    let mut program = workshop.serve("build-stamp", "cargo run");
    let answer = program.get("/");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\nx-build-stamp: hello\r\n"), "{answer}");
    assert!(answer.ends_with("Hello from the app\n"), "{answer}");
    program.signal("TERM");
    assert!(program.wait().success());
}

#[test]
fn a_mistake_in_a_new_crates_file_is_shown_with_its_own_layers_options() {
    let workshop = Workshop::new("mistaken");
    workshop.must_run("", "ziggurat new build-stamp");
    std::fs::write(
        workshop.path("build-stamp/wrong.json"),
        r#"{ "layers": [{ "build_stamp": { "valeu": "a" } }], "app": { "respond": 204 } }"#,
    )
    .unwrap();
    let (success, report) = workshop.run("build-stamp", "cargo run -- check wrong.json");
    assert!(!success && report.contains("unknown option `valeu` for layer `build_stamp`"), "{report}");
}

#[test]
fn a_name_that_is_none_and_a_folder_that_is_taken_are_misuse() {
    let workshop = Workshop::new("misused");
    workshop.must_run("", "mkdir tenant && touch tenant/mine");
    for (line, message) in [
        ("ziggurat new ../up", "is not a name for a crate"),
        ("ziggurat new json", "already has a meaning"),
        ("ziggurat new tenant", "already exists"),
        ("ziggurat new stamp --path bin", "`bin` does not hold the sources of Ziggurat"),
    ] {
        let (_, report) = workshop.run("", &format!("{line}; test $? = 2 && echo misuse"));
        assert!(report.contains(message) && report.contains("misuse"), "{line}: {report}");
    }
    assert!(!workshop.path("stamp").exists());
}
