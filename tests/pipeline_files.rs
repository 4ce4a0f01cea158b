//! Files that are accepted: what they are understood as, that they build, and that the published schema agrees.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use ziggurat::pipeline::{Pipeline, schema};
use ziggurat_middleware::Lifecycle;

const MINIMAL: &str = r#"{ "app": { "respond": 204 } }"#;

const SITE: &str = r#"{
  "$schema": "pipeline.schema.json",
  "listen": ["127.0.0.1:8000", { "at": "unix:run/ziggurat.sock" }, "fd:3"],
  "server": { "drain": "30s", "max_headers": "${MAX_HEADERS}" },
  "layers": [
    "headers",
    { "headers": { "response": { "set": { "x-token": "a ${TOKEN} b" } } } }
  ],
  "app": { "respond": { "status": "${STATUS:-200}", "body": "hello" } }
}"#;

/// Never built here: it wants a Django project beside it.
const DJANGO: &str = r#"{
  "$schema": "pipeline.schema.json",
  "listen": ["0.0.0.0:8000", "unix:run/ziggurat.sock"],
  "server": { "drain": "30s" },
  "layers": [
    "request_id",
    { "access_log": { "format": "${LOG:-json}" } },
    { "forwarded": { "trust": ["10.0.0.0/8"] } },
    "security_headers",
    { "timeout": "30s" },
    { "cors": ["https://example.com"] },
    { "compress": { "with": ["zstd", "${CODING:-br}", "gzip"], "above": "${ABOVE:-1KiB}" } },
    { "static": { "at": "/static", "root": "staticfiles", "immutable": "${IMMUTABLE:-true}", "symlinks": "${LINKS:-never}" } },
    { "body_limit": "10MiB" }
  ],
  "app": { "wsgi": {
    "app": "mysite.wsgi:application", "workers": "${WEB_CONCURRENCY:-auto}", "threads": "${THREADS:-4}", "preload": "${PRELOAD:-true}"
  } }
}"#;

const GATEWAY: &str = r#"{
  "listen": { "at": "127.0.0.1:8443" },
  "apps": {
    "shop": { "respond": { "body": "shop" } },
    "api": { "layers": [{ "headers": { "response": { "set": { "x-api": "1" } } } }], "app": { "respond": 200 } },
    "front": "shop"
  },
  "layers": ["headers"],
  "app": { "routes": [
    { "match": { "path": "/healthz" }, "app": { "respond": 204 } },
    { "match": { "host": "old.example.com" }, "app": { "redirect": "https://{host}{path}{query}" } },
    { "match": { "host": ["api.example.com", "*.api.example.com"], "method": ["GET", "POST"] }, "app": "api" },
    { "match": { "header": { "x-beta": true }, "query": { "v": ["2", "3"] } }, "app": { "routes": [
      { "match": { "path": "/new/*" }, "app": { "respond": 200 } },
      { "app": { "redirect": { "to": "/new/", "status": 302 } } }
    ] } },
    { "mount": "/blog", "layers": ["headers"], "app": { "respond": { "body": "blog" } } },
    { "app": "front" }
  ] }
}"#;

/// Never built here either.
const RESERVES: &str = r#"{
  "server": { "control": "run/control.sock" },
  "apps": { "shop": { "wsgi": { "app": "shop.wsgi:application", "threads": 16 } } },
  "app": { "routes": [
    { "match": { "path": ["/login", "/healthz"] }, "reserve": 2, "deadline": "5s", "app": "shop" },
    { "match": { "path": "/reports/*" }, "deadline": "${REPORTS:-10m}", "app": "shop" },
    { "match": { "host": "admin.example.com" }, "reserve": "${ADMIN:-1}", "app": "shop" },
    { "app": "shop" }
  ] }
}"#;

const AUTHORITY: &str = r#"{
  "listen": [":80", { "at": ":443", "tls": { "acme": { "names": ["example.com"], "eab": { "key_id": "a", "mac_key": "${MAC}" }, "challenge": "tls-alpn-01" } } }],
  "app": { "respond": 200 }
}"#;

