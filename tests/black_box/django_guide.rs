//! docs/django.md: its files and those of docs/apps/django.md are run, and its code is part of a site.

use std::fs;
use std::path::Path;

use crate::django::{SITE, get, site_with};
use crate::manage::{manage, project};
use crate::support::{Program, command};

fn guide() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/django.md")).unwrap()
}

/// The blocks of one language.
fn blocks<'a>(guide: &'a str, language: &str) -> Vec<&'a str> {
    guide.split(&format!("```{language}\n")).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

fn local(pipeline: &str) -> String {
    match pipeline.find("\"listen\": \"") {
        Some(_) => pipeline.replace("127.0.0.1:8000", "127.0.0.1:0").replace("0.0.0.0:8000", "127.0.0.1:0"),
        None => pipeline.replacen('{', "{ \"listen\": \"127.0.0.1:0\",", 1),
    }
}

#[test]
fn every_file_in_it_is_sound() {
    let guide = guide() + include_str!("../../docs/apps/django.md");
    let files = blocks(&guide, "json");
    assert!(files.len() >= 5);
    for file in files {
        let folder = site_with(&local(file), &[("private/x.pdf", "")]);
        let output = command(folder.path()).arg("check").output().unwrap();
        assert!(output.status.success(), "{file}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn its_settings_collect_static_files_and_pass_the_checks() {
    let guide = guide();
    let settings: String = blocks(&guide, "python").into_iter().filter(|block| block.starts_with("# mysite/settings.py")).collect();
    // It is installed by `project` already.
    let settings = settings.replace("INSTALLED_APPS += [\"ziggurat.django\"]", "");
    let folder = project(Some(&local(blocks(&guide, "json")[0])), &settings);
    fs::remove_dir_all(folder.path().join("staticfiles")).unwrap();
    fs::create_dir(folder.path().join("assets")).unwrap();
    fs::write(folder.path().join("assets/site.css"), "body { color: brown }\n").unwrap();
    let text = fs::read_to_string(folder.path().join("mysite/settings.py")).unwrap();
    fs::write(folder.path().join("mysite/settings.py"), text + "STATICFILES_DIRS = [BASE_DIR / 'assets']\n").unwrap();
    let missing = command(folder.path()).arg("check").output().unwrap();
    assert!(String::from_utf8_lossy(&missing.stderr).contains("run `manage.py collectstatic`"));
    for arguments in [["collectstatic", "--noinput"], ["check", "--fail-level=INFO"]] {
        let output = manage(folder.path(), &arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let program = Program::spawn(manage(folder.path(), &["ziggurat", "--noreload"]), folder);
    let page = get(&program, "/", "");
    let hashed = page.split_whitespace().find(|word| word.starts_with("/static/site.")).unwrap();
    assert!(get(&program, hashed, "").contains("immutable"), "{page}");
}

#[test]
fn its_view_has_the_server_send_a_file() {
    let guide = guide();
    let urls = blocks(&guide, "python").into_iter().find(|block| block.starts_with("# mysite/urls.py")).unwrap();
    let pipeline = blocks(&guide, "json").into_iter().find(|file| file.contains("sendfile") && !file.contains("listen")).unwrap();
    let program = run(site_with(&local(pipeline), &[("mysite/urls.py", urls), ("private/may.pdf", "%PDF")]));
    let report = get(&program, "/reports/may", "");
    assert!(report.contains("content-type: application/pdf") && report.ends_with("%PDF"), "{report}\n{}", program.log());
}

#[test]
fn its_probe_of_the_site_is_let_in_by_its_host() {
    let guide = guide();
    let pipeline = blocks(&guide, "json").into_iter().find(|file| file.contains("/ready")).unwrap();
    let urls = SITE[1].1.replace("path('', index)", "path('ready', index)");
    let program = run(site_with(&local(pipeline), &[("mysite/urls.py", &urls)]));
    assert!(program.get("/ready").starts_with("HTTP/1.1 200"), "{}", program.log());
    assert!(program.get("/").starts_with("HTTP/1.1 400"));
}

#[test]
fn it_lists_every_check() {
    let listed = guide();
    let checks = include_str!("../../python/ziggurat/django/checks.py");
    for number in (1..=11).map(|n| format!("W{n:03}")).chain(["I001".to_owned(), "I002".to_owned()]) {
        assert!(checks.contains(&number) && listed.contains(&format!("`ziggurat.{number}`")), "{number}");
    }
}

fn run(folder: tempfile::TempDir) -> Program {
    let mut command = command(folder.path());
    command.arg("run");
    Program::spawn(command, folder)
}
