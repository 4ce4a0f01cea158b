//! `csrf`: refuses requests by which a page of another site would change something.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::metrics::Counter;
use crate::options::OneOrMany;
use crate::origin::SentOrigin;
use crate::{
    Behavior, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Metrics, Middleware, Problem, Request, Response, Result,
    Upgrade, around,
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses requests by which a page of another site would change something with the cookies of its visitor (cross-site request forgery), with `403 Forbidden`.
///
/// It needs no tokens in forms. Browsers say themselves where a request comes from, in `Sec-Fetch-Site` (W3C Fetch Metadata), and older ones in `Origin`. The rules
/// are those of `http.CrossOriginProtection` of Go:
///
/// | a request | passes |
/// | --- | --- |
/// | whose method is safe (GET, HEAD, OPTIONS, TRACE, QUERY) | always, unless it opens a WebSocket |
/// | with an `Origin` in `trust` | always |
/// | with `Sec-Fetch-Site` | if that is `same-origin`, or `none`: the user has entered the address |
/// | without it, with `Origin` | if its host and port are those of `Host` |
/// | without both | always: it comes from no browser, or from one of before 2020 |
///
/// Other subdomains of the site are other origins: name them in `trust`. Browsers send `Sec-Fetch-Site` over https and to `localhost` only. Behind a proxy, `Host` has to be the one
/// that the browser used.
///
/// The layer protects nothing from an app that changes something on GET. Where other programs may call, for instance webhooks with a signature, give their route a
/// stack without this layer.
///
/// The first refusal is logged, and then one line in 10 seconds says how many there were. `ziggurat_csrf_refused_total` counts them.
///
/// Place it below `cors`, whose headers a refusal then has, and above everything that costs time. It can stand beside the `CsrfViewMiddleware` of Django.
///
/// ```json
/// {
///   "layers": [
///     "access_log",
///     { "csrf": { "trust": "https://admin.example.com" } }
///   ],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
///
/// A route without it:
///
/// ```json
/// {
///   "apps": { "site": { "wsgi": "hello:app" } },
///   "app": {
///     "routes": [
///       { "match": { "path": "/webhooks/*" }, "app": "site" },
///       { "layers": ["csrf"], "app": "site" }
///     ]
///   }
/// }
/// ```
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Csrf {
    /// Other origins whose pages may change something here, such as `"https://admin.example.com"`. They are compared exactly.
    trust: OneOrMany<SentOrigin>,
}

impl Middleware for Csrf {
    const NAME: &'static str = "csrf";
    const SHORTHAND: Option<&'static str> = Some("trust");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::NeedsConnectionInfo, Behavior::AnswersEarly];

    fn validate(&self, findings: &mut Findings) {
        for (at, origin) in self.trust.0.iter().enumerate().filter(|(at, origin)| self.trust.0[..*at].contains(origin)) {
            findings.push(Finding::new(format!("`{origin}` is listed twice")).at("trust").at(at));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        match self.judge(explain.request()) {
            Ok(reason) => explain.note(format!("passes: {reason}")),
            Err(problem) => explain.refuse(problem),
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.refuse_with([StatusCode::FORBIDDEN]);
        effects.add(Effect::RefusesOtherOrigins(self.trust.0.iter().map(ToString::to_string).collect()));
        effects.add(Effect::ReadsRequestHeader(SEC_FETCH_SITE));
        effects.add(Effect::ReadsRequestHeader(ORIGIN));
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let refused = context.keep(Counter::default);
        let (figure, place) = (Arc::clone(&refused), context.place().clone());
        context.on_scrape(move |metrics: &mut Metrics| {
            let family = metrics.counter("ziggurat_csrf_refused_total", "Requests of pages of other sites that a `csrf` layer refused.");
            family.sample(&[("place", place.as_str())], &*figure);
        });
        let csrf = Arc::new(self);
        Ok(around(move |request: &mut Request| {
            csrf.judge(request).inspect_err(|_| refused.add(1))?;
            Ok(|response: Response| response)
        }))
    }
}

impl Csrf {
    /// Why a request passes, or the refusal.
    fn judge(&self, request: &Request) -> Result<&'static str, Problem> {
        // A handshake of a WebSocket is a GET that any page can send with the cookies of its visitor, and CORS does not hold it back.
        if request.method().is_safe() && request.extensions().get::<Upgrade>().is_none() {
            return Ok("the method is safe");
        }
        let headers = request.headers();
        let origin = single(headers, &ORIGIN);
        if origin.is_some_and(|origin| self.trust.0.iter().any(|trusted| trusted.0 == *origin)) {
            return Ok("the origin is in `trust`");
        }
        if headers.contains_key(&SEC_FETCH_SITE) {
            return match single(headers, &SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
                Some(b"same-origin") => Ok("the page is of this origin"),
                Some(b"none") => Ok("no page has sent it, but the user"),
                site => Err(refusal(origin, format!("`sec-fetch-site` is `{}`", words(site)))),
            };
        }
        if !headers.contains_key(ORIGIN) {
            return Ok("it has neither `sec-fetch-site` nor `origin`, so it comes from no browser");
        }
        let host = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        let host = host.or_else(|| single(headers, &HOST).map(HeaderValue::as_bytes));
        match (origin.and_then(authority), host) {
            (Some(sent), Some(host)) if sent.eq_ignore_ascii_case(host) => Ok("the origin is this host"),
            (_, host) => Err(refusal(origin, format!("the host is `{}`", words(host)))),
        }
    }
}

/// The value of a header that is there once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Host and port of an origin.
fn authority(origin: &HeaderValue) -> Option<&[u8]> {
    let origin = origin.as_bytes();
    origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"))
}

fn refusal(origin: Option<&HeaderValue>, reason: String) -> Problem {
    let origin =
        origin.map_or(Cow::Borrowed("a page of another site"), |origin| format!("a page of `{}`", words(Some(origin.as_bytes()))).into());
    Problem::new(StatusCode::FORBIDDEN)
        .detail("a page of another site has sent this request")
        .because(format!("{origin} has sent it: {reason}"))
}

fn words(octets: Option<&[u8]>) -> Cow<'_, str> {
    octets.map_or(Cow::Borrowed("several values"), String::from_utf8_lossy)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::{Body, TestStack, request};

    /// The status of a request with these headers.
    async fn status(options: &str, method: Method, headers: &[(&str, &str)]) -> u16 {
        let stack = TestStack::of::<Csrf>(options).over_text("changed");
        let mut asked = stack.request(method, "/form", "field=value");
        for (name, value) in headers {
            asked = asked.header(name, value);
        }
        asked.await.status().as_u16()
    }

    async fn post(headers: &[(&str, &str)]) -> u16 {
        status("{}", Method::POST, headers).await
    }

    #[tokio::test]
    async fn the_browser_says_whether_the_page_is_of_this_origin() {
        for site in ["same-origin", "none"] {
            assert_eq!(post(&[("sec-fetch-site", site)]).await, 200, "{site}");
        }
        for site in ["cross-site", "same-site", "", "SAME-ORIGIN", "same-origin, cross-site", "new-value"] {
            assert_eq!(post(&[("sec-fetch-site", site)]).await, 403, "{site}");
        }
        // What the browser says of the site goes before the origin, which may be another scheme or port of this host.
        assert_eq!(post(&[("sec-fetch-site", "cross-site"), ("origin", "https://test")]).await, 403);
        assert_eq!(post(&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")]).await, 200);
    }

    #[tokio::test]
    async fn without_fetch_metadata_the_origin_must_be_the_host() {
        for origin in ["https://test", "http://test", "https://TEST"] {
            assert_eq!(post(&[("origin", origin)]).await, 200, "{origin}");
        }
        for origin in
            ["https://evil.example", "null", "", "https://test.evil.example", "https://test:8443", "https://eviltest", "test", "ftp://test"]
        {
            assert_eq!(post(&[("origin", origin)]).await, 403, "{origin}");
        }
    }

    #[tokio::test]
    async fn programs_that_are_no_browsers_pass() {
        assert_eq!(post(&[]).await, 200);
    }

    #[tokio::test]
    async fn safe_methods_pass_whoever_sends_them_and_all_others_are_checked() {
        let foreign = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"] {
            assert_eq!(status("{}", method.parse().unwrap(), &foreign).await, 200, "{method}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "get"] {
            assert_eq!(status("{}", method.parse().unwrap(), &foreign).await, 403, "{method}");
        }
    }

    #[tokio::test]
    async fn a_page_of_another_site_opens_no_websocket() {
        let stack = TestStack::of::<Csrf>("{}").over_text("opened");
        let handshake = |origin: &'static str| {
            let mut handshake = request(Method::GET, "/chat", Body::empty());
            handshake.headers_mut().insert(ORIGIN, HeaderValue::from_static(origin));
            handshake.extensions_mut().insert(Upgrade::new([HeaderValue::from_static("websocket")]));
            handshake
        };
        assert_eq!(stack.send(handshake("https://test")).await.status(), 200);
        assert_eq!(stack.send(handshake("https://evil.example")).await.status(), 403);
    }

    #[tokio::test]
    async fn trusted_origins_pass_and_are_compared_exactly() {
        let options = r#"["https://admin.example.com", "https://shop.example.com:8443"]"#;
        let of = async |origin: &str, site: &str| status(options, Method::POST, &[("origin", origin), ("sec-fetch-site", site)]).await;
        assert_eq!(of("https://admin.example.com", "same-site").await, 200);
        assert_eq!(of("https://shop.example.com:8443", "cross-site").await, 200);
        for origin in [
            "http://admin.example.com",
            "https://admin.example.com:8443",
            "https://admin.example.com.evil.example",
            "https://shop.example.com",
        ] {
            assert_eq!(of(origin, "cross-site").await, 403, "{origin}");
        }
        assert_eq!(status(options, Method::POST, &[("origin", "https://admin.example.com")]).await, 200);
    }

    #[tokio::test]
    async fn headers_that_come_twice_prove_nothing() {
        assert_eq!(post(&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]).await, 403);
        assert_eq!(post(&[("origin", "https://test"), ("origin", "https://evil.example")]).await, 403);
        let trusted = [("origin", "https://a.example"), ("origin", "https://evil.example")];
        assert_eq!(status(r#""https://a.example""#, Method::POST, &trusted).await, 403);
    }

    #[tokio::test]
    async fn a_refusal_is_counted_and_the_log_says_why() {
        let stack = TestStack::of::<Csrf>("{}").over_text("changed");
        let refused = stack.post("/form", "").header("origin", "https://evil.example").await;
        assert_eq!(refused.text(), "403 Forbidden\na page of another site has sent this request\n");
        let expected = "a page of `https://evil.example` has sent it: the host is `test`";
        assert!(stack.log()[0].ends_with(expected), "{:?}", stack.log());
        assert!(stack.metrics().contains("ziggurat_csrf_refused_total{place=\"csrf\"} 1"), "{}", stack.metrics());
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        assert!(TestStack::refusal::<Csrf>(r#""admin.example.com""#)[0].contains("is not an origin"));
        assert!(TestStack::refusal::<Csrf>(r#""*""#)[0].contains("is not an origin"));
        assert!(TestStack::refusal::<Csrf>(r#"["https://a.example", "https://a.example"]"#)[0].contains("listed twice"));
    }

    proptest! {
        /// No header that a page of another site can send gets its request through: it does not set `Origin` or `Sec-Fetch-Site`.
        #[test]
        fn no_other_header_lets_a_foreign_page_in(name in "x-[a-z]{1,8}|referer|cookie|content-type", value in "[ -~]{0,20}") {
            let mut request = request(Method::POST, "/", Body::empty());
            request.headers_mut().insert(SEC_FETCH_SITE, HeaderValue::from_static("cross-site"));
            request.headers_mut().insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
            prop_assert!(Csrf::default().judge(&request).is_err());
        }
    }
}
