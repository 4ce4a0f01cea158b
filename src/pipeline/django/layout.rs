//! The routes of a `django` entry, as a file would write them.

use std::path::Path;

use serde_json::{Value as Json, json};
use ziggurat_middleware::Finding;

use super::Django;
use crate::pipeline::tree::{Entry, Node, Span, Value};
use crate::worker::django_settings::{Files, Settings};

/// Makes the routes. Generated values have the span of the settings' name; values of the entry keep their own.
pub(super) struct Layout<'a> {
    django: &'a Django,
    options: &'a Node,
    application: Option<&'a str>,
    span: Span,
    finds_assets: bool,
    assets: Option<Served<'a>>,
    media: Option<Served<'a>>,
}

/// A folder below a path of the site.
struct Served<'a> {
    at: String,
    root: &'a Path,
}

impl<'a> Layout<'a> {
    /// Refuses settings that name folders which are not there.
    pub(super) fn new(django: &'a Django, options: &'a Node, settings: &'a Settings) -> Result<Self, Finding> {
        let module = &django.settings;
        let collected = settings.assets.as_ref().filter(|_| !settings.finds_assets);
        let assets = served(collected, settings.debug, |root| match root {
            Some(root) => Finding::new(format!("`STATIC_ROOT` of `{module}` is `{}`, which is not a folder", root.display()))
                .hint("run `manage.py collectstatic`, which makes and fills it"),
            None => Finding::new(format!("`STATIC_ROOT` of `{module}` is not set, so there are no static files to serve"))
                .hint("set it, as in `STATIC_ROOT = BASE_DIR / \"staticfiles\"`, and run `manage.py collectstatic`"),
        })?;
        let media = served(settings.media.as_ref(), settings.debug, |root| {
            let root = root.unwrap_or(Path::new("")).display();
            Finding::new(format!("`MEDIA_ROOT` of `{module}` is `{root}`, which is not a folder")).hint("make it, writable for the workers")
        })?;
        for (setting, folder) in [("STATIC_ROOT", &assets), ("MEDIA_ROOT", &media)] {
            if let Some(folder) = folder
                && holds(folder.root, settings.file.as_deref())
            {
                let finding = Finding::new(format!("`{setting}` of `{module}` is `{}`, which holds the settings", folder.root.display()));
                return Err(finding.at("settings").hint("clients could read every file in it: use a separate folder"));
            }
        }
        let span = options.nearest(&["settings".into()]).span.clone();
        let (application, finds_assets) = (settings.application.as_deref(), settings.finds_assets);
        Ok(Self { django, options, application, span, finds_assets, assets, media })
    }

    /// The routes: probes, uploads, and the app below static files.
    pub(super) fn routes(&self) -> Node {
        let health = self.given("health").map(|path| {
            let condition = self.object([("path", path.clone())]);
            self.object([("match", condition), ("app", self.made(&json!({ "respond": { "body": "ok\n" } })))])
        });
        let media = self.media.as_ref().map(|media| self.media(media));
        let sendfile = self.given("sendfile").map(|options| self.object([("sendfile", options.clone())]));
        let finder = self.finds_assets.then(|| self.finder());
        let layers = self.assets.iter().map(|assets| self.assets(assets)).chain(sendfile).chain(finder).collect();
        let site = self.object([("layers", self.node(Value::Array(layers))), ("app", self.object([("wsgi", self.wsgi())]))]);
        self.node(Value::Array([health, media, Some(site)].into_iter().flatten().collect()))
    }

    fn assets(&self, assets: &Served<'_>) -> Node {
        let mut options = self.made(&json!({ "at": assets.at, "root": assets.root, "index": false, "immutable": true }));
        if let (Value::Object(entries), Some(symlinks)) = (&mut options.value, self.given("symlinks")) {
            entries.push(self.entry("symlinks", symlinks.clone()));
        }
        self.object([("static", options)])
    }

    /// The handler that `runserver` puts around the app.
    fn finder(&self) -> Node {
        let handler = ("middleware", self.made(&json!("django.contrib.staticfiles.handlers:StaticFilesHandler")));
        let options = match self.given("path") {
            Some(path) => self.object([handler, ("path", path.clone())]),
            None => self.object([handler]),
        };
        self.object([("wsgi", options)])
    }

