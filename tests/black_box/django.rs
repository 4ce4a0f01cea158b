//! The `django` entry: what it expands into, what it serves, and what it says where the settings cannot be used.

use std::fs;
use std::path::Path;

use crate::support::{PATIENCE, Program, command, folder_of};

const ENTRY: &str = r#"{ "listen": "127.0.0.1:0", "app": { "django": { "settings": "mysite.settings", "health": "/healthz", "wsgi": { "workers": 1 } } } }"#;

/// A site for `example.com` whose static files are collected.
pub(crate) const SITE: [(&str, &str); 8] = [
    (
        "mysite/settings.py",
        "from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = 'x' * 50
ALLOWED_HOSTS = ['example.com']
INSTALLED_APPS = ['django.contrib.staticfiles']
MIDDLEWARE = ['django.middleware.common.CommonMiddleware']
ROOT_URLCONF = 'mysite.urls'
WSGI_APPLICATION = 'mysite.wsgi.application'
STATIC_URL = 'static/'
STATIC_ROOT = BASE_DIR / 'staticfiles'
MEDIA_URL = 'media/'
MEDIA_ROOT = BASE_DIR / 'media'
STORAGES = {
    'default': {'BACKEND': 'django.core.files.storage.FileSystemStorage'},
    'staticfiles': {'BACKEND': 'django.contrib.staticfiles.storage.ManifestStaticFilesStorage'},
}
",
    ),
    (
        "mysite/urls.py",
        "import os
from django.http import HttpResponse
from django.templatetags.static import static
from django.urls import path
def index(request):
    return HttpResponse(os.environ['DJANGO_SETTINGS_MODULE'] + ' ' + static('site.css'))
urlpatterns = [path('', index)]
",
    ),
    ("mysite/wsgi.py", "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"),
    ("staticfiles/staticfiles.json", r#"{ "paths": { "site.css": "site.0a1b2c3d4e5f.css" }, "version": "1.1", "hash": "" }"#),
    ("staticfiles/site.css", "body { color: brown }\n"),
    ("staticfiles/site.0a1b2c3d4e5f.css", "body { color: brown }\n"),
    ("staticfiles/site.0a1b2c3d4e5f.css.gz", "packed"),
    ("media/page.html", "<script>alert(1)</script>"),
];

pub(crate) fn site_with(pipeline: &str, changes: &[(&str, &str)]) -> tempfile::TempDir {
    let files: Vec<_> = SITE.into_iter().chain([("pipeline.json", pipeline)]).chain(changes.iter().copied()).collect();
    folder_of(&files)
}

fn serve(folder: tempfile::TempDir, arguments: &[&str]) -> Program {
    let mut command = command(folder.path());
    command.args(arguments);
    Program::spawn(command, folder)
}

pub(crate) fn get(program: &Program, target: &str, headers: &str) -> String {
    program.exchange(format!("GET {target} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{headers}\r\n"))
}

/// What `ziggurat show` prints of a site, on either stream, without what differs from run to run.
fn shown(folder: &Path) -> String {
    let output = command(folder).arg("show").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap().replace(&folder.canonicalize().unwrap().display().to_string(), "/site");
    text.replace(&crate::support::virtual_env().display().to_string(), "/venv")
}

#[test]
fn show_prints_what_the_entry_stands_for() {
    let pipeline = r#"{ "layers": ["request_id"],
  "app": { "django": { "settings": "mysite.settings", "path": ".", "health": "/healthz", "wsgi": { "threads": 8, "env": { "A": "b" } } } } }"#;
    let shown = shown(site_with(pipeline, &[]).path());
    let (_, tower) = shown.split_once("\n\n").unwrap_or_else(|| panic!("{shown}"));
    insta::assert_snapshot!(tower);
}

#[test]
fn a_site_is_served_as_its_settings_say() {
    let program = serve(site_with(ENTRY, &[]), &["run"]);
    let page = get(&program, "/", "");
    assert!(page.contains("mysite.settings /static/site.0a1b2c3d4e5f.css"), "{page}\n{}", program.log());

    let hashed = get(&program, "/static/site.0a1b2c3d4e5f.css", "");
    assert!(hashed.contains("cache-control: public, max-age=31536000, immutable"), "{hashed}");
    assert!(get(&program, "/static/site.0a1b2c3d4e5f.css", "Accept-Encoding: gzip\r\n").ends_with("packed"));
    let plain = get(&program, "/static/site.css", "");
    assert!(plain.starts_with("HTTP/1.1 200") && !plain.contains("immutable"), "{plain}");
    assert!(get(&program, "/static/missing.css", "").starts_with("HTTP/1.1 404"));
}

