//! `mirror`: sends copies of requests to another server, and throws its answers away.

mod copy;
mod sender;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http::Method;
use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme, Uri};
use http_body::Body as _;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use tower::{Layer, Service};

use self::copy::{BodyCopy, CopiedBody};
use self::sender::{Figures, Mirrored, Sender};
use crate::units::{Duration, Size};
use crate::{
    Behavior, Body, ConnectionInfo, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Next, NextFuture, Percent,
    Request, Response, Result, Upgrade, hop_by_hop,
};

/// The header that marks a copy.
const MARK: HeaderName = HeaderName::from_static("x-mirrored");

/// Sends copies of requests to another server, and throws its answers away: to try a new version of a site with real requests.
///
/// The request itself goes its way at once, and waits for nothing. Its copy is sent beside it, or when the layers below have read its body to the end. A copy is left out:
///
/// | when | `outcome` in the metric |
/// | --- | --- |
/// | `at_once` copies are under way | `busy` |
/// | the body is longer than `body`, cut short, or not read to its end by the app | `body` |
/// | the server cannot be reached, or takes longer than `timeout` | `failed` |
///
/// `ziggurat_mirror_requests_total` counts these, and the `answered` ones, whatever the answer was. The log sums up failures. Copies that are under way when the stack is replaced are dropped.
///
/// A copy has the path, the query, the headers with `Host`, cookies and passwords, and the body of the request, as they are here, and `X-Mirrored: 1`. Handshakes of WebSockets, CONNECT and requests that have
/// `X-Mirrored` are not copied. The other server does whatever the requests ask for, so it has to work on data of its own. To copy some requests only, put the layer into their route.
///
/// Place it below everything that refuses requests: what the site does not take, the other server need not see.
///
/// ```json
/// { "layers": [{ "mirror": { "to": "http://10.0.0.6:8000", "share": "10%" } }], "app": { "wsgi": "hello:app" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The server that gets the copies: `http://` or `https://`, host and port.
    to: MirrorTarget,
    /// The share of the requests that are copied, chosen by chance.
    #[serde(default = "all")]
    share: Percent,
    /// The longest body that is copied. So much memory each copy may take.
    #[serde(default = "body")]
    body: Size,
    /// How many copies may be under way.
    #[serde(default = "at_once")]
    at_once: u32,
    /// How long the other server may take to answer.
    #[serde(default = "timeout")]
    timeout: Duration,
}

fn all() -> Percent {
    Percent(100)
}

const fn body() -> Size {
    Size::kib(64)
}

const fn at_once() -> u32 {
    64
}

const fn timeout() -> Duration {
    Duration::secs(30)
}

/// The most copies under way.
const MOST_AT_ONCE: u32 = 10_000;

/// The URL of a server, without a path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct MirrorTarget {
    scheme: UriScheme,
    authority: Authority,
}

impl TryFrom<String> for MirrorTarget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_server = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.path() == "/" && uri.query().is_none();
        let parts = text.parse::<Uri>().ok().filter(|uri| is_server(uri) && !text.ends_with('/')).map(Uri::into_parts);
        match parts.and_then(|parts| Some((parts.scheme?, parts.authority?))) {
            Some((scheme, authority)) if !authority.as_str().contains('@') => Ok(Self { scheme, authority }),
            _ => Err(format!(
                "`{}` is not the URL of a server\nhint: write scheme, host and port, as in `http://10.0.0.6:8000`",
                text.escape_debug()
            )),
        }
    }
}

impl MirrorTarget {
    /// The URL of a copy. Below a `mount`, the path is what is left of it.
    fn url(&self, uri: &Uri) -> Option<Uri> {
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path).build().ok()
    }
}

impl std::fmt::Display for MirrorTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl Serialize for MirrorTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for MirrorTarget {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MirrorTarget".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["http://10.0.0.6:8000"] })
    }
}

impl Middleware for Mirror {
    const NAME: &'static str = "mirror";
    const SHORTHAND: Option<&'static str> = Some("to");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::CopiesRequests];