    /// Uploads of users. A page or a picture among them must not run scripts with the origin of the site.
    fn media(&self, media: &Served<'_>) -> Node {
        let careful = json!({ "headers": { "response": { "set": {
            "x-content-type-options": "nosniff",
            "content-security-policy": "script-src 'none'; form-action 'none'; base-uri 'none'"
        } } } });
        // Collected files may lie below the address of uploads.
        let assets = self.assets.as_ref().filter(|assets| Path::new(&assets.at).starts_with(&media.at)).map(|assets| self.assets(assets));
        let layers = assets.into_iter().chain([self.made(&careful)]).collect();
        self.object([
            ("match", self.made(&json!({ "path": format!("{}/*", media.at) }))),
            ("layers", self.node(Value::Array(layers))),
            ("app", self.made(&json!({ "static": { "at": media.at, "root": media.root, "index": false, "precompressed": false } }))),
        ])
    }

    /// The options of the `wsgi` app: those of the entry, and what follows from the settings.
    fn wsgi(&self) -> Node {
        let (span, mut entries) = match self.given("wsgi") {
            Some(Node { value: Value::Object(entries), span, .. }) => (span.clone(), entries.clone()),
            _ => (self.span.clone(), Vec::new()),
        };
        if let Some(path) = self.given("path") {
            entries.insert(0, self.entry("path", path.clone()));
        }
        if !entries.iter().any(|entry| entry.key == "app") {
            entries.insert(0, self.entry("app", self.made(&json!(self.target()))));
        }
        // Without workers there is no process to set the variable in; the app's module then names the settings itself.
        let in_process = entries.iter().any(|entry| entry.key == "workers" && is_zero(&entry.value));
        if !in_process {
            let settings = self.entry("DJANGO_SETTINGS_MODULE", self.made(&json!(self.django.settings)));
            match entries.iter_mut().find(|entry| entry.key == "env").map(|entry| &mut entry.value.value) {
                Some(Value::Object(variables)) => {
                    variables.retain(|variable| variable.key != settings.key);
                    variables.push(settings);
                }
                _ => entries.push(self.entry("env", self.node(Value::Object(vec![settings])))),
            }
        }
        Node::new(span, Value::Object(entries))
    }

    /// `WSGI_APPLICATION` in the form of the `wsgi` app.
    fn target(&self) -> String {
        match self.application.map(|application| application.rsplit_once('.').unwrap_or((application, "application"))) {
            Some((module, callable)) => format!("{module}:{callable}"),
            None => "django.core.wsgi:get_wsgi_application()".to_owned(),
        }
    }

    /// An option of the entry.
    fn given(&self, option: &str) -> Option<&'a Node> {
        let Value::Object(entries) = &self.options.value else { return None };
        entries.iter().find(|entry| entry.key == option).map(|entry| &entry.value)
    }

    fn node(&self, value: Value) -> Node {
        Node::new(self.span.clone(), value)
    }

    fn entry(&self, key: &str, value: Node) -> Entry {
        Entry { key: key.to_owned(), key_span: self.span.clone(), value }
    }

    fn object<const N: usize>(&self, entries: [(&str, Node); N]) -> Node {
        self.node(Value::Object(entries.into_iter().map(|(key, value)| self.entry(key, value)).collect()))
    }

    fn made(&self, json: &Json) -> Node {
        self.node(match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Number(number.clone()),
            Json::String(text) => Value::String(text.clone()),
            Json::Array(items) => Value::Array(items.iter().map(|item| self.made(item)).collect()),
            Json::Object(entries) => Value::Object(entries.iter().map(|(key, value)| self.entry(key, self.made(value))).collect()),
        })
    }
}

/// Files that the site serves itself: none if their address is elsewhere, or if a site in development does not have them yet.
fn served<'a>(
    files: Option<&'a Files>,
    debug: bool,
    missing: impl FnOnce(Option<&Path>) -> Finding,
) -> Result<Option<Served<'a>>, Finding> {
    let Some(files) = files.filter(|files| files.url.starts_with('/') && !files.url.starts_with("//")) else { return Ok(None) };
    match files.root.as_deref() {
        Some(root) if root.is_dir() => {
            let at = files.url.trim_end_matches('/');
            Ok(Some(Served { at: if at.is_empty() { "/".to_owned() } else { at.to_owned() }, root }))
        }
        _ if debug => Ok(None),
        root => Err(missing(root).at("settings")),
    }
}

/// Whether a file lies somewhere below a folder.
fn holds(folder: &Path, file: Option<&Path>) -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    file.and_then(canonical).zip(canonical(folder)).is_some_and(|(file, folder)| file.starts_with(folder))
}

/// Whether this is 0, as a number or as the text of a variable.
fn is_zero(node: &Node) -> bool {
    match &node.value {
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text == "0",
        _ => false,
    }
}
