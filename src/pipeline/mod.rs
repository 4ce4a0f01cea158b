//! From a pipeline file to one built service: text, spanned tree, typed options, checks, stack.
//!
//! Each phase reports all it finds: syntax; expansion of `${...}`; names, types and values; and, when the stack is built, what cannot be acquired.
//! A file with mistakes never becomes half a pipeline.

mod acme;
mod build;
mod changes;
mod check;
mod control;
mod diagnostic;
pub(crate) mod django;
mod embedded;
mod explain;
mod file_tests;
mod fix;
mod guards;
pub(crate) mod lints;
mod model;
mod names;
mod options;
mod placeholder;
mod print;
mod read;
mod registry;
mod schema;
mod secrets;
mod synonyms;
mod tree;
mod workers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ziggurat_middleware::spool::SpoolOptions;
use ziggurat_middleware::{Context, Lifecycle, Next, Place};

pub(crate) use build::{Imported, WorkerStack};
pub(crate) use changes::{Action, PartChange, differing};
pub(crate) use control::control_socket;
pub use diagnostic::{Report, finding_ids};
pub(crate) use embedded::Layers;
pub(crate) use explain::{Explanation, Hop, Question, Role};
pub(crate) use file_tests::Judged;
pub(crate) use names::{closest, suggestion};
pub(crate) use print::StackStep;
pub use read::expand::Environment;
pub(crate) use registry::Service;
pub use registry::{Kind, Registry};
pub use schema::schema;

use crate::acme::{NameReport, Store, Timestamp, answer_http01, reports};
use crate::metrics;
use crate::server::{Address, Listen, Options};
use crate::tls::root_reader::Readable;
use crate::tls::{Tickets, TlsServer};
use crate::traces::Traces;
use build::Site;
use diagnostic::{Diagnostic, Id, Severity, Source};
use model::File;
use read::text::{self, Dialect};
use secrets::Secrets;
use tree::Span;

/// The place of traces.
const TRACES: &str = "traces";
/// The place of metrics that are sent.
const METRICS: &str = "metrics";

/// A pipeline file that was read and is sound: every name is known, every option has its type, every route is reachable. Nothing is opened, started or
/// listened on yet.
pub struct Pipeline {
    source: Arc<Source>,
    base: PathBuf,
    secrets: Secrets,
    file: File,
    listen: Vec<Listen>,
    /// Whether the address is not the file's.
    is_elsewhere: bool,
    warnings: Report,
}

impl Pipeline {
    /// Reads a file; `.jsonc` may hold comments and trailing commas. Relative paths in it start at its folder. Where an app is a `django`
    /// entry, its settings are read by a process that ends before this returns.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file and can be found without starting anything.
    pub fn load(path: &Path, registry: &Registry, environment: Environment<'_>) -> Result<Self, Report> {
        let source = text::load(path)?;
        let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self::understand(source, Dialect::of(path), base, registry, environment)
    }

    /// As [`Pipeline::load`], from a text. Messages show `name`, and relative paths start at `base`.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::load`].
    pub fn from_text(name: &str, text: &str, base: &Path, registry: &Registry, environment: Environment<'_>) -> Result<Self, Report> {
        let source = text::decode(name, text.as_bytes().to_vec())?;
        Self::understand(source, Dialect::of(Path::new(name)), base.to_path_buf(), registry, environment)
    }

    /// The pipeline of `ziggurat pkg.mod:app`: the WSGI app under `request_id` and `access_log`.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::load`]. The text shown is that of the generated pipeline.
    pub fn for_wsgi(app: &str, listen: &str, base: &Path, registry: &Registry) -> Result<Self, Report> {
        Self::generated("wsgi", app, listen, base, registry)
    }

    /// The pipeline of `ziggurat --django mysite.settings`: the Django site under `request_id` and `access_log`.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::for_wsgi`].
    pub fn for_django(settings: &str, listen: &str, base: &Path, registry: &Registry) -> Result<Self, Report> {
        Self::generated("django", settings, listen, base, registry)
    }

