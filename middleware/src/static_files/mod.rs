//! `static`: serves files, as a layer over an app or as an app.

mod lookup;
mod manifest;
mod memory;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::TryFutureExt;
use futures_util::future::{Either, MapErr};
use http::header::CACHE_CONTROL;
use http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tower::util::Oneshot;
use tower::{Layer, Service, ServiceExt};

use crate::files::{Answer, Symlinks, check_at};
use crate::units::{Duration, Size};
use crate::{
    App, Behavior, Context, Effect, Effects, Explain, Finding, Findings, IntoApp, IntoStage, Middleware, Next, Problem, Request, Response,
    ServedFolder,
};
use lookup::StaticFiles;

/// Serves the files of a folder.
///
/// | | as a layer | as an app |
/// | --- | --- | --- |
/// | GET and HEAD for an existing file | the file | the file |
/// | GET and HEAD for other paths | passed on to the layers below | 404 |
/// | other methods | passed on to the layers below | 405 |
///
/// Responses have a strong `ETag` and `Last-Modified`. Conditional requests, `Range` (also several) and `If-Range` are supported (RFC 9110 sections 13 and 14). Changed files
/// are seen at once. Where a program has set the time of a file, as archives, container images and `rsync -t` do, the `ETag` is a digest of the content, up to 64 MiB; a time before
/// 1990 gives no `Last-Modified`.
///
/// Only regular files inside `root` are served. A path with `..`, an empty segment, a backslash, NUL or an encoded slash names no file. The error log says why a path has no file, at
/// the level `debug` (`ZIGGURAT_LOG=debug`). While the process can open no more files, the response is 503 with `Retry-After`.
///
/// A `root` that is or contains the folder of the pipeline file, or the code of an app of the file, is refused: clients could read both.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Static {
    /// The URL path below which the files appear. The default is `/static` for a layer and `/` for an app.
    at: Option<String>,
    /// The folder of the files. For Django it is `STATIC_ROOT`, where `collectstatic` puts them. A folder that replaces it, as in a deployment, is seen within a second.
    root: PathBuf,
    /// The name of the file that is served for its folder, or `false` for none. The path of such a folder without a slash at the end is redirected to the one with it. It is the path that the client sent, with the prefixes of `mount`, and before any `rewrite`.
    index: Index,
    /// A file below `root` that is served for every path without a file: the entry page of a single-page app, whose routes exist only in the browser.
    fallback: Option<String>,
    /// Whether `name.css.zst`, `name.css.br` or `name.css.gz` is sent instead of `name.css`, if the client accepts the encoding. A compressed file that is more than a second older than
    /// the original is ignored. Turn it off if no build step writes such files: it saves looking for them.
    precompressed: bool,
    /// Whether files with a hash of their content in the name (`base.0123456789ab.css`, `index-Bx3kQ9_a.js`) have `Cache-Control: public, max-age=31536000, immutable`, so that
    /// browsers never request them again. If there is a `staticfiles.json`, the manifest of Django's `ManifestStaticFilesStorage`, these are the names in it and no others. Without one, a name
    /// has a hash if a part of it looks like those of webpack, Vite and Django.
    immutable: bool,
    /// How long clients may use the other files without asking again (`Cache-Control: max-age`). Without it they ask every time (`no-cache`), and get 304 if nothing has changed.
    max_age: Option<Duration>,
    /// Whether files and folders are served whose name begins with a dot. Such names often contain secrets (`.env`, `.git`). For `/.well-known`, use a `static` of its own with that
    /// `at`.
    dotfiles: bool,
    /// Which symbolic links below `root` are followed: `never`, `within` for those that end below `root`, or `anywhere`, for `collectstatic --link`. With `anywhere`, everybody who can
    /// write below `root` can publish every file that the server can read.
    symlinks: Symlinks,
    /// How much of the files may be in memory. Files of up to 64 KiB that are requested again within a second are served from there, if the file system says that they have not changed. With
    /// `"0B"`, the server opens and reads the file for each request.
    memory: Size,
}

impl Default for Static {
    fn default() -> Self {
        Self {
            at: None,
            root: PathBuf::from("static"),
            index: Index(Some("index.html".to_owned())),
            fallback: None,
            precompressed: true,
            immutable: false,
            max_age: None,
            dotfiles: false,
            symlinks: Symlinks::Within,
            memory: Size(8 << 20),
        }
    }
}

/// The name of an index file, or `false`.
#[derive(Debug)]
struct Index(Option<String>);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Index;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a file, or `false`")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Index, E> {
                Ok(Index(Some(name.to_owned())))
            }

            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Index, E> {
                if on {
                    Err(E::custom("`true` is not the name of a file\nhint: write a name, for instance `\"index.html\"`"))
                } else {
                    Ok(Index(None))
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Index {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_bool(false),
        }
    }
}

