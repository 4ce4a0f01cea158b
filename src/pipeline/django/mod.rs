//! `django`: an app entry that stands for the layers, routes and the `wsgi` app that a Django site wants, by its settings.

mod layout;

use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use ziggurat_middleware::options::OneOrMany;
use ziggurat_middleware::sendfile::Sendfile;
use ziggurat_middleware::{Context, Finding, Findings, Step};

use super::registry::Composite;
use super::tree::Node;
use crate::worker::django_settings::{Settings, SettingsQuery, read_settings};
use crate::worker::launcher::Launcher;
use crate::wsgi::{Wsgi, is_dotted_name};
use layout::Layout;

/// Serves a Django site as its settings say: static files, uploads, and the app itself.
///
/// It stands for a `routes` app, and `ziggurat show` prints what that is:
///
/// - `STATIC_URL` and `STATIC_ROOT` become a `static` layer over the app. Files whose name holds a hash of their content, as
///   `ManifestStaticFilesStorage` writes them, may be kept for ever by browsers; copies with `.zst`, `.br` and `.gz` at their end are sent to
///   those who take them. Where `STATIC_URL` names another host, or the storage is on another machine, there is no layer.
/// - `MEDIA_URL` and `MEDIA_ROOT` become a route to a `static` app. What users uploaded is never kept for ever and never guessed at
///   (`nosniff`), and a page or picture among it runs no scripts.
/// - `WSGI_APPLICATION` is the app, or Django's own `get_wsgi_application` where that is not set. The workers have `DJANGO_SETTINGS_MODULE` set.
///
/// The settings are read when the file is, in a process of their own that ends at once, and again at each reload. Where they cannot be
/// imported, or `STATIC_ROOT` is no folder, nothing starts.
///
/// While the site has `DEBUG` set, static files need not be collected: instead of the `static` layer, Django's own `StaticFilesHandler` finds them in
/// the apps at each request, as with `runserver`. A `MEDIA_ROOT` that is not there yet is passed over.
///
/// What is not in the settings belongs into `layers` as for any app: `request_id`, `access_log`, `forwarded`, `compress`, `security_headers`.
///
/// ```json
/// {
///   "layers": ["request_id", "access_log", "compress"],
///   "app": { "django": { "settings": "mysite.settings", "health": "/healthz", "wsgi": { "threads": 8 } } }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Django {
    /// The settings module, as in `DJANGO_SETTINGS_MODULE`: `mysite.settings`.
    settings: String,
    /// Folders in which modules are looked for before Python's own. By default the folder of the pipeline file.
    #[serde(default)]
    path: Option<OneOrMany<PathBuf>>,
    /// A path that is answered 200 before Django is asked, for the probes of load balancers and containers: they address a site by a bare IP
    /// address, which `ALLOWED_HOSTS` refuses. It tells that the server runs, and nothing about the site. By default there is none.
    #[serde(default)]
    #[allow(dead_code, reason = "taken over as it is written; here for its type")]
    health: Option<String>,
    /// The [`sendfile`](../layers/sendfile.md) layer around the app: folders whose files the site names with `X-Accel-Redirect` or `X-Sendfile`, after it
    /// has seen who asks. By default there are none.
    #[serde(default)]
    #[schemars(schema_with = "sendfile_schema")]
    #[allow(dead_code, reason = "taken over as it is written; here for its type")]
    sendfile: Option<Json>,
    /// Options of the [`wsgi`](wsgi.md) app: workers, threads, deadline and so on. `app` names another callable than the settings do.
    #[serde(default)]
    #[schemars(schema_with = "workers_schema")]
    wsgi: Map<String, Json>,
}

/// The layer's options, or its shorthand.
fn sendfile_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [generator.subschema_for::<Sendfile>(), { "type": "string" }] })
}

/// The options of the `wsgi` app, none of them required, but for those that stand outside.
fn workers_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Wsgi::json_schema(generator);
    schema.remove("required");
    schema.remove("description");
    if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
        properties.shift_remove("path");
    }
    schema
}

impl Composite for Django {
    const NAME: &'static str = "django";
    const SHORTHAND: Option<&'static str> = Some("settings");

    fn validate(&self, findings: &mut Findings) {
        if !is_dotted_name(&self.settings) || self.settings.ends_with(".py") {
            let finding = Finding::new(format!("`{}` does not name a module", self.settings)).at("settings");
            findings.push(finding.hint("write the settings module as in `DJANGO_SETTINGS_MODULE`: `mysite.settings`"));
        }
        if self.wsgi.contains_key("path") {
            let finding = Finding::new("`path` stands beside `settings`, which is looked for there too").at("wsgi").at("path");
            findings.push(finding.hint("move it out of `wsgi`"));
        }
    }

    fn compose(self, options: &Node, context: &Context) -> Result<Node, Finding> {
        let settings = self.settings(context)?;
        Ok(Layout::new(&self, options, &settings)?.routes())
    }
}

impl Django {
    /// What the settings module says, read as a worker would read it.
    fn settings(&self, context: &Context) -> Result<Settings, Finding> {
        let launch = context.host::<Launcher>().ok_or_else(|| {
            let finding = Finding::new("a site's settings are read by the program `ziggurat`, and this is another one");
            finding.hint("name the app itself: `{ \"wsgi\": \"mysite.wsgi:application\" }`")
        })?;
        let question = SettingsQuery {
            settings: self.settings.clone(),
            path: self.folders(context)?,
            chdir: self.of_workers("chdir").map(|folder| context.resolve(folder)),
            user: self.of_workers("user"),
            group: self.of_workers("group"),
        };
        let env = self.wsgi.get("env").and_then(Json::as_object).into_iter().flatten();
        let env = env.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        read_settings(launch, &question, env).map_err(|mut finding| {
            // It was found by what the options of `wsgi` are called.
            match finding.path.first() {
                Some(Step::Key(option)) if option == "app" => finding.path.clear(),
                Some(_) => finding.path.insert(0, "wsgi".into()),
                None => {}
            }
            if finding.path.is_empty() { finding.at("settings") } else { finding }
        })
    }

    /// An option of the `wsgi` app that is text. (Whether it may be none is for the app to say.)
    fn of_workers(&self, option: &str) -> Option<String> {
        self.wsgi.get(option).and_then(Json::as_str).map(str::to_owned)
    }

    /// The folders that modules are looked for in, watched where changes are: a mistake in the settings is to be seen mended.
    fn folders(&self, context: &Context) -> Result<Vec<PathBuf>, Finding> {
        let own = OneOrMany(vec![PathBuf::from(".")]);
        let folders = self.path.as_ref().unwrap_or(&own).0.iter().map(|folder| {
            let resolved = context.resolve(folder);
            let found = resolved.canonicalize().ok().filter(|folder| folder.is_dir());
            found.ok_or_else(|| {
                let finding = Finding::new(format!("`{}` is no folder", resolved.display())).at("path");
                finding.hint("relative folders start at the pipeline file's")
            })
        });
        let folders: Vec<PathBuf> = folders.collect::<Result<_, _>>()?;
        folders.iter().for_each(|folder| context.watch(folder));
        Ok(folders)
    }
}
