//! Projects of each kind, as files.

use std::fs;

use super::*;

const MANAGE: &str = "import os\ndef main():\n    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\nmain()\n";
const DJANGO_WSGI: &str = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n";
const FACTORY: &str = "from flask import Flask\ndef create_app(config=None):\n    app = Flask(__name__)\n    return app\n";
const FLASK: &str = "from flask import Flask\napp = Flask(__name__)\n";

/// What is found in a folder of these files: the `app` of the pipeline and the folder of static files, or why not.
fn found(files: &[(&str, &str)], wanted: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    match detect(folder.path(), wanted) {
        Ok(project) => {
            let pipeline: serde_json::Value = serde_json::from_str(&project.pipeline()).unwrap();
            let roots = pipeline["layers"].as_array().unwrap().iter().filter_map(|layer| layer["static"]["root"].as_str());
            roots.fold(pipeline["app"].to_string(), |text, root| format!("{text} static {root}"))
        }
        Err(Undecided::Nothing(instead)) => format!("nothing: {}", instead.join("; ")),
        Err(Undecided::Several(apps)) => apps.into_iter().map(|(target, _)| target).collect::<Vec<_>>().join(" or "),
        Err(Undecided::Misnamed(app)) => format!("misnamed: {app}"),
    }
}

#[test]
fn projects_are_known_by_their_code() {
    let wsgi = "def application(environ, start_response):\n    return []\n";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("app.py", FLASK)], r#"{"wsgi":"app:app"}"#),
        (&[("app.py", FLASK), ("static/a.css", "")], r#"{"wsgi":"app:app"} static static"#),
        (
            &[("app.py", "from flask import Flask\napp = Flask(__name__, static_folder=None)\n"), ("static/a.css", "")],
            r#"{"wsgi":"app:app"}"#,
        ),
        (&[("flaskr/__init__.py", FACTORY), ("flaskr/static/a", "")], r#"{"wsgi":"flaskr:create_app()"} static flaskr/static"#),
        (&[("src/shop/__init__.py", FACTORY)], r#"{"wsgi":{"app":"shop:create_app()","path":"src"}}"#),
        (&[("backend/app.py", FLASK), ("backend/static/a", "")], r#"{"wsgi":{"app":"app:app","path":"backend"}} static backend/static"#),
        (&[("shop/__init__.py", FACTORY), ("wsgi.py", "from shop import create_app\napp = create_app()\n")], r#"{"wsgi":"wsgi:app"}"#),
        (&[("app.py", "from flask import Flask\ndef create_app(config):\n    return Flask(__name__)\n")], "nothing: "),
        (&[("app.py", &[FACTORY, "app = create_app()\n"].concat())], r#"{"wsgi":"app:app"}"#),
        (
            &[("shop/__init__.py", FACTORY), ("shop/static/a", ""), ("run.py", "from shop import create_app\napp = create_app()\n")],
            r#"{"wsgi":"run:app"} static shop/static"#,
        ),
        (
            &[("shop/__init__.py", FACTORY), ("run.py", "app = create_app()\n"), ("dev.py", "app = create_app('dev')\n")],
            "dev:app or run:app or shop:create_app()",
        ),
        (&[("hello.py", wsgi)], r#"{"wsgi":"hello:application"}"#),
        (&[("hello.py", "def app(environ: dict, start_response):\n    yield b''\n")], r#"{"wsgi":"hello:app"}"#),
        (
            &[("hello.py", "class App:\n    def __call__(self, environ, start_response):\n        return []\n\napp = App()\n")],
            r#"{"wsgi":"hello:app"}"#,
        ),
        (&[("site.py", "import bottle\napp = bottle.Bottle()\n")], r#"{"wsgi":"site:app"}"#),
        (&[("site.py", "import bottle\napplication = bottle.default_app()\n")], r#"{"wsgi":"site:application"}"#),
        (&[("api.py", "import falcon\napp = falcon.App()\n")], r#"{"wsgi":"api:app"}"#),
        (&[("api.py", "from falcon import App\napp = App()\n")], r#"{"wsgi":"api:app"}"#),
        (
            &[("api.py", "import falcon.asgi\napp = falcon.asgi.App()\n")],
            "nothing: `api:app` is an ASGI app of Falcon in api.py: it is for ASGI, and Ziggurat serves WSGI",
        ),
        (&[("api.py", "from tkinter import App\napp = App()\n")], "nothing: "),
        (&[("site.py", "config = Configurator()\napp = config.make_wsgi_app()\n")], r#"{"wsgi":"site:app"}"#),
        (&[("todo.py", "application = web.application(urls, globals()).wsgifunc()\n")], r#"{"wsgi":"todo:application"}"#),
        (&[("main.py", "app = FastAPI()\n")], "nothing: `main:app` is a FastAPI app in main.py: it is for ASGI, and Ziggurat serves WSGI"),
        (
            &[("readme.py", "\"\"\"\napp = Flask(__name__)\n\"\"\"\n# app = Flask(__name__)\nif main:\n    app = Flask(__name__)\n")],
            "nothing: ",
        ),
        (
            &[("tests/app.py", FLASK), ("test_app.py", FLASK), ("mine/pyvenv.cfg", ""), ("mine/app.py", FLASK), (".x/app.py", FLASK)],
            "nothing: ",
        ),
        (&[], "nothing: "),
        (&[("a.py", FLASK), ("b.py", wsgi)], "a:app or b:application"),
        (&[("a.py", FLASK), ("b.py", wsgi), ("Procfile", "web: gunicorn b:application\n")], r#"{"wsgi":"b:application"}"#),
        (&[("a.py", FLASK), ("b.py", wsgi), ("Procfile", "web: gunicorn b\nother: gunicorn a:app\n")], "a:app or b:application"),
        (&[("odd.py", "app = wrap(Flask(__name__))\n"), ("Procfile", "web: gunicorn odd:app\n")], r#"{"wsgi":"odd:app"}"#),
        (
            &[("a.py", FLASK), ("Procfile", "web: gunicorn -w 4 --timeout 60 a:app\n")],
            r#"{"wsgi":{"app":"a:app","workers":4,"deadline":"60s"}}"#,
        ),
        (
            &[("a.py", FLASK), ("gunicorn.conf.py", "wsgi_app = 'a:app'\nthreads = 8\nworkers = multiprocessing.cpu_count() * 2 + 1\n")],
            r#"{"wsgi":{"app":"a:app","threads":8,"workers":"auto"}}"#,
        ),
        (
            &[("a.py", FLASK), ("uwsgi.ini", "[uwsgi]\nmodule = a:app\nprocesses = 4\nharakiri = 30\n")],
            r#"{"wsgi":{"app":"a:app","workers":4,"deadline":"30s"}}"#,
        ),
        (
            &[
                ("shop/__init__.py", ""),
                ("shop/app.py", FLASK),
                ("other.py", FLASK),
                ("wsgi.py", "from shop.app import app as application\n"),
            ],
            r#"{"wsgi":"wsgi:application"}"#,
        ),
        (
            &[("shop/__init__.py", "from flask import Flask\napp = Flask(__name__)\ndef create_app():\n    return Flask(__name__)\n")],
            r#"{"wsgi":"shop:create_app()"}"#,
        ),
        (
            &[("site.py", "from paste.deploy import loadapp\napplication = loadapp('config:/srv/site.ini')\n")],
            r#"{"wsgi":"site:application"}"#,
        ),
        (
            &[("site.wsgi", "from shop import app as application\n")],
            "nothing: site.wsgi is a script for mod_wsgi: copy it to site_wsgi.py, and name `site_wsgi:application` with `--app`",
        ),
        (
            &[("production.ini", "[app:main]\nuse = egg:shop\n")],
            "nothing: production.ini is a configuration of Paste Deploy: `ziggurat import production.ini` writes the pipeline file for it",
        ),
        (&[("co$t/app.py", FLASK)], r#"{"wsgi":{"app":"app:app","path":"co$$t"}}"#),
    ];
    for (files, expected) in cases {
        assert_eq!(found(files, None), *expected, "{files:?}");
    }
}

#[test]
fn django_is_known_by_its_manage_py() {
    let deployed = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.production')\napplication = get_wsgi_application()\n";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("manage.py", MANAGE), ("mysite/__init__.py", ""), ("mysite/wsgi.py", DJANGO_WSGI)], r#"{"django":"mysite.settings"}"#),
        (&[("manage.py", MANAGE), ("mysite/__init__.py", ""), ("mysite/wsgi.py", deployed)], r#"{"django":"mysite.production"}"#),
        (&[("manage.py", MANAGE), ("mysite/__init__.py", ""), ("b.py", FLASK)], r#"{"django":"mysite.settings"}"#),
        (&[("back/manage.py", MANAGE), ("back/mysite/__init__.py", "")], r#"{"django":{"settings":"mysite.settings","path":"back"}}"#),
        (
            &[("a/manage.py", "os.environ['DJANGO_SETTINGS_MODULE'] = 'a.settings'"), ("b/manage.py", MANAGE)],
            "a.wsgi:application or mysite.wsgi:application",
        ),
        // Flask-Script had one too.
        (&[("manage.py", "from app import app\n"), ("app.py", FLASK)], r#"{"wsgi":"app:app"}"#),
    ];
    for (files, expected) in cases {
        assert_eq!(found(files, None), *expected, "{files:?}");
    }
}

#[test]
fn the_app_that_is_asked_for_is_taken() {
    let files = [("a.py", FLASK), ("src/b.py", FLASK), ("src/static/x", "")];
    for (wanted, expected) in [
        ("a:app", r#"{"wsgi":"a:app"}"#),
        ("b:app", r#"{"wsgi":{"app":"b:app","path":"src"}} static src/static"#),
        ("installed.wsgi", r#"{"wsgi":"installed.wsgi"}"#),
        ("a:make()", r#"{"wsgi":"a:make()"}"#),
        ("a.py", "misnamed: a.py"),
        ("./a.py:app", "misnamed: ./a.py:app"),
        ("a:b c", "misnamed: a:b c"),
        ("", "misnamed: "),
    ] {
        assert_eq!(found(&files, Some(wanted)), expected, "{wanted}");
    }
}
