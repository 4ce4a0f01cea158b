//! The Django app `ziggurat.django`: `manage.py ziggurat`, and what `manage.py check` finds in a pipeline file.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::django::{SITE, ask_until, get, site_with};
use crate::support::{Program, command, virtual_env};

const MANAGE: &str = "import os, sys
os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
";

/// In the place of the extension module: the program under test.
const NATIVE: &str = "import os
__version__ = '0'
class DeadlineExceeded(BaseException): pass
def main(arguments): os.execv(os.environ['ZIGGURAT'], ['ziggurat', *arguments[1:]])
";

/// A site with the app installed; `settings` follow those of the site.
pub(crate) fn project(pipeline: Option<&str>, settings: &str) -> tempfile::TempDir {
    let settings = format!("{}\nINSTALLED_APPS = ['ziggurat.django', *INSTALLED_APPS]\n{settings}\n", SITE[0].1);
    let folder = site_with(pipeline.unwrap_or_default(), &[("mysite/settings.py", &settings), ("manage.py", MANAGE)]);
    if pipeline.is_none() {
        fs::remove_file(folder.path().join("pipeline.json")).unwrap();
    }
    let package = folder.path().join("packages/ziggurat");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("python/ziggurat"), &package);
    fs::write(package.join("_native.py"), NATIVE).unwrap();
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else if entry.path().extension().is_some_and(|extension| extension == "py") {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

pub(crate) fn manage(folder: &Path, arguments: &[&str]) -> Command {
    let program = command(folder);
    let mut command = Command::new(virtual_env().join("bin/python"));
    command.current_dir(folder).env("ZIGGURAT", program.get_program()).env("PYTHONPATH", folder.join("packages"));
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?)))).arg("manage.py").args(arguments);
    command
}

fn serve(folder: tempfile::TempDir, arguments: &[&str]) -> Program {
    Program::spawn(manage(folder.path(), arguments), folder)
}

#[test]
fn the_site_is_served_by_its_settings_and_reloaded_until_an_interrupt() {
    let mut program = serve(project(None, ""), &["ziggurat", "127.0.0.1:0"]);
    assert!(get(&program, "/", "").contains("mysite.settings /static/site.0a1b2c3d4e5f.css"), "{}", program.log());
    assert!(get(&program, "/static/site.css", "").contains("color: brown"));
    let urls = SITE[1].1.replace("os.environ['DJANGO_SETTINGS_MODULE']", "'changed'");
    fs::write(program.folder().join("mysite/urls.py"), urls).unwrap();
    ask_until(&program, "/", "changed /static/");
    program.signal("INT");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn the_projects_own_pipeline_is_served_from_any_folder() {
    let pipeline =
        r#"{ "layers": [{ "headers": { "response": { "set": { "x-layer": "yes" } } } }], "app": { "django": "mysite.settings" } }"#;
    let folder = project(Some(pipeline), "");
    let mut command = manage(folder.path(), &[]);
    command.current_dir("/");
    let mut command = {
        let mut elsewhere = Command::new(command.get_program());
        elsewhere.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        elsewhere.arg(folder.path().join("manage.py")).args(["ziggurat", "127.0.0.1:0", "--noreload"]).current_dir("/");
        elsewhere
    };
    command.env_remove("DJANGO_SETTINGS_MODULE");
    let program = Program::spawn(command, folder);
    assert!(get(&program, "/", "").contains("x-layer: yes"), "{}", program.log());
    assert!(!program.log().contains("watching"), "{}", program.log());
}

#[test]
fn a_site_that_fails_its_checks_is_not_served() {
    let output = manage(project(None, "ROOT_URLCONF = 5").path(), &["ziggurat", "127.0.0.1:0"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !text.contains("listening"), "{text}");
}

#[test]
fn an_address_that_is_none_is_refused() {
    let output = manage(project(None, "").path(), &["ziggurat", "somewhere"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("neither a port nor an address"));
}

#[test]
fn the_system_checks_compare_the_settings_with_the_pipeline() {
    let entry = r#"{ "django": "mysite.settings" }"#;
    let below = |layers: &str| format!(r#"{{ "layers": [{layers}], "app": {entry} }}"#);
    let app = |layers: &str| format!(r#"{{ "layers": [{layers}], "app": {{ "wsgi": "mysite.wsgi:application" }} }}"#);
    let files = r#"{ "static": { "at": "/static", "root": "staticfiles" } }"#;
    let trusting = r#"{ "forwarded": { "trust": ["10.0.0.0/8"] } }"#;
    let hosts =
        r#"{ "app": { "routes": [{ "match": { "host": ["www.example.org", "example.com"] }, "app": { "django": "mysite.settings" } }] } }"#;
    let proxy = "SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https')";
    let cases = [
        ("nothing to say", below(""), ""),
        ("a file that is refused", below("\"compres\""), ""),
        ("no hosts", below(""), "ALLOWED_HOSTS = []"),
        ("no hosts in development", below(""), "ALLOWED_HOSTS = []; DEBUG = True"),
        ("hosts of routes", hosts.to_owned(), ""),
        ("hosts of routes allowed", hosts.to_owned(), "ALLOWED_HOSTS = ['.example.org', 'example.com']"),
        ("a proxy's header that never arrives", below(""), proxy),
        ("a proxy's header that nobody is trusted with", below("\"forwarded\""), proxy),
        ("a proxy's header that is judged", below(trusting), proxy),
        ("a header of anybody's", below(trusting), "SECURE_PROXY_SSL_HEADER = ('HTTP_X_SCHEME', 'https')"),
        ("a site for https", below(""), "CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = True"),
        ("a site for https behind a proxy", below(trusting), "CSRF_COOKIE_SECURE = True"),
        ("a site for https with origins", below(""), "CSRF_COOKIE_SECURE = True; CSRF_TRUSTED_ORIGINS = ['https://example.com']"),
        ("no static files", app(""), ""),
        ("static files of WhiteNoise", app(""), "MIDDLEWARE.insert(0, 'whitenoise.middleware.WhiteNoiseMiddleware')"),
        ("static files", app(files), ""),
        ("static files of another folder", app(&files.replace("staticfiles", "media")), ""),
        ("static files at another address", app(&files.replace("/static", "/assets")), ""),
        ("static files below a wider folder", app(r#"{ "static": { "at": "/", "root": "." } }"#), "STATIC_URL = '/staticfiles/'"),
        (
            "everything twice",
            below(r#""compress", { "cors": { "origins": ["https://a.example"] } }, "security_headers""#),
            "MIDDLEWARE += ['django.middleware.gzip.GZipMiddleware', 'whitenoise.middleware.WhiteNoiseMiddleware', \
             'corsheaders.middleware.CorsMiddleware', 'django.middleware.security.SecurityMiddleware']",
        ),
        ("another app's file", r#"{ "apps": { "a": { "wsgi": "a:app" }, "b": { "wsgi": "b:app" } }, "app": { "routes": [{ "mount": "/a", "app": "a" }, { "app": "b" }] } }"#.to_owned(), ""),
    ];
    let mut seen = String::new();
    for (name, pipeline, settings) in cases {
        let folder = project(Some(&pipeline), settings);
        let output = manage(folder.path(), &["check"]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap().replace(&folder.path().canonicalize().unwrap().display().to_string(), "/site");
        seen += &format!("== {name}\n{text}\n");
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn a_project_without_a_pipeline_has_nothing_to_compare() {
    let output = manage(project(None, "ALLOWED_HOSTS = []").path(), &["check"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("no issues"), "{}", String::from_utf8_lossy(&output.stderr));
}