fn environment(name: &str) -> Option<OsString> {
    match name {
        "TOKEN" => Some("hunter2".into()),
        "MAC" => Some("hunter2A".into()),
        "MAX_HEADERS" => Some("64".into()),
        _ => None,
    }
}

fn load(text: &str) -> Pipeline {
    Pipeline::from_text("pipeline.json", text, Path::new(""), &ziggurat::builtin(), &environment)
        .unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn accepted_files_build() {
    for text in [MINIMAL, SITE, GATEWAY] {
        let pipeline = load(text);
        pipeline.build(&Lifecycle::default()).unwrap_or_else(|report| panic!("{report}"));
        assert!(pipeline.warnings().is_empty(), "{}", pipeline.warnings());
    }
}

#[test]
fn a_file_is_shown_as_it_was_understood() {
    for (name, text) in
        [("minimal", MINIMAL), ("site", SITE), ("django", DJANGO), ("gateway", GATEWAY), ("reserves", RESERVES), ("authority", AUTHORITY)]
    {
        let shown = load(text).show();
        assert!(!shown.contains("hunter2"), "{shown}");
        insta::assert_snapshot!(format!("show_{name}"), shown);
    }
}

#[test]
fn a_normalized_file_means_the_same_and_is_normalized_already() {
    let validator = validator();
    for text in [MINIMAL, SITE, DJANGO, GATEWAY, RESERVES, AUTHORITY] {
        let normalized = load(text).normalized();
        assert!(!normalized.to_string().contains("hunter2"), "{normalized:#}");
        assert!(validator.is_valid(&normalized), "{normalized:#}");
        let again = load(&normalized.to_string());
        assert_eq!(again.normalized(), normalized);
    }
    let dollars = load(r#"{ "app": { "respond": { "body": "5$ $${X} $$$$" } } }"#).normalized();
    assert_eq!(dollars["app"]["respond"]["body"], "5$$ $${X} $$$$");
}

#[test]
fn accepted_files_and_the_schema_agree() {
    let validator = validator();
    for text in [MINIMAL, SITE, DJANGO, GATEWAY, RESERVES, AUTHORITY] {
        let file: Value = serde_json::from_str(text).unwrap();
        let errors: Vec<String> = validator.iter_errors(&file).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

#[test]
fn the_examples_are_accepted_and_the_schema_agrees() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("pipeline.json")];
    let examples = fs::read_dir(root.join("examples")).unwrap().map(|entry| entry.unwrap().path());
    // Those that are programs of their own know layers of their own, and try their files themselves.
    files.extend(examples.filter(|folder| !folder.join("Cargo.toml").exists()).map(|folder| folder.join("pipeline.json")));
    files.retain(|file| file.exists());
    assert!(files.len() > 3, "{files:?}");
    let validator = validator();
    for file in files {
        let pipeline = Pipeline::load(&file, &ziggurat::builtin(), &|_| None).unwrap_or_else(|report| panic!("{report}"));
        assert!(pipeline.warnings().is_empty(), "{}", pipeline.warnings());
        assert!(pipeline.failing_tests().is_empty(), "{}", pipeline.failing_tests());
        let value: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
    }
}

#[test]
fn the_schema_refuses_what_has_the_wrong_names_or_types() {
    let validator = validator();
    for text in [
        "[]",
        "{}",
        r#"{ "app": { "respond": 204 }, "aps": {} }"#,
        r#"{ "app": { "respond": "soon" } }"#,
        r#"{ "app": { "respond": { "status": true } } }"#,
        r#"{ "app": { "respond": 204, "redirect": "/" } }"#,
        r#"{ "app": {} }"#,
        r#"{ "app": { "compress": {} } }"#,
        r#"{ "app": { "respond": 204 }, "layers": "headers" }"#,
        r#"{ "app": { "respond": 204 }, "layers": ["heders"] }"#,
        r#"{ "app": { "respond": 204 }, "layers": [{ "headers": { "respnse": {} } }] }"#,
        r#"{ "app": { "respond": 204 }, "listen": [] }"#,
        r#"{ "app": { "respond": 204 }, "listen": 8000 }"#,
        r#"{ "app": { "respond": 204 }, "server": { "drain": 30 } }"#,
        r#"{ "app": { "respond": 204 }, "server": { "drain": "30" } }"#,
        r#"{ "app": { "routes": [] } }"#,
        r#"{ "app": { "routes": [{ "match": { "path": "/" } }] } }"#,
        r#"{ "app": { "routes": [{ "match": { "pth": "/" }, "app": "x" }] } }"#,
        r#"{ "app": { "routes": [{ "deadline": 5, "app": { "respond": 200 } }] } }"#,
        r#"{ "app": { "routes": [{ "reserve": 0, "app": { "wsgi": "site:app" } }] } }"#,
        r#"{ "app": { "routes": [{ "reserve": "2", "app": { "wsgi": "site:app" } }] } }"#,
        r#"{ "app": { "respond": 204 }, "server": { "control": true } }"#,
        r#"{ "app": { "redirect": { "to": "/", "status": 200 } } }"#,
        r#"{ "app": { "redirect": {} } }"#,
    ] {
        assert!(!validator.is_valid(&serde_json::from_str(text).unwrap()), "{text}");
        let refused = Pipeline::from_text("pipeline.json", text, Path::new(""), &ziggurat::builtin(), &environment);
        assert!(refused.is_err(), "{text}");
    }
}

#[test]
fn the_schema_in_the_repository_is_the_one_of_this_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.schema.json");
    let current = format!("{:#}\n", schema(&ziggurat::builtin()));
    if std::env::var_os("ZIGGURAT_BLESS").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == current, "pipeline.schema.json is stale: run this test with ZIGGURAT_BLESS=1 to write it anew");
}

