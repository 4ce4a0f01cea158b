//! `sendfile`: sends the file that the app names in its response.

mod folders;

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED, TRAILER,
    TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower::{Layer, Service};

use self::folders::{Folders, Refusal};
use crate::files::{self, Answer, PRECONDITIONS, Representation, Symlinks, kind};
use crate::{Behavior, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Next, Problem, Request, Response};

/// Sends the file that the app names in its response. The app decides who may have the file; Python does not read it.
///
/// The app names the file in a header of its response:
///
/// | header | value |
/// | --- | --- |
/// | `X-Accel-Redirect`, as in nginx | a path below the `at` of a folder: `/protected/report.pdf`. A query is ignored |
/// | `X-Sendfile`, as in Apache and lighttpd | an absolute path inside a folder: `/srv/site/private/report.pdf` |
///
/// Both values are percent-decoded. If a value of `X-Sendfile` contains a `%`, and names one file as it is and another one decoded, neither is sent.
///
/// | of the response | |
/// | --- | --- |
/// | status and body | are those of the file; the app's body is closed unread |
/// | `Content-Type` | the app's, as in nginx; if it sends none or an empty one, that of the file's extension |
/// | headers about the app's body, such as `Content-Length` and `Content-Encoding` | are removed |
/// | other headers, such as `Content-Disposition`, `Cache-Control`, `Set-Cookie` | stay |
/// | `Range` (also several), `If-Range`, conditional requests | are applied with the file's `ETag` and `Last-Modified`, for GET and HEAD |
///
/// ```json
/// { "sendfile": { "at": "/protected", "root": "private" } }
/// ```
/// ```python
/// def report(request):
///     if not request.user.has_perm("reports.read"):
///         raise PermissionDenied
///     return HttpResponse(headers={"X-Accel-Redirect": "/protected/report.pdf", "Content-Type": "application/pdf"})
/// ```
///
/// If the file does not exist or is outside all folders, the client gets 404, and the error log states the reason. The layer removes both headers from requests and
/// responses.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sendfile {
    /// The URL path that stands for the folder in `X-Accel-Redirect`. Clients cannot reach it. Without it, the app names files with `X-Sendfile` only.
    at: Option<String>,
    /// The folder of the files. No `static` should serve it. A folder that replaces it is seen within a second.
    root: Option<PathBuf>,
    /// Several folders, instead of `at` and `root`. If one is inside another, the innermost counts.
    roots: Vec<FileRoot>,
    /// Whether files are sent whose name, or that of a folder below `root`, begins with a dot.
    dotfiles: bool,
    /// Which symbolic links below `root` are followed: `never`, `within` for those that end below `root`, or `anywhere`.
    symlinks: Symlinks,
}

/// A folder of files.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileRoot {
    /// The URL path that stands for the folder in `X-Accel-Redirect`.
    at: Option<String>,
    /// The folder.
    root: PathBuf,
}

impl Middleware for Sendfile {
    const NAME: &'static str = "sendfile";
    const SHORTHAND: Option<&'static str> = Some("root");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::ServesFiles, Behavior::ChangesResponseBody];

