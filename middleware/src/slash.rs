//! `slash`: gives each page one address, with a slash at its end or without.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::future::Either;
use http::Method;
use http::header::{HeaderValue, LOCATION};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tower::{Layer, Service};

use crate::path::without_root;
use crate::{
    Behavior, Body, Context, Effect, Effects, Explain, IntoStage, Middleware, Next, NextFuture, OriginalUri, RedirectStatus, Request,
    Response, Result, Upgrade,
};

/// Gives each page one address, with a slash at its end or without: requests for the other one are redirected.
///
/// | `action` | redirects | stays |
/// | --- | --- | --- |
/// | `append` | `/about` to `/about/` | a path whose last segment has a dot, as `/robots.txt` has; `/.well-known/*` |
/// | `remove` | `/about/` to `/about` | `/` |
///
/// The query stays. Several slashes at the beginning of a path become one, so that no link leads to `//another.example`. The path is the one that the client sent, with the prefixes of
/// `mount` and `X-Forwarded-Prefix`, and before any `rewrite`.
///
/// With 307 and 308, clients send the request again with its method and its body, so all methods are redirected. With 301, 302 and 303, clients turn a POST into a GET, so only GET and
/// HEAD are redirected, and other requests reach the app as they are. OPTIONS, CONNECT and handshakes of WebSockets are never redirected: browsers do not follow.
///
/// An app that redirects the other way sends clients round in circles: Django's `APPEND_SLASH` wants `append` or no layer, and so does `static` for folders with an index page: put it
/// above this layer.
///
/// Place it below `access_log` and `security_headers`, and above the app.
///
/// ```json
/// { "layers": [{ "slash": "remove" }], "app": { "wsgi": "hello:app" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slash {
    /// `"append"` to redirect to the address with a slash, `"remove"` to redirect to the one without.
    action: Action,
    /// The status. 308 and 301 are permanent, and clients cache them; 307 and 302 are temporary.
    #[serde(default)]
    status: RedirectStatus,
}

/// What becomes of a slash at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Append,
    Remove,
}

impl JsonSchema for Action {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SlashAction".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["append", "remove"] })
    }
}

impl Middleware for Slash {
    const NAME: &'static str = "slash";
    const SHORTHAND: Option<&'static str> = Some("action");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::AnswersEarly];

    fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::EndsPathsWithSlash(self.action == Action::Append));
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        match self.redirect(explain.request()) {
            Some(response) => {
                let to = response.headers().get(LOCATION).map(HeaderValue::as_bytes).unwrap_or_default();
                explain.note(format!("sends the client to `{}`", String::from_utf8_lossy(to)));
                explain.answer(response);
            }
            None => explain.note("the path stays"),
        }
        Ok(())
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage> {
        Ok(SlashLayer(Arc::new(self)))
    }
}

impl Slash {
    /// The redirect, if the path is to end otherwise.
    fn redirect(&self, request: &Request) -> Option<Response> {
        if !self.takes(request) {
            return None;
        }
        let uri = OriginalUri::of(request.uri(), request.extensions());
        let mut location = self.action.apply(uri.path())?;
        if let Some(query) = uri.query() {
            location.push('?');
            location.push_str(query);
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status.get();
        // A target that a header cannot carry is left to the app.
        response.headers_mut().insert(LOCATION, HeaderValue::try_from(location).ok()?);
        Some(response)
    }

    /// Whether a client that is redirected would send the same request again.
    fn takes(&self, request: &Request) -> bool {
        let is_followed = match *request.method() {
            Method::GET | Method::HEAD => true,
            Method::OPTIONS | Method::CONNECT => false,
            _ => self.status.keeps_method(),
        };
        is_followed && request.extensions().get::<Upgrade>().is_none()
    }
}

impl Action {
    /// The path as it is to be; `None` for one that is right.
    fn apply(self, path: &str) -> Option<String> {
        // `*` asks for no path (RFC 9112 section 3.2.4).
        let below = path.strip_prefix('/')?;
        let is_wrong = match self {
            Self::Append => !below.rsplit('/').next()?.contains('.') && !below.ends_with('/') && !below.starts_with(".well-known/"),
            Self::Remove => below.ends_with('/'),
        };
        let below = without_root(below);
        (is_wrong && !(self == Self::Append && below.is_empty())).then(|| match self {
            Self::Append => format!("/{below}/"),
            Self::Remove => format!("/{}", below.trim_end_matches('/')),
        })
    }
}

struct SlashLayer(Arc<Slash>);

impl Layer<Next> for SlashLayer {
    type Service = SlashService;