#[test]
fn uploads_are_never_guessed_at_and_run_no_scripts() {
    let program = serve(site_with(ENTRY, &[]), &["run"]);
    let upload = get(&program, "/media/page.html", "");
    assert!(upload.starts_with("HTTP/1.1 200") && upload.ends_with("<script>alert(1)</script>"), "{upload}");
    assert!(upload.contains("x-content-type-options: nosniff") && upload.contains("script-src 'none'"), "{upload}");
    assert!(upload.contains("cache-control: no-cache"), "{upload}");
    // One that came after the start.
    fs::write(program.folder().join("media/new.txt"), "new").unwrap();
    assert!(get(&program, "/media/new.txt", "Range: bytes=0-1\r\n").ends_with("\r\n\r\nne"));
    // Not there: the answer does not take the site's time.
    assert!(get(&program, "/media/missing.txt", "").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_probe_is_answered_whatever_host_it_names() {
    let program = serve(site_with(ENTRY, &[]), &["run"]);
    assert!(program.get("/").starts_with("HTTP/1.1 400"), "`test` is none of the allowed hosts");
    let probe = program.get("/healthz");
    assert!(probe.starts_with("HTTP/1.1 200") && probe.ends_with("ok\n"), "{probe}");
}

#[test]
fn without_a_wsgi_application_djangos_own_is_taken() {
    let settings = SITE[0].1.replace("WSGI_APPLICATION", "OTHER");
    let program = serve(site_with(ENTRY, &[("mysite/settings.py", &settings)]), &["run"]);
    assert!(get(&program, "/", "").contains("mysite.settings"), "{}", program.log());
}

#[test]
fn files_that_collectstatic_links_are_served_if_the_entry_says_so() {
    let site = |more: &str| {
        let entry = format!(r#"{{ "listen": "127.0.0.1:0", "app": {{ "django": {{ "settings": "mysite.settings"{more} }} }} }}"#);
        let folder = site_with(&entry, &[("sources/linked.css", "linked")]);
        std::os::unix::fs::symlink("../sources/linked.css", folder.path().join("staticfiles/linked.css")).unwrap();
        serve(folder, &["run"])
    };
    let ask = |program: &Program| get(program, "/static/linked.css", "");
    assert!(!ask(&site("")).ends_with("linked"));
    let answer = ask(&site(r#", "symlinks": "anywhere""#));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("linked"), "{answer}");
    let refused = command(site_with(r#"{ "app": { "django": { "settings": "mysite.settings", "symlinks": "some" } } }"#, &[]).path())
        .args(["check"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("`some`") && text.contains("`anywhere`"), "{text}");
}

#[test]
fn what_has_an_address_elsewhere_is_not_served_here() {
    let settings = SITE[0].1.replace("'static/'", "'https://cdn.example.com/s/'").replace("'media/'", "''");
    let shown = shown(site_with(r#"{ "app": { "django": "mysite.settings" } }"#, &[("mysite/settings.py", &settings)]).path());
    assert!(shown.contains("wsgi") && !shown.contains("staticfiles") && !shown.contains("media"), "{shown}");
}

#[test]
fn settings_that_cannot_be_used_are_explained_at_the_entry() {
    let settings = |change: &str| format!("{}\n{change}\n", SITE[0].1);
    let cases = [
        ("missing", r#"{ "app": { "django": "othersite.settings" } }"#, String::new()),
        ("not a module", r#"{ "app": { "django": "mysite/settings.py" } }"#, String::new()),
        ("no settings", "", "SECRET_KEY = 'x'\n".to_owned()),
        ("raises", "", settings("1 / 0")),
        ("needs another module", "", settings("import no_such_module")),
        ("not configured", "", settings("STORAGES = None; ALLOWED_HOSTS = 'example.com'")),
        ("static root unset", "", settings("STATIC_ROOT = None")),
        ("static root missing", "", settings("STATIC_ROOT = BASE_DIR / 'nowhere'")),
        ("media root missing", "", settings("MEDIA_ROOT = BASE_DIR / 'nowhere'")),
        ("media root with code in it", "", settings("MEDIA_ROOT = BASE_DIR")),
        ("ends the process", "", settings("import os; os._exit(3)")),
        (
            "options of wsgi",
            r#"{ "app": { "django": { "settings": "mysite.settings", "wsgi": { "threds": 2, "path": "." } } } }"#,
            String::new(),
        ),
        (
            "options of wsgi",
            r#"{ "app": { "django": { "settings": "mysite.settings", "wsgi": { "threds": 2, "env": 1 } } } }"#,
            String::new(),
        ),
    ];
    let mut seen = String::new();
    for (name, pipeline, settings) in cases {
        let pipeline = if pipeline.is_empty() { r#"{ "app": { "django": { "settings": "mysite.settings" } } }"# } else { pipeline };
        let settings = if settings.is_empty() { SITE[0].1 } else { &settings };
        let folder = site_with(pipeline, &[("mysite/settings.py", settings)]);
        seen += &format!("== {name}\n{}\n", shown(folder.path()));
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn files_that_the_site_names_are_sent_from_declared_folders() {
    let urls = "from django.http import HttpResponse
from django.urls import path
urlpatterns = [path('', lambda request: HttpResponse(headers={'X-Accel-Redirect': '/protected/report.txt', 'Content-Type': ''}))]
";
    let pipeline = ENTRY.replace("\"health\": \"/healthz\"", "\"sendfile\": { \"at\": \"/protected\", \"root\": \"private\" }");
    let program = serve(site_with(&pipeline, &[("mysite/urls.py", urls), ("private/report.txt", "one two three")]), &["run"]);
    let part = get(&program, "/", "Range: bytes=4-6\r\n");
    assert!(part.starts_with("HTTP/1.1 206") && part.ends_with("\r\n\r\ntwo"), "{part}\n{}", program.log());
    assert!(get(&program, "/protected/report.txt", "").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_site_without_a_file_is_served_by_its_settings() {
    let folder = site_with("no pipeline", &[]);
    let program = serve(folder, &["--django", "mysite.settings", "--listen", "127.0.0.1:0"]);
    assert!(get(&program, "/static/site.css", "").contains("color: brown"), "{}", program.log());
    assert!(get(&program, "/", "").contains("mysite.settings"));
}

#[test]
fn programs_are_told_what_the_entry_stands_for() {
    let folder = site_with(ENTRY, &[]);
    let told = command(folder.path()).args(["show", "--json"]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let site = &told["app"]["routes"][2];
    assert_eq!((&site["layers"][0]["static"]["at"], &site["app"]["wsgi"]["threads"]), (&"/static".into(), &4.into()), "{told:#}");
    // It is a file that does the same.
    fs::write(folder.path().join("pipeline.json"), told.to_string()).unwrap();
    let program = serve(folder, &["run"]);
    assert!(get(&program, "/static/site.css", "").contains("color: brown") && program.get("/healthz").ends_with("ok\n"));
}

#[test]
fn while_a_site_is_developed_static_files_are_found_in_its_apps() {
    let more = "DEBUG = True
STATIC_ROOT = BASE_DIR / 'nowhere'
MEDIA_ROOT = BASE_DIR / 'not_there_yet'
STATICFILES_DIRS = [BASE_DIR / 'assets']
";
    let settings = format!("{}{more}", SITE[0].1);
    let folder = site_with(ENTRY, &[("mysite/settings.py", &settings), ("assets/new.css", "first")]);
    let program = serve(folder, &["run", "--watch"]);
    assert!(get(&program, "/", "").contains("mysite.settings /static/site.css"), "{}", program.log());
    assert!(get(&program, "/static/new.css", "").contains("first"), "{}", program.log());
    fs::write(program.folder().join("assets/new.css"), "second").unwrap();
    assert!(get(&program, "/static/new.css", "").contains("second"));
    assert!(get(&program, "/static/missing.css", "").starts_with("HTTP/1.1 404"));
}

#[test]
fn an_error_in_the_settings_is_shown_until_it_is_fixed() {
    let program = serve(site_with(ENTRY, &[("mysite/settings.py", "1 / 0")]), &["run", "--watch"]);
    let page = get(&program, "/", "");
    assert!(page.contains("ZeroDivisionError") && page.contains("pipeline.json:1:"), "{page}");
    fs::write(program.folder().join("mysite/settings.py"), SITE[0].1).unwrap();
    ask_until(&program, "/", "mysite.settings /static/");
    fs::write(program.folder().join("mysite/settings.py"), SITE[0].1.replace("'static/'", "'s/'")).unwrap();
    ask_until(&program, "/s/site.css", "color: brown");
}

pub(crate) fn ask_until(program: &Program, target: &str, text: &str) {
    let begin = std::time::Instant::now();
    while !get(program, target, "").contains(text) {
        assert!(begin.elapsed() < PATIENCE, "{}", program.log());
        std::thread::yield_now();
    }
}

#[test]
fn a_program_without_a_command_of_its_own_says_so() {
    let pipeline = ziggurat::pipeline::Pipeline::from_text("p.json", ENTRY, Path::new(""), &ziggurat::builtin(), &|_| None);
    let report = pipeline.unwrap_err().to_string();
    assert!(report.contains("only the program `ziggurat` can read the settings") && report.contains("p.json:1:"), "{report}");
}