    fn validate(&self, findings: &mut Findings) {
        if let Some(finding) = self.at.as_deref().and_then(files::check_at) {
            findings.push(finding.at("at"));
        }
        match (&self.root, self.roots.is_empty()) {
            (None, true) => findings.push(Finding::new("no folder is given").hint("name one with `root`, or several with `roots`")),
            (Some(_), false) => {
                findings.push(
                    Finding::new("`root` cannot be combined with `roots`").at("root").hint("move it, with its `at`, into the list `roots`"),
                );
            }
            (None, false) if self.at.is_some() => {
                findings.push(Finding::new("`at` cannot be combined with `roots`").at("at").hint("move it into one of `roots`"));
            }
            _ => {}
        }
        for (place, root) in self.roots.iter().enumerate() {
            let Some(at) = root.at.as_deref() else { continue };
            let place = |finding: Finding| finding.at("roots").at(place).at("at");
            if let Some(finding) = files::check_at(at) {
                findings.push(place(finding));
            }
            let mut earlier = self.roots.iter().take_while(|earlier| !std::ptr::eq(*earlier, root)).filter_map(|root| root.at.as_deref());
            if earlier.any(|earlier| earlier.trim_end_matches('/') == at.trim_end_matches('/')) {
                findings.push(place(Finding::new(format!("`{at}` is used by another folder"))));
            }
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let folders = self.folders(explain.context())?;
        remove_names(explain.request_mut().headers_mut());
        let wanted = FileRequest::of(explain.request());
        explain.on_response(move |response| {
            let Some(known) = response.known() else {
                return response.note("sends the file that `x-accel-redirect` or `x-sendfile` of the response names, if there is one");
            };
            let sent = NamedFile::take(known.headers_mut()).and_then(|named| match named {
                None => Ok(None),
                Some(named) => {
                    let app = std::mem::take(known);
                    let answer = folders.find(&named, app)?;
                    answer.send_here(&folders, &wanted).map(Some)
                }
            });
            match sent {
                Ok(None) => response.note("the response names no file"),
                Ok(Some(file)) => {
                    *known = file;
                    response.note("sends the file that the response names");
                }
                Err(problem) => {
                    response.note(std::error::Error::source(&problem).map(ToString::to_string).unwrap_or_default());
                    response.change(|_| problem.into_response());
                }
            }
        });
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        for root in self.root.iter().chain(self.roots.iter().map(|root| &root.root)) {
            effects.add(Effect::SendsFolder(root.clone()));
        }
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage, Finding> {
        Ok(SendfileLayer(Arc::new(self.folders(context)?)))
    }
}

impl Sendfile {
    fn folders(&self, context: &Context) -> Result<Folders, Finding> {
        let mut folders = Folders::new(self.dotfiles);
        if let Some(root) = &self.root {
            folders.add(self.at.as_deref(), context.resolve(root), self.symlinks).map_err(|finding| finding.at("root"))?;
        }
        for (place, root) in self.roots.iter().enumerate() {
            let added = folders.add(root.at.as_deref(), context.resolve(&root.root), self.symlinks);
            added.map_err(|finding| Finding { path: vec!["roots".into(), place.into(), "root".into()], ..finding })?;
        }
        Ok(folders)
    }
}

/// Removes what only apps may say: some take these as a sign of a server in front.
fn remove_names(headers: &mut HeaderMap) {
    headers.remove(X_ACCEL_REDIRECT);
    headers.remove(X_SENDFILE);
}

/// Whether a response names a file, whose content it then gets.
pub(crate) fn names_file(headers: &HeaderMap) -> bool {
    headers.contains_key(X_ACCEL_REDIRECT) || headers.contains_key(X_SENDFILE)
}

const X_ACCEL_REDIRECT: HeaderName = HeaderName::from_static("x-accel-redirect");
const X_SENDFILE: HeaderName = HeaderName::from_static("x-sendfile");

/// Headers about the app's body, which do not apply to the file.
const BODY_HEADERS: [HeaderName; 10] = [
    ACCEPT_RANGES,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    ETAG,
    LAST_MODIFIED,
    TRAILER,
    TRANSFER_ENCODING,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

struct SendfileLayer(Arc<Folders>);

impl Layer<Next> for SendfileLayer {
    type Service = SendfileService;

    fn layer(&self, inner: Next) -> SendfileService {
        SendfileService { folders: Arc::clone(&self.0), inner }
    }
}

#[derive(Clone)]
struct SendfileService {
    folders: Arc<Folders>,
    inner: Next,
}

impl Service<Request> for SendfileService {
    type Response = Response;
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Problem>> {
        Service::<Request>::poll_ready(&mut self.inner, cx).map_err(|never| match never {})
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        remove_names(request.headers_mut());
        let wanted = FileRequest::of(&request);
        let folders = Arc::clone(&self.folders);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await.map_err(|never: Infallible| match never {})?;
            match NamedFile::take(response.headers_mut())? {
                None => Ok(response),
                Some(named) => folders.send(&named, &wanted, response).await,
            }
        })
    }
}

/// What the response depends on of the request, kept while the app has the request.
struct FileRequest {
    method: Method,
    preconditions: HeaderMap,
}

impl FileRequest {
    fn of(request: &Request) -> Self {
        let mut preconditions = HeaderMap::new();
        let method = request.method().clone();
        // With other methods, the file is the result of what the app did.
        if matches!(method, Method::GET | Method::HEAD) {
            for name in PRECONDITIONS {
                for value in request.headers().get_all(&name) {
                    preconditions.append(name.clone(), value.clone());
                }
            }
        }
        Self { method, preconditions }
    }
}

/// The file that a response names.
struct NamedFile {
    header: &'static str,
    value: HeaderValue,
}

impl NamedFile {
    /// Removes the headers that name a file from a response.
    fn take(headers: &mut HeaderMap) -> Result<Option<Self>, Problem> {
        let mut named = Vec::new();
        for (name, header) in [(X_ACCEL_REDIRECT, "X-Accel-Redirect"), (X_SENDFILE, "X-Sendfile")] {
            if headers.contains_key(&name) {
                named.extend(headers.get_all(&name).iter().map(|value| Self { header, value: value.clone() }));
                headers.remove(name);
            }
        }
        let one = named.pop();
        if named.is_empty() { Ok(one) } else { Err(not_found("the app names more than one file to send")) }
    }
}

fn not_found(why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::NOT_FOUND).because(why.into())
}