    fn layer(&self, inner: Next) -> SlashService {
        SlashService { slash: Arc::clone(&self.0), inner }
    }
}

#[derive(Clone)]
struct SlashService {
    slash: Arc<Slash>,
    inner: Next,
}

impl Service<Request> for SlashService {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, NextFuture>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        // `Next` is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.slash.redirect(&request) {
            Some(response) => Either::Left(ready(Ok(response))),
            None => Either::Right(self.inner.send(request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rewrite::Rewrite;
    use crate::{Mount, TestStack, request};

    /// Where a request is sent; `None` where it reaches the app.
    async fn sent(options: &str, method: Method, target: &str) -> Option<(u16, String)> {
        let response = TestStack::of::<Slash>(options).over_text("the app").request(method, target, "").await;
        let location = response.headers().contains_key(LOCATION).then(|| response.header("location").to_owned());
        assert_eq!(location.is_none(), response.text() == "the app", "{target}");
        location.map(|location| (response.status().as_u16(), location))
    }

    async fn got(action: &str, target: &str) -> Option<String> {
        sent(&format!("\"{action}\""), Method::GET, target).await.map(|(_, location)| location)
    }

    #[tokio::test]
    async fn a_slash_is_appended_to_pages_and_not_to_files() {
        for (target, location) in [("/about", "/about/"), ("/a/b?c=/d&e", "/a/b/?c=/d&e"), ("/a.b/c", "/a.b/c/"), ("/%2e", "/%2e/")] {
            assert_eq!(got("append", target).await.as_deref(), Some(location), "{target}");
        }
        for target in ["/", "/about/", "/robots.txt", "/a/app.js?v=1", "/.well-known/security", "/.well-known/acme-challenge/x", "//"] {
            assert_eq!(got("append", target).await, None, "{target}");
        }
    }

    #[tokio::test]
    async fn slashes_at_the_end_are_removed() {
        for (target, location) in [("/about/", "/about"), ("/a/b//?c=/d/", "/a/b?c=/d/"), ("/robots.txt/", "/robots.txt"), ("//", "/")] {
            assert_eq!(got("remove", target).await.as_deref(), Some(location), "{target}");
        }
        for target in ["/", "/about", "/a?b=/", "/a%2F"] {
            assert_eq!(got("remove", target).await, None, "{target}");
        }
    }

    #[tokio::test]
    async fn no_path_leads_to_another_host() {
        for target in ["//evil.example/", "///evil.example//", "/\\evil.example/", "/\\/evil.example/"] {
            assert_eq!(got("remove", target).await.as_deref(), Some("/evil.example"), "{target}");
        }
        assert_eq!(got("append", "//evil/x").await.as_deref(), Some("/evil/x/"));
    }

    #[tokio::test]
    async fn methods_are_redirected_that_clients_send_again() {
        let status = async |options: &str, method: &str| sent(options, method.parse().unwrap(), "/form/").await.map(|(status, _)| status);
        for method in ["GET", "HEAD", "POST", "DELETE", "PROPFIND"] {
            assert_eq!(status(r#""remove""#, method).await, Some(308), "{method}");
            assert_eq!(status(r#"{ "action": "remove", "status": 307 }"#, method).await, Some(307), "{method}");
            let by_get = status(r#"{ "action": "remove", "status": 301 }"#, method).await;
            assert_eq!(by_get, matches!(method, "GET" | "HEAD").then_some(301), "{method}");
        }
        assert_eq!(status(r#""remove""#, "OPTIONS").await, None);
    }

    #[tokio::test]
    async fn a_handshake_of_a_websocket_is_not_redirected() {
        let stack = TestStack::of::<Slash>(r#""remove""#).over_text("the app");
        let mut handshake = request(Method::GET, "/chat/", "");
        handshake.extensions_mut().insert(Upgrade::new([HeaderValue::from_static("websocket")]));
        assert_eq!(stack.send(handshake).await.text(), "the app");
    }

    #[tokio::test]
    async fn the_client_is_sent_to_the_path_that_it_knows() {
        let below = TestStack::of::<Rewrite>(r#"[{ "from": "/old/*", "to": "/new/*" }]"#).then::<Slash>(r#""remove""#).over_text("the app");
        assert_eq!(below.get("/old/x/").await.header("location"), "/old/x");
        let mount = Mount { prefix: "/blog".into(), target: "/blog/x/?y".parse().unwrap() };
        let mounted = TestStack::of::<Slash>(r#""remove""#).over_text("the app").get("/x/?y").fact(mount).await;
        assert_eq!(mounted.header("location"), "/blog/x?y");
    }

    #[test]
    fn other_actions_and_statuses_are_refused() {
        assert!(TestStack::refusal::<Slash>(r#""both""#)[0].contains("append"));
        assert!(TestStack::refusal::<Slash>(r#"{ "action": "append", "status": 304 }"#)[0].contains("not the status of a redirect"));
    }

    proptest! {
        /// A redirect leads to a path of this host that is not redirected again.
        #[test]
        fn a_redirect_is_followed_once(path in r"/[/\\a.%2fF]{0,12}", appends: bool) {
            let action = if appends { Action::Append } else { Action::Remove };
            if let Some(location) = action.apply(&path) {
                prop_assert!(location.starts_with('/') && !location.starts_with("//") && !location.starts_with("/\\"), "{}", location);
                prop_assert_eq!(action.apply(&location), None);
            }
        }
    }
}
