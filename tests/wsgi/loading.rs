//! From `module:callable` to an app, or to a finding.

use serde_json::json;
use ziggurat_middleware::{Finding, Step};

use crate::support::{EXECUTORS, Executor, Site, folders};

fn refusal(app: &str) -> Finding {
    let finding = Site::of(json!({ "app": app, "path": folders() })).err().unwrap();
    assert_eq!(finding.path, [Step::from("app")], "{finding}");
    finding
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_a_callable_an_attribute_of_one_or_what_a_factory_makes() {
    for app in ["plain:hello", "plain:namespace.app", "plain:make()", "usual"] {
        assert_eq!(Site::new(app, Executor::Pool(1)).get("/").await.text(), "hello", "{app}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factory_is_called_with_its_arguments_in_whatever_process() {
    let arguments = json!({ "args": [{ "debug": "no" }], "kwargs": { "site.title": "a $ b" } });
    for executor in EXECUTORS {
        for app in ["factories:make_app()", "egg:factories#main", "egg:factories"] {
            let answer = Site::with(app, executor, arguments.clone()).get("/").await;
            assert_eq!(answer.text(), "{'debug': 'no'} {'site.title': 'a $ b'}", "{app} {executor:?}");
        }
    }
}

#[test]
fn arguments_of_what_is_no_factory_are_a_finding() {
    for option in [json!({ "args": [1] }), json!({ "kwargs": { "a": 1 } })] {
        let key = option.as_object().unwrap().keys().next().unwrap().clone();
        let mut options = json!({ "app": "plain:hello", "path": folders() });
        options.as_object_mut().unwrap().extend(option.as_object().unwrap().clone());
        let finding = Site::of(options).err().unwrap();
        assert_eq!(
            (finding.message, finding.path),
            (format!("`{key}` is for a factory, and `plain:hello` is called with each request"), vec![Step::from(key.as_str())])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_are_found_in_the_files_folder_when_no_path_is_given() {
    let site = Site::of(json!({ "app": "plain:hello" })).unwrap();
    assert_eq!(site.get("/").await.text(), "hello");
}

#[test]
fn what_cannot_be_loaded_is_a_finding_with_a_hint() {
    for (app, message, hint) in [
        ("plane:hello", "there is no module `plane`", "`path`"),
        ("plain.inner:hello", "there is no module `plain.inner`", "`path`"),
        ("lacking:app", "module `lacking` cannot be imported: there is no module `not_installed`", "is `not_installed` installed"),
        ("trouble:app", "module `trouble` cannot be imported: it raised `RuntimeError`", ""),
        ("quits:app", "module `quits` cannot be imported: it raised `SystemExit`", ""),
        ("plain:helo", "module `plain` has no attribute `helo`", "did you mean `hello`?"),
        ("plain:namespace.ap", "`type` has no attribute `ap`", "did you mean `app`?"),
        ("plain:number", "`number` of `plain` is `int`, which is not callable", "name the WSGI application"),
        ("plain:make_nothing()", "the factory `make_nothing` of `plain` returned `NoneType`, which is not callable", "a factory returns"),
        ("plain:make_trouble()", "the factory `make_trouble` of `plain` raised `ValueError`", ""),
        ("egg:factories#other", "`factories` has no entry point `other` in `paste.app_factory`", "it has `broken`, `main`"),
        ("egg:factories#map", "the entry point `map` of `factories` is a `paste.composite_factory`", "`paste.deploy:loadapp()`"),
        ("egg:factories#broken", "the entry point `broken` of `factories` cannot be loaded: it raised `AttributeError`", ""),
        ("egg:factories#main", "the factory `main` of `factories` raised `TypeError`", ""),
        ("egg:not_installed", "the distribution `not_installed` is not installed", "install it in"),
        ("trouble_free", "there is no module `trouble_free`", "`path`"),
        ("json", "module `json` has neither `application` nor `app`", "`json:callable`"),
        ("no module", "`no module` does not name a module", "`module:callable`"),
    ] {
        let finding = refusal(app);
        assert_eq!(finding.message, message);
        assert!(finding.hint.unwrap_or_default().contains(hint), "{app}");
    }
}

#[test]
fn an_exception_while_importing_is_shown_without_the_import_system() {
    let note = refusal("trouble:app").note.unwrap();
    assert!(note.contains("in inner\n") && note.ends_with("RuntimeError: import on purpose"), "{note}");
    assert!(!note.contains("importlib"), "{note}");
    assert!(refusal("plain:make_trouble()").note.unwrap().contains("factory on purpose"));
}

#[test]
fn a_syntax_error_is_shown_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("malformed.py"), "def app(:\n").unwrap();
    let finding = Site::of(json!({ "app": "malformed:app", "path": folder.path() })).err().unwrap();
    assert_eq!(finding.message, "module `malformed` cannot be imported: it raised `SyntaxError`");
    assert!(finding.note.unwrap().contains("def app(:"));
}

#[test]
fn options_out_of_bounds_are_findings() {
    for (options, field, message) in [
        (json!({ "app": "plain:hello", "workers": 2000 }), "workers", "2000 workers are too many"),
        (json!({ "app": "plain:hello", "workers": 0, "threads": 0 }), "threads", "without threads, nothing calls the app"),
        (json!({ "app": "plain:hello", "threads": 5000 }), "threads", "5000 threads are too many"),
    ] {
        let finding = Site::of(options).err().unwrap();
        assert_eq!((finding.message.as_str(), finding.path.as_slice()), (message, &[Step::from(field)][..]));
    }
    let finding = Site::of(json!({ "app": "plain:hello", "path": [".", "nowhere"] })).err().unwrap();
    assert_eq!(finding.path, [Step::from("path"), Step::from(1)]);
}

#[test]
fn another_program_is_not_started_again_for_worker_processes() {
    let finding = Site::of(json!({ "app": "plain:hello", "workers": 2 })).err().unwrap();
    assert_eq!((finding.path.as_slice(), finding.hint.unwrap().contains("\"workers\": 0")), (&[Step::from("workers")][..], true));
}

#[tokio::test]
async fn a_module_that_python_hides_behind_its_own_is_told_to_change_its_name() {
    let finding = Site::of(json!({ "app": "site:app" })).err().unwrap();
    assert_eq!(finding.message, "module `site` has no attribute `app`");
    assert!(finding.hint.unwrap().contains("module of Python itself"));
}