    fn generated(kind: &str, app: &str, listen: &str, base: &Path, registry: &Registry) -> Result<Self, Report> {
        let [app, listen] = [app, listen].map(|text| serde_json::Value::from(text.replace('$', "$$")));
        let text = format!(
            "{{\n  \"listen\": {listen},\n  \"layers\": [\"request_id\", \"access_log\"],\n  \"app\": {{ \"{kind}\": {app} }}\n}}\n"
        );
        Self::from_text("(command line)", &text, base, registry, &|_| None)
    }

    fn understand(
        source: Source,
        dialect: Dialect,
        base: PathBuf,
        registry: &Registry,
        environment: Environment<'_>,
    ) -> Result<Self, Report> {
        let source = Arc::new(source);
        let refuse = |findings| Report::new(Arc::clone(&source), findings);
        let (file, secrets) = read::file(&source, dialect, &base, registry, environment).map_err(refuse)?;
        let path = base.join(Path::new(&source.name).file_name().unwrap_or_default());
        let findings = check::check(&file, &secrets, &path);
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(refuse(findings));
        }
        let warnings = refuse(findings);
        let mut listen: Vec<Listen> = file.listen.iter().map(|entry| entry.listen.clone()).collect();
        if listen.is_empty() {
            // An address that only this machine reaches. The file has to name any other.
            listen.push(Address::Tcp { host: Some("127.0.0.1".to_owned()), port: 8000 }.into());
        }
        Ok(Self { source, base, secrets, file, listen, is_elsewhere: false, warnings })
    }

    /// The addresses to listen on, in the order of the file; by default `127.0.0.1:8000`. They have no transports before [`Pipeline::listeners`].
    #[must_use]
    pub fn listen(&self) -> &[Listen] {
        &self.listen
    }

    /// The `server` part, defaults filled in.
    #[must_use]
    pub const fn server(&self) -> &Options {
        &self.file.server.value
    }

    /// This pipeline with another address to listen on. What the file says about the connections there is that of an entry of its own: one in clear text, if it has any.
    pub(crate) fn listening_on(mut self, listen: Listen) -> Self {
        let entries = &mut self.file.listen;
        let kept = entries.iter().position(|entry| entry.tls.is_none()).unwrap_or_default();
        if kept < entries.len() {
            let mut entry = entries.swap_remove(kept);
            entry.listen = Listen { address: listen.address, access: listen.access, ..entry.listen };
            *entries = vec![entry];
            self.listen = entries.iter().map(|entry| entry.listen.clone()).collect();
        } else {
            self.listen = vec![listen];
        }
        self.is_elsewhere = true;
        self
    }

    /// This pipeline with a drain that takes no longer than this.
    pub(crate) fn with_drain_up_to(mut self, longest: std::time::Duration) -> Self {
        let drain = &mut self.file.server.value.drain.0;
        *drain = longest.min(*drain);
        self
    }

    /// The files of `${file:...}`.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.secrets.files().map(|file| self.base.join(file))
    }

    /// The folder that relative paths start from.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Findings about what is harmless, and probably a mistake.
    #[must_use]
    pub const fn warnings(&self) -> &Report {
        &self.warnings
    }

    /// Builds the stack: opens files, compiles patterns, starts what layers and apps need. Their hooks are left with `lifecycle`.
    ///
    /// # Errors
    ///
    /// Everything that could not be acquired; what had been started is shut down again.
    pub fn build(&self, lifecycle: &Lifecycle) -> Result<Next, Report> {
        let spool = &self.server().spool;
        SpoolOptions::check_folder(&spool.folder(&self.base)).map_err(|finding| self.report_at_server("spool", &finding.to_string()))?;
        // Before the stack, so that its shutdown comes last.
        let context = Context::new(TRACES, self.base(), lifecycle.clone());
        let traces = self.server().traces.as_ref().and_then(|options| Traces::start(options, &context));
        if let Some(options) = &self.server().metrics {
            metrics::export(options, &Context::new(METRICS, self.base(), lifecycle.clone()));
        }
        let store = build::store(self.server(), &self.base, lifecycle);
        let store = store.map_err(|finding| self.report_at_server("store", &finding.to_string()))?;
        let stack = self.timed(lifecycle, |site| build::front(&self.file, site, store))?;
        let stack = match traces {
            Some(traces) => traces.around(stack, &Place::new(TRACES)),
            None => stack,
        };
        let stores: Vec<_> = self.stores().collect();
        Ok(if stores.is_empty() { stack } else { answer_http01(stack, stores) })
    }

    /// The stack that `build` gives, timed if the file says so.
    fn timed(&self, lifecycle: &Lifecycle, build: impl FnOnce(Site<'_>) -> Result<Next, Vec<Diagnostic>>) -> Result<Next, Report> {
        let site = self.site(lifecycle);
        let timings = self.server().is_timed().then(|| build::timings(self.file.stacks(), site));
        let built = build(Site { timings: timings.as_ref(), ..site });
        let stack = built.map_err(|findings| Report::new(Arc::clone(&self.source), findings))?;
        let Some(timings) = timings else { return Ok(stack) };
        let context = Context::new("server.timing", self.base.as_path(), lifecycle.clone());
        Ok(timings.over(stack, self.server().slow.map(|slow| slow.0), &context))
    }

    /// What to listen on, with the certificates that the file names, and warnings about them. The files are watched until `lifecycle` retires.
    ///
    /// # Errors
    ///
    /// Everything that keeps a certificate from being used.
    pub fn listeners(&self, lifecycle: &Lifecycle) -> Result<(Vec<Listen>, Report), Report> {
        if self.file.listen.is_empty() {
            return Ok((self.listen.clone(), Report::new(Arc::clone(&self.source), Vec::new())));
        }
        let report = |findings| Report::new(Arc::clone(&self.source), findings);
        let built = build::listeners(&self.file, self.site(lifecycle)).map_err(report)?;
        Ok((built.0, report(built.1)))
    }

    /// The TLS of all listeners that have any, and warnings. Nothing is watched. `lifecycle` may know how files are read that only root can read.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::listeners`].
    pub(crate) fn certificates(&self, tickets: &Arc<Tickets>, lifecycle: &Lifecycle) -> Result<(Vec<Arc<TlsServer>>, Report), Report> {
        let report = |findings| Report::new(Arc::clone(&self.source), findings);
        let (opened, warnings) = build::open_tls(&self.file.listen, self.site(lifecycle), tickets).map_err(report)?;
        Ok((opened.into_iter().flatten().collect(), report(warnings)))
    }

    /// Begins what only a server may do that serves, as the user that it has become: to order certificates.
    pub(crate) fn begin(&self, lifecycle: &Lifecycle) {
        build::begin_orders(self.site(lifecycle));
    }

    /// What keeps this process from using the folders of ACME: warnings, because the server starts all the same.
    pub(crate) fn obstacles(&self) -> Report {
        Report::new(Arc::clone(&self.source), acme::obstacles(&self.file.listen, &self.base))
    }

    /// The folders that the server keeps certificates of authorities in.
    pub(crate) fn stores(&self) -> impl Iterator<Item = Store> {
        acme::settings(&self.file.listen, &self.base).into_iter().map(|settings| settings.store)
    }

    /// The files of certificates and keys that it names, for a process that reads them as root.
    ///
    /// # Errors
    ///
    /// If there is no working folder.
    pub(crate) fn readable(&self) -> std::io::Result<Readable> {
        let mut readable = Readable::default();
        let mut tls = self.file.listen.iter().filter_map(|entry| entry.tls.as_ref());
        tls.try_for_each(|tls| readable.add(&tls.value, &self.base))?;
        Ok(readable)
    }

    /// The user and the group of the workers of each `wsgi` app that names any.
    pub(crate) fn worker_identities(&self) -> Vec<(Option<String>, Option<String>)> {
        workers::identities(&self.file)
    }

    /// What the stores of the file say about the certificates of authorities.
    pub(crate) fn acme_reports(&self, now: Timestamp) -> Vec<NameReport> {
        acme::settings(&self.file.listen, &self.base).iter().flat_map(|settings| reports(settings, now)).collect()
    }

    /// The tower, outermost layer on top: defaults filled in, routes as branches, secrets as their `${...}`.
    #[must_use]
    pub fn show(&self) -> String {
        print::show(self)
    }

    /// An equivalent pipeline file with everything written out: defaults, and the routes of composite apps such as `django`. Secrets stay `${...}`.
    #[must_use]
    pub fn normalized(&self) -> serde_json::Value {
        print::normalized(self)
    }

    /// The stack in one line: `request_id > compress > wsgi`.
    #[must_use]
    pub fn summary(&self) -> String {
        print::summary(&self.file)
    }

    /// The stack as a list of steps.
    pub(crate) fn outline(&self) -> Vec<StackStep> {
        print::outline(self)
    }

    /// A report without a place in the file.
    #[must_use]
    pub fn report(&self, message: &str) -> Report {
        Report::new(Arc::clone(&self.source), vec![Diagnostic::without_place(Id::CannotRun, self.secrets.redact(message))])
    }

    /// A report about the address number `index` of [`Pipeline::listen`], for instance that it is in use. A last line `hint: ...` of the message becomes
    /// the hint.
    #[must_use]
    pub fn report_at_listen(&self, index: usize, message: &str) -> Report {
        let entry = self.file.listen.get(index).filter(|_| !self.is_elsewhere);
        self.report_at(entry.map(|entry| entry.span.clone()), message)
    }

    /// As [`Pipeline::report_at_listen`], about the path of the control socket.
    #[must_use]
    pub fn report_at_control(&self, message: &str) -> Report {
        self.report_at_server("control", message)
    }

    /// A report about an option of `server`.
    pub(crate) fn report_at_server(&self, option: &str, message: &str) -> Report {
        self.report_at(self.span_at_server(option), message)
    }

    /// A warning about an option of `server`, which is about the process and not about the file.
    pub(crate) fn warning_at_server(&self, option: &str, message: &str) -> Report {
        let warnings = self.span_at_server(option).map(|span| Diagnostic::warning(Id::CannotRun, self.secrets.redact(message), span));
        Report::new(Arc::clone(&self.source), warnings.into_iter().collect())
    }

    fn span_at_server(&self, option: &str) -> Option<Span> {
        // Options have no spans. The text was parsed before, so it can be parsed again.
        let root = text::parse(&self.source.text, Dialect::of(Path::new(&self.source.name))).ok()?;
        Some(root.nearest(&["server".into(), option.into()]).span.clone())
    }

    fn site<'a>(&'a self, lifecycle: &'a Lifecycle) -> Site<'a> {
        let is_linted = build::is_linted(self.file.stacks());
        Site { apps: &self.file.apps, secrets: &self.secrets, base: &self.base, lifecycle, timings: None, is_linted }
    }

    fn report_at(&self, span: Option<Span>, message: &str) -> Report {
        let message = self.secrets.redact(message);
        let (message, hint) = match message.split_once("\nhint: ") {
            Some((message, hint)) => (message, Some(hint.into())),
            None => (message.as_str(), None),
        };
        let finding = match span {
            Some(span) => Diagnostic::error(Id::CannotListen, message, span).label("asked for here"),
            None => Diagnostic::without_place(Id::CannotListen, message),
        };
        Report::new(Arc::clone(&self.source), vec![Diagnostic { hint, ..finding }])
    }
}

/// Shows the file's name only: the values of `${...}` must not reach a log.
impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("file", &self.source.name).finish_non_exhaustive()
    }
}