/// A file that is sent in place of the body of a response.
struct FoundResponse {
    app: http::response::Parts,
    file: Representation,
}

impl FoundResponse {
    /// The response with the file, which is read on this thread if its version is not known.
    fn send_here(self, folders: &Folders, wanted: &FileRequest) -> Result<Response, Problem> {
        let answer = self.file.answer_here(folders.identities(), &wanted.method, &wanted.preconditions)?;
        Ok(joined(self.app, answer))
    }
}

/// The response with a file, and what stays of that of the app.
fn joined(mut app: http::response::Parts, answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    for name in BODY_HEADERS {
        app.headers.remove(name);
    }
    app.headers.extend(parts.headers);
    parts.headers = app.headers;
    // Facts of the layers below stay.
    parts.extensions = app.extensions;
    Response::from_parts(parts, body)
}

impl Folders {
    async fn send(&self, named: &NamedFile, wanted: &FileRequest, response: Response) -> Result<Response, Problem> {
        let FoundResponse { app, file } = self.find(named, response)?;
        let answer = match file.answer(self.identities(), &wanted.method, &wanted.preconditions) {
            Answer::Now(answer) => answer,
            Answer::Later(file) => file.learn(self.identities(), &wanted.method, &wanted.preconditions).await,
        };
        Ok(joined(app, answer?))
    }

    /// The file that a response names.
    fn find(&self, named: &NamedFile, response: Response) -> Result<FoundResponse, Problem> {
        let value = named.value.as_bytes();
        let found = if named.header == "X-Sendfile" { self.by_path(value) } else { self.by_uri(value) };
        let told = |why: &str| format!("the app answered with `{}: {}`, {why}", named.header, value.escape_ascii());
        let (name, file) = found.map_err(|refusal| match refusal {
            Refusal::NotFound(why) => not_found(told(&why)),
            Refusal::Failed(errno) => Problem::of_system(&errno.into(), told(&format!("which cannot be opened: {}", files::reason(errno)))),
        })?;
        let (mut app, body) = response.into_parts();
        drop(body);
        let file = Representation {
            file,
            encoding: None,
            vary: false,
            media_type: app.headers.remove(CONTENT_TYPE).filter(|value| !value.is_empty()).unwrap_or_else(|| kind::media_type(&name)),
            cache_control: None,
        };
        Ok(FoundResponse { app, file })
    }
}