    fn validate(&self, findings: &mut Findings) {
        if self.share.0 == 0 {
            findings.push(Finding::new("no request is copied").at("share").hint("write a share such as `\"10%\"`, or remove the layer"));
        }
        if !(1..=MOST_AT_ONCE).contains(&self.at_once) {
            let finding = Finding::new(format!("`{}` copies cannot be under way", self.at_once)).at("at_once");
            findings.push(finding.hint(format!("write a number from 1 to {MOST_AT_ONCE}")));
        }
        if self.body > Size::mib(64) {
            findings.push(Finding::new(format!("`{}` is too much for one copy", self.body)).at("body").hint("write `\"64MiB\"` at most"));
        }
    }

    fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::MirrorsRequests);
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        let request = explain.request();
        let stated = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let note = match stated {
            _ if !is_copied(request) => "the request is not copied: it asks for a tunnel, or is a copy itself".to_owned(),
            Some(length) if length > self.body.0 => {
                format!("the request is not copied: its body of {} is over {}", Size(length), self.body)
            }
            _ if self.share.0 == 100 => format!("a copy goes to `{}`", self.to),
            _ => format!("a copy goes to `{}` with a chance of {}", self.to, self.share),
        };
        explain.note(note);
        Ok(())
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let figures = context.keep(Figures::default);
        figures.scrape(context);
        let sender = Sender::start(context, self.at_once, self.timeout.0, Arc::clone(&figures))?;
        Ok(MirrorLayer(Arc::new(Copier { to: self.to, share: self.share, body: self.body.0, sender, figures })))
    }
}

/// Whether a request of this kind is copied. Two servers that mirror each other would send a copy to and fro for ever.
fn is_copied(request: &Request) -> bool {
    let is_tunnel = request.method() == Method::CONNECT || request.extensions().get::<Upgrade>().is_some();
    !is_tunnel && !request.headers().contains_key(MARK)
}

/// Chooses this share of the requests.
fn is_chosen(share: Percent) -> bool {
    share.0 >= 100 || fastrand::u8(..100) < share.0
}

/// Makes the copies.
struct Copier {
    to: MirrorTarget,
    share: Percent,
    body: u64,
    sender: Sender,
    figures: Arc<Figures>,
}

impl Copier {
    /// Sends a copy of this request, or has one sent when its body has been read.
    fn copy(&self, request: &mut Request) {
        if !is_copied(request) || !is_chosen(self.share) {
            return;
        }
        let Some(url) = self.to.url(request.uri()) else { return };
        if request.body().size_hint().lower() > self.body {
            return self.figures.body.add(1);
        }
        let Some(permit) = self.sender.permit() else { return self.figures.busy.add(1) };
        let mut copy = http::Request::new(());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = url;
        *copy.headers_mut() = headers(request);
        let copy = Mirrored::new(copy, permit);
        if let Some(octets) = request.body().as_full() {
            return self.sender.send(copy, bytes::Bytes::copy_from_slice(octets));
        }
        if request.body().is_end_stream() {
            return self.sender.send(copy, bytes::Bytes::new());
        }
        let inner = std::mem::take(request.body_mut());
        let copy = BodyCopy::new(copy, self.body, self.sender.clone(), Arc::clone(&self.figures));
        *request.body_mut() = Body::new(CopiedBody::new(inner, copy));
    }
}

/// The headers of a copy: those that go on to another server.
fn headers(request: &Request) -> HeaderMap {
    let is_vetted = request.extensions().get::<ConnectionInfo>().is_some_and(|connection| connection.is_vetted);
    // How long the copy is, its body says. That there is none, strict servers want to hear (RFC 9110 section 8.6).
    let is_empty = request.body().is_end_stream();
    let goes_on = |name: &HeaderName| hop_by_hop::goes_on(name, is_vetted) && (*name != CONTENT_LENGTH || is_empty) && *name != EXPECT;
    let mut headers: HeaderMap =
        request.headers().iter().filter(|(name, _)| goes_on(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    headers.insert(MARK, const { HeaderValue::from_static("1") });
    headers
}

struct MirrorLayer(Arc<Copier>);

impl Layer<Next> for MirrorLayer {
    type Service = MirrorService;

    fn layer(&self, inner: Next) -> MirrorService {
        MirrorService { copier: Arc::clone(&self.0), inner }
    }
}

#[derive(Clone)]
struct MirrorService {
    copier: Arc<Copier>,
    inner: Next,
}

impl Service<Request> for MirrorService {
    type Response = Response;
    type Error = Infallible;
    type Future = NextFuture;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        // `Next` is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> NextFuture {
        self.copier.copy(&mut request);
        self.inner.send(request)
    }
}