#[test]
fn a_tower_of_any_height_is_read_or_refused() {
    let chain = |order: &dyn Fn(usize) -> usize| {
        let nested = |next: usize| (0..20).fold(format!("\"a{next}\""), |app, _| format!("{{\"routes\":[{{\"app\":{app}}}]}}"));
        let entries: Vec<String> = (0..600).map(order).map(|n| format!("\"a{n}\":{}", nested(n + 1))).collect();
        format!("{{\"apps\":{{{},\"a600\":{{\"respond\":204}}}},\"app\":\"a0\"}}", entries.join(","))
    };
    for text in [chain(&|n| n), chain(&|n| 599 - n)] {
        let report = Pipeline::from_text("p.json", &text, Path::new(""), &ziggurat::builtin(), &environment).unwrap_err();
        assert!(report.to_string().contains("a request would pass more than 256"), "{report}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_explained(text in "(\\PC|[{}\\[\\]\":,$\n\r\t\u{0}\u{feff}]){0,60}", jsonc in any::<bool>()) {
        outcome(&text, jsonc);
    }

    /// Cuts, doubles and replaces pieces of a good file.
    #[test]
    fn any_damage_to_a_file_is_read_or_explained(
        damages in proptest::collection::vec((any::<prop::sample::Index>(), 0..20usize, "([{}\\[\\]\":,$/*0-9é\n ]|\\$\\{X\\}|null|\"app\"|\"a\"){0,3}"), 1..4),
        jsonc in any::<bool>(),
    ) {
        let mut text: Vec<char> = GATEWAY.chars().collect();
        for (at, length, instead) in damages {
            let start = at.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, instead.chars());
        }
        outcome(&text.into_iter().collect::<String>(), jsonc);
    }
}

/// Reads a text, and what is said against it in every form.
fn outcome(text: &str, jsonc: bool) {
    let name = if jsonc { "p.jsonc" } else { "p.json" };
    match Pipeline::from_text(name, text, Path::new(""), &ziggurat::builtin(), &environment) {
        Ok(pipeline) => assert!(!pipeline.show().is_empty()),
        Err(report) => {
            assert!(!report.is_empty());
            assert!(report.render(false).starts_with("error: "), "{report}");
            assert!(report.render(true).contains("error"));
            for record in report.to_json().as_array().unwrap() {
                let lines = text.matches('\n').count() as u64 + 1;
                assert!(record["line"].as_u64().is_none_or(|line| (1..=lines).contains(&line)), "{record}");
            }
        }
    }
}

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&schema(&ziggurat::builtin())).unwrap()
}
