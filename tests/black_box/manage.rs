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
class PipelineError(ValueError): pass
class Stack: pass
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

const FILES: &str = r#"{ "static": { "at": "/static", "root": "staticfiles" } }"#;
const TRUSTING: &str = r#"{ "forwarded": { "trust": ["10.0.0.0/8"] } }"#;

fn below(layers: &[&str]) -> String {
    format!(r#"{{ "layers": [{}], "app": {{ "wsgi": "mysite.wsgi:application" }} }}"#, layers.join(", "))
}

/// What `manage.py check` says of each pipeline file and what is added to the settings.
fn checked(cases: &[(&str, String, &str)]) -> String {
    let mut seen = String::new();
    for (name, pipeline, settings) in cases {
        let folder = project(Some(pipeline), settings);
        let output = manage(folder.path(), &["check"]).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        seen += &format!("== {name}\n{}\n", text.replace(&folder.path().canonicalize().unwrap().display().to_string(), "/site"));
    }
    seen
}

#[test]
fn a_check_reads_the_file_as_the_program_does() {
    let entry = |layers: &str| format!(r#"{{ "layers": [{layers}], "app": {{ "django": "mysite.settings" }} }}"#);
    let others = r#"{ "apps": { "a": { "wsgi": "a:app" }, "b": { "wsgi": "b:app" } },
  "app": { "routes": [{ "mount": "/a", "app": "a" }, { "app": "b" }] } }"#;
    let seen = checked(&[
        ("nothing to say", entry(""), ""),
        ("a file that is refused", entry("\"compres\""), ""),
        ("files of other apps", others.to_owned(), "ALLOWED_HOSTS = []"),
    ]);
    insta::assert_snapshot!(seen);
}

#[test]
fn checks_compare_hosts() {
    let routes = format!(
        r#"{{ "layers": [{FILES}], "app": {{ "routes": [
  {{ "match": {{ "host": ["www.example.org", "*.example.net", "example.com"] }}, "app": {{ "wsgi": "mysite.wsgi:application" }} }} ] }} }}"#
    );
    let seen = checked(&[
        ("no hosts", below(&[FILES]), "ALLOWED_HOSTS = []"),
        ("no hosts in development", below(&[FILES]), "ALLOWED_HOSTS = []; DEBUG = True"),
        ("hosts of routes", routes.clone(), ""),
        ("hosts of routes allowed", routes, "ALLOWED_HOSTS = ['.example.org', '.example.net', 'example.com']"),
    ]);
    insta::assert_snapshot!(seen);
}

#[test]
fn checks_compare_the_scheme() {
    let proxy = "SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https')";
    let https = "CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = True";
    let seen = checked(&[
        ("a proxy's header that never arrives", below(&[FILES]), proxy),
        ("a proxy's header that nobody is trusted with", below(&["\"forwarded\"", FILES]), proxy),
        ("a proxy's header that is judged", below(&[TRUSTING, FILES]), proxy),
        ("a header of anybody's", below(&[TRUSTING, FILES]), "SECURE_PROXY_SSL_HEADER = ('HTTP_X_SCHEME', 'https')"),
        ("a site for https", below(&[FILES]), https),
        ("a site for https behind a proxy", below(&[TRUSTING, FILES]), https),
        ("a site for https behind a proxy that is counted", below(&[r#"{ "forwarded": { "proxies": 1 } }"#, FILES]), https),
        (
            "a site for https that takes it itself",
            below(&[FILES]).replacen('{', r#"{ "listen": { "at": ":8443", "tls": { "cert": "a.pem", "key": "a.key" } },"#, 1),
            https,
        ),
        ("a site for https with origins", below(&[FILES]), "CSRF_COOKIE_SECURE = True; CSRF_TRUSTED_ORIGINS = ['https://example.com']"),
    ]);
    insta::assert_snapshot!(seen);
}

#[test]
fn checks_compare_static_files() {
    let seen = checked(&[
        ("none", below(&[]), ""),
        ("of WhiteNoise", below(&[]), "MIDDLEWARE.insert(0, 'whitenoise.middleware.WhiteNoiseMiddleware')"),
        ("as they are", below(&[FILES]), ""),
        ("of another folder", below(&[&FILES.replace("staticfiles", "media")]), ""),
        ("at another address", below(&[&FILES.replace("/static", "/assets")]), ""),
        (
            "below a wider folder",
            below(&[r#"{ "static": { "at": "/", "root": "public" } }"#]),
            "STATIC_URL = '/staticfiles/'; STATIC_ROOT = BASE_DIR / 'public/staticfiles'",
        ),
    ]);
    insta::assert_snapshot!(seen);
}

#[test]
fn checks_find_slashes_that_are_redirected_in_circles() {
    let removed = below(&[r#"{ "slash": "remove" }"#, FILES]);
    let seen = checked(&[
        ("appended and removed", removed.clone(), ""),
        ("appended twice", below(&[r#"{ "slash": "append" }"#, FILES]), ""),
        ("removed alone", removed, "APPEND_SLASH = False"),
    ]);
    insta::assert_snapshot!(seen);
}

#[test]
fn checks_find_what_is_done_twice() {
    let layers = below(&["\"compress\"", r#"{ "cors": { "origins": ["https://a.example"] } }"#, "\"security_headers\"", FILES]);
    let middleware = "MIDDLEWARE += ['django.middleware.gzip.GZipMiddleware', 'whitenoise.middleware.WhiteNoiseMiddleware', \
                      'corsheaders.middleware.CorsMiddleware', 'django.middleware.security.SecurityMiddleware']";
    let seen = checked(&[("everything twice", layers, middleware)]);
    insta::assert_snapshot!(seen);
}

#[test]
fn a_project_without_a_pipeline_has_nothing_to_compare() {
    let output = manage(project(None, "ALLOWED_HOSTS = []").path(), &["check"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("no issues"), "{}", String::from_utf8_lossy(&output.stderr));
}