impl JsonSchema for Index {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Index".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "const": false }] })
    }
}

impl Static {
    /// What it serves, by default at this path.
    fn served(&self, at: &str) -> Effect {
        Effect::ServesFolder(ServedFolder {
            at: self.at.as_deref().unwrap_or(at).to_owned(),
            root: self.root.clone(),
            dotfiles: self.dotfiles,
            index: self.index.0.clone(),
            has_fallback: self.fallback.is_some(),
        })
    }

    fn check(&self, findings: &mut Findings) {
        if let Some(finding) = self.at.as_deref().and_then(check_at) {
            findings.push(finding.at("at"));
        }
        if let Some(index) = &self.index.0
            && (index.is_empty() || index.contains(['/', '\0']) || index == "." || index == "..")
        {
            findings.push(Finding::new(format!("`{index}` is not the name of a file")).at("index").hint("for instance `\"index.html\"`"));
        }
    }
}

impl Middleware for Static {
    const NAME: &'static str = "static";
    const SHORTHAND: Option<&'static str> = Some("root");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::ServesFiles, Behavior::AnswersEarly];
    const REPLACES: &'static [&'static str] =
        &["whitenoise:WhiteNoise", "whitenoise.base:WhiteNoise", "whitenoise.middleware:WhiteNoiseMiddleware"];

    fn validate(&self, findings: &mut Findings) {
        self.check(findings);
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        if !is_served(explain.request().method()) {
            explain.note(format!("passes on {}: files are for GET and HEAD", explain.request().method()));
            return Ok(());
        }
        StaticFiles::new(self, "/static", explain.context())?.explain(explain);
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.add(self.served("/static"));
        if self.max_age.is_some() || self.immutable {
            effects.add(Effect::AddsHeader(CACHE_CONTROL));
        }
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage, Finding> {
        Ok(StaticLayer(Arc::new(StaticFiles::new(self, "/static", context)?)))
    }
}

impl App for Static {
    const NAME: &'static str = "static";
    const SHORTHAND: Option<&'static str> = Some("root");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::ServesFiles];

    fn validate(&self, findings: &mut Findings) {
        self.check(findings);
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        if !is_served(explain.request().method()) {
            explain.refuse(not_allowed());
            return Ok(());
        }
        StaticFiles::new(self, "/", explain.context())?.explain(explain);
        if !explain.is_answered() {
            explain.answer(Problem::new(StatusCode::NOT_FOUND).into_response());
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.add(self.served("/"));
        if self.max_age.is_some() || self.immutable {
            effects.add(Effect::AddsHeader(CACHE_CONTROL));
        }
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        Ok(StaticService { files: Arc::new(StaticFiles::new(self, "/", context)?), inner: NoInner })
    }
}

struct StaticLayer(Arc<StaticFiles>);

impl Layer<Next> for StaticLayer {
    type Service = StaticService<Next>;

    fn layer(&self, inner: Next) -> Self::Service {
        StaticService { files: Arc::clone(&self.0), inner }
    }
}

/// Serves files, and calls `inner` for all other requests.
#[derive(Clone)]
struct StaticService<S> {
    files: Arc<StaticFiles>,
    inner: S,
}

/// A response that takes reading first.
type Learned = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

/// A response of this layer.
type Own = Either<Ready<Result<Response, Problem>>, Learned>;

impl Service<Request> for StaticService<Next> {
    type Response = Response;
    type Error = Problem;
    type Future = Either<Own, MapErr<Oneshot<Next, Request>, fn(Infallible) -> Problem>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Problem>> {
        // `oneshot` waits for the layers below to be ready. A request for a file does not need them.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match if is_served(request.method()) { self.files.answer(&request) } else { None } {
            None => Either::Right(self.inner.clone().oneshot(request).map_err(|never| match never {})),
            Some(answer) => Either::Left(own(&self.files, answer, request)),
        }
    }
}

const fn is_served(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED).header(http::header::ALLOW, const { http::HeaderValue::from_static("GET, HEAD") })
}

fn own(files: &Arc<StaticFiles>, answer: Answer, request: Request) -> Own {
    match answer {
        Answer::Now(response) => Either::Left(ready(response)),
        Answer::Later(file) => Either::Right(Box::pin(Arc::clone(files).learn(file, request))),
    }
}

/// No layers below: other paths are not found.
#[derive(Clone)]
struct NoInner;

impl Service<Request> for StaticService<NoInner> {
    type Response = Response;
    type Error = Problem;
    type Future = Own;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Problem>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !is_served(request.method()) {
            return Either::Left(ready(Err(not_allowed())));
        }
        match self.files.answer(&request) {
            Some(answer) => own(&self.files, answer, request),
            None => Either::Left(ready(Err(Problem::new(StatusCode::NOT_FOUND)))),
        }
    }
}
