//! `static`: serves files, as a layer over an app or as an app.

mod lookup;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::TryFutureExt;
use futures_util::future::{Either, MapErr};
use http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tower::util::Oneshot;
use tower::{Layer, Service, ServiceExt};

use crate::files::{Symlinks, check_at};
use crate::units::Duration;
use crate::{App, Behavior, Context, Finding, Findings, IntoApp, IntoStage, Middleware, Next, Problem, Request, Response};
use lookup::StaticFiles;

/// Serves the files of a folder.
///
/// As a layer it answers GET and HEAD for the files it has, and passes everything else on to the stack below. As an app it answers 404 for
/// what it does not have, and 405 for other methods.
///
/// Answers carry a strong `ETag` and `Last-Modified`; conditional requests, `Range` (also several at once) and `If-Range` are honoured (RFC
/// 9110 sections 13 and 14). Changed files are seen at once. Nothing outside of `root` is ever served, and of what is inside only regular
/// files. Paths with `..`, empty segments, backslashes, NUL or an encoded slash name no file.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Static {
    /// URL path below which the files appear. For a layer `/static` where it is not given, for an app `/`.
    at: Option<String>,
    /// Folder that holds the files. For Django it is `STATIC_ROOT`, where `collectstatic` puts them. Another folder put in its place, as
    /// deployments do, is seen within a second.
    root: PathBuf,
    /// Name of the file that stands for its folder, or `false` for none. A path of such a folder without a slash at its end is redirected
    /// to the one with it.
    index: Index,
    /// File below `root` that answers for every path that has no file: the entry page of a single-page app, whose routes exist in the
    /// browser only.
    fallback: Option<String>,
    /// Sends `name.css.zst`, `name.css.br` or `name.css.gz` for `name.css` to clients that take the encoding. A sibling over a second older
    /// than its file is stale and left aside. Turn it off where no build step writes such files, to spare looking for them.
    precompressed: bool,
    /// Marks files whose name holds a hash of their content (`base.0123456789ab.css`, `index-Bx3kQ9_a.js`) with `Cache-Control: public,
    /// max-age=31536000, immutable`: browsers then never ask for them again. Django's `ManifestStaticFilesStorage`, webpack and Vite write
    /// such names.
    immutable: bool,
    /// How long clients may use all other files without asking again (`Cache-Control: max-age`). Without it they decide for themselves.
    max_age: Option<Duration>,
    /// Serves files and folders whose name begins with a dot. Such names often hold secrets (`.env`, `.git`), so they are not found
    /// otherwise. `/.well-known` is better served by a `static` of its own with that `at`.
    dotfiles: bool,
    /// Which symbolic links below `root` are followed: `never` one, those that end `within` the root, or those to `anywhere`, as
    /// `collectstatic --link` makes them. With the last, whoever may write below `root` can publish any file the server may read.
    symlinks: Symlinks,
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
                    Err(E::custom("`true` names no file\nhint: write its name, for instance `\"index.html\"`"))
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

    fn validate(&self, findings: &mut Findings) {
        self.check(findings);
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

/// The files, and what answers for everything else.
#[derive(Clone)]
struct StaticService<S> {
    files: Arc<StaticFiles>,
    inner: S,
}

impl Service<Request> for StaticService<Next> {
    type Response = Response;
    type Error = Problem;
    type Future = Either<Ready<Result<Response, Problem>>, MapErr<Oneshot<Next, Request>, fn(Infallible) -> Problem>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Problem>> {
        // `oneshot` awaits the readiness of the inner stack, which a request for a file does not need.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let served = matches!(*request.method(), Method::GET | Method::HEAD);
        match if served { self.files.answer(&request) } else { Ok(None) } {
            Ok(None) => Either::Right(self.inner.clone().oneshot(request).map_err(|never| match never {})),
            Ok(Some(response)) => Either::Left(ready(Ok(response))),
            Err(problem) => Either::Left(ready(Err(problem))),
        }
    }
}

/// No stack below: what is not there is not found.
#[derive(Clone)]
struct NoInner;

impl Service<Request> for StaticService<NoInner> {
    type Response = Response;
    type Error = Problem;
    type Future = Ready<Result<Response, Problem>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Problem>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        ready(match *request.method() {
            Method::GET | Method::HEAD => {
                self.files.answer(&request).and_then(|found| found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND)))
            }
            _ => Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED)
                .header(http::header::ALLOW, const { http::HeaderValue::from_static("GET, HEAD") })),
        })
    }
}
