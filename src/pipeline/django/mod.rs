//! `django`: an app that is composed of the routes, layers and the `wsgi` app that the settings of a Django site ask for.

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
use crate::worker::identity::{ServerIdentity, is_root};
use crate::worker::launcher::Launcher;
use crate::worker::spawner::Spawners;
use crate::wsgi::{Wsgi, is_dotted_name};
use layout::Layout;

/// Serves a Django site as its settings say: static files, uploads, and the app itself.
///
/// It is composed of other layers and apps, which `ziggurat show` prints:
///
/// - `STATIC_URL` and `STATIC_ROOT` become a `static` layer over the app. Browsers cache files whose name holds a hash of their
///   content, as `ManifestStaticFilesStorage` writes them, without asking again. Copies that end in `.zst`, `.br` and `.gz` are sent to clients that
///   accept them. There is no layer if `STATIC_URL` names another host, or if the storage is on another machine.
/// - `MEDIA_URL` and `MEDIA_ROOT` become a route to a `static` app. An upload is never marked as immutable. Browsers do not
///   guess its type (`nosniff`), and run no scripts in it.
/// - `WSGI_APPLICATION` is the app; if it is not set, Django's own `get_wsgi_application` makes one. The workers have `DJANGO_SETTINGS_MODULE` set.
///
/// A separate, short-lived process imports the settings when the file is read, and again at each reload. If they cannot be imported, or if
/// `STATIC_ROOT` is not a folder, nothing starts.
///
/// If the site has `DEBUG` set, static files need not be collected: in place of the `static` layer, Django's own `StaticFilesHandler` finds them in the
/// apps at each request, as with `runserver`. A missing `MEDIA_ROOT` is ignored.
///
/// Everything else goes into `layers`, as for any app: `request_id`, `access_log`, `forwarded`, `compress`, `security_headers`.
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
    /// Folders to search for modules before Python's own. By default the folder of the pipeline file.
    #[serde(default)]
    path: Option<OneOrMany<PathBuf>>,
    /// A path that the server answers with 200 itself, for the probes of load balancers and containers: they address a site by its IP address, which
    /// `ALLOWED_HOSTS` refuses. The answer shows that the server runs, not that the site works. By default there is none.
    #[serde(default)]
    #[allow(dead_code, reason = "used as it is in the file; here for its type")]
    health: Option<String>,
    /// The [`sendfile`](../layers/sendfile.md) layer around the app: folders whose files the site sends with `X-Accel-Redirect` or `X-Sendfile`, after its
    /// own access check. By default there are none.
    #[serde(default)]
    #[schemars(schema_with = "sendfile_schema")]
    #[allow(dead_code, reason = "used as it is in the file; here for its type")]
    sendfile: Option<Json>,
    /// Which symbolic links below `STATIC_ROOT` are followed, as in [`static`](static.md): `never`, `within`, or `anywhere`, for `collectstatic --link`.
    #[serde(default)]
    #[schemars(schema_with = "symlinks_schema")]
    #[allow(dead_code, reason = "used as it is in the file; here for its type")]
    symlinks: Option<String>,
    /// Options of the [`wsgi`](wsgi.md) app: workers, threads, deadline and so on. `app` names another callable than the settings do.
    #[serde(default)]
    #[schemars(schema_with = "workers_schema")]
    wsgi: Map<String, Json>,
}

/// The layer's options, or its shorthand.
fn sendfile_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [generator.subschema_for::<Sendfile>(), { "type": "string" }] })
}

/// The values of the option of `static`.
fn symlinks_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["never", "within", "anywhere"], "default": "within" })
}

/// The options of the `wsgi` app without `path`, none of them required.
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
            let finding =
                Finding::new("`path` is an option of `django`, because the settings are in the same folders").at("wsgi").at("path");
            findings.push(finding.hint("move it out of `wsgi`"));
        }
    }

    fn compose(self, options: &Node, context: &Context) -> Result<Node, Finding> {
        let settings = self.settings(context)?;
        Ok(Layout::new(&self, options, &settings)?.routes())
    }
}

impl Django {
    /// The settings, imported as a worker would import them.
    fn settings(&self, context: &Context) -> Result<Settings, Finding> {
        let launch = context.host::<Launcher>().ok_or_else(|| {
            let finding = Finding::new("only the program `ziggurat` can read the settings of a site");
            finding.hint("name the app itself: `{ \"wsgi\": \"mysite.wsgi:application\" }`")
        })?;
        // Root imports the settings as the user that the server becomes, unless the workers have one of their own.
        let has_user = self.of_workers("user").is_some();
        let server = context.host::<ServerIdentity>().filter(|_| is_root() && !has_user).cloned().unwrap_or_default();
        let question = SettingsQuery {
            settings: self.settings.clone(),
            path: self.folders(context)?,
            chdir: self.of_workers("chdir").map(|folder| context.resolve(folder)),
            user: self.of_workers("user").or(server.user),
            group: self.of_workers("group").or(server.group),
        };
        let env = self.wsgi.get("env").and_then(Json::as_object).into_iter().flatten();
        let env = env.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        let spawner = match context.host::<Spawners>() {
            Some(spawners) => spawners.of(question.user.as_deref(), question.group.as_deref()).map_err(|finding| finding.at("wsgi"))?,
            None => None,
        };
        read_settings(launch, spawner.as_ref(), &question, env).map_err(|mut finding| {
            // It was found by what the options of `wsgi` are called.
            match finding.path.first() {
                Some(Step::Key(option)) if option == "app" => finding.path.clear(),
                Some(_) => finding.path.insert(0, "wsgi".into()),
                None => {}
            }
            if finding.path.is_empty() { finding.at("settings") } else { finding }
        })
    }

    /// A text option of the `wsgi` app. (The app itself checks its type.)
    fn of_workers(&self, option: &str) -> Option<String> {
        self.wsgi.get(option).and_then(Json::as_str).map(str::to_owned)
    }

    /// The folders to search for modules. They are watched, so that a reload follows a fix of the settings.
    fn folders(&self, context: &Context) -> Result<Vec<PathBuf>, Finding> {
        let own = OneOrMany(vec![PathBuf::from(".")]);
        let folders = self.path.as_ref().unwrap_or(&own).0.iter().map(|folder| {
            let resolved = context.resolve(folder);
            let found = resolved.canonicalize().ok().filter(|folder| folder.is_dir());
            found.ok_or_else(|| {
                let finding = Finding::new(format!("`{}` is not a folder", resolved.display())).at("path");
                finding.hint("relative folders start at the pipeline file's")
            })
        });
        let folders: Vec<PathBuf> = folders.collect::<Result<_, _>>()?;
        folders.iter().for_each(|folder| context.watch(folder));
        Ok(folders)
    }
}
