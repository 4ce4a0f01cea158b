//! `security_headers`: response headers that protect pages in browsers.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{self, Entry, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::options::OrFalse;
use crate::units::{Duration, HeaderText};
use crate::{
    Behavior, ConnectionInfo, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Request, Response, Scheme,
    around,
};

/// Sets the response headers that make browsers protect pages: no guessing of media types, no foreign frames, no referrers to other sites.
///
/// The defaults are those of Django's `SecurityMiddleware` and `XFrameOptionsMiddleware`. A header that the app sets stays. `false` turns a header off.
///
/// Place it below `forwarded`, which determines whether the client uses https, and above everything whose responses should have the headers, such as `static`.
///
/// ```json
/// {
///   "layers": [
///     { "security_headers": {
///       "hsts": { "max_age": "365d", "include_subdomains": true },
///       "content_security_policy": "default-src 'self'",
///       "frame_options": "SAMEORIGIN"
///     } }
///   ],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityHeaders {
    /// `X-Content-Type-Options: nosniff`: browsers do not guess the media type.
    nosniff: bool,
    /// `X-Frame-Options`: which pages may show this site in a frame.
    frame_options: OrFalse<FrameOptions>,
    /// `Referrer-Policy`: how much of the address other sites learn when a user follows a link.
    referrer_policy: OrFalse<ReferrerPolicy>,
    /// `Cross-Origin-Opener-Policy`: whether windows of other origins have access to windows of this site that they opened, or that opened them.
    cross_origin_opener_policy: OrFalse<OpenerPolicy>,
    /// `Content-Security-Policy`: the allowed sources of scripts, styles, images and so on. It depends on the site, so there is no default.
    content_security_policy: OrFalse<HeaderText>,
    /// `Permissions-Policy`: the browser features that pages may use, for instance `camera=(), geolocation=()`.
    permissions_policy: OrFalse<HeaderText>,
    /// `Strict-Transport-Security` (RFC 6797), sent in responses to https requests only: browsers then use https for the time of `max_age`. It cannot be revoked
    /// before that, so it is off by default.
    hsts: OrFalse<Hsts>,
}

/// Which pages may show this site in a frame.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum FrameOptions {
    /// None.
    Deny,
    /// Those of the same origin.
    SameOrigin,
}

/// How much of the address other sites learn.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ReferrerPolicy {
    NoReferrer,
    NoReferrerWhenDowngrade,
    Origin,
    OriginWhenCrossOrigin,
    SameOrigin,
    StrictOrigin,
    StrictOriginWhenCrossOrigin,
    UnsafeUrl,
}

/// Which windows have access to those of this site.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum OpenerPolicy {
    SameOrigin,
    SameOriginAllowPopups,
    NoopenerAllowPopups,
    UnsafeNone,
}

/// `Strict-Transport-Security`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Hsts {
    /// How long browsers remember it.
    max_age: Duration,
    /// Whether it applies to all subdomains.
    include_subdomains: bool,
    /// Whether the site may be in the preload list of browsers (hstspreload.org). That requires `include_subdomains` and a `max_age` of at least a year.
    preload: bool,
}

impl Default for SecurityHeaders {
    fn default() -> Self {
        Self {
            nosniff: true,
            frame_options: OrFalse(Some(FrameOptions::Deny)),
            referrer_policy: OrFalse(Some(ReferrerPolicy::SameOrigin)),
            cross_origin_opener_policy: OrFalse(Some(OpenerPolicy::SameOrigin)),
            content_security_policy: OrFalse(None),
            permissions_policy: OrFalse(None),
            hsts: OrFalse(None),
        }
    }
}

impl Default for Hsts {
    fn default() -> Self {
        Self { max_age: Duration::secs(365 * 86_400), include_subdomains: false, preload: false }
    }
}

impl Middleware for SecurityHeaders {
    const NAME: &'static str = "security_headers";
    const BEHAVIOR: &'static [Behavior] = &[Behavior::SetsResponseHeaders, Behavior::NeedsConnectionInfo];
    const REPLACES: &'static [&'static str] =
        &["django.middleware.security:SecurityMiddleware", "django.middleware.clickjacking:XFrameOptionsMiddleware"];

    fn validate(&self, findings: &mut Findings) {
        let year = Duration::secs(365 * 86_400);
        if let Some(hsts) = &self.hsts.0
            && hsts.preload
            && !(hsts.include_subdomains && hsts.max_age >= year)
        {
            let finding =
                Finding::new("`preload` requires `include_subdomains` and a `max_age` of at least a year").at("hsts").at("preload");
            findings.push(finding.hint("set `include_subdomains` to true and `max_age` to `\"365d\"` or more, or leave out `preload`"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let defaults = DefaultHeaders::new(&self)?;
        if defaults.hsts.is_some() && !is_https(explain.request()) {
            explain.note("no `strict-transport-security`: the scheme is http");
        }
        let has_hsts = defaults.hsts.is_some() && is_https(explain.request());
        let names = defaults.always.iter().map(|(name, _)| name.clone()).chain(has_hsts.then_some(header::STRICT_TRANSPORT_SECURITY));
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        explain.around(|request| Ok(defaults.of(request)));
        explain.on_response(move |response| {
            if response.known().is_none() {
                response.note(format!("sets {}, unless the response has them", names.join(", ")));
            }
        });
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        if self.hsts.0.is_some() {
            effects.by("hsts", Effect::SendsHsts);
        }
        for (name, _) in self.always().unwrap_or_default() {
            effects.add(Effect::AddsHeader(name));
        }
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
        let defaults = DefaultHeaders::new(&self)?;
        Ok(around(move |request: &mut Request| Ok(defaults.of(request))))
    }
}

/// The headers that a response gets where it does not have them.
#[derive(Clone)]
struct DefaultHeaders {
    always: Arc<[(HeaderName, HeaderValue)]>,
    /// Over https.
    hsts: Option<HeaderValue>,
}

impl DefaultHeaders {
    fn new(options: &SecurityHeaders) -> Result<Self, Finding> {
        let hsts = options.hsts.0.as_ref().map(Hsts::value).transpose()?;
        Ok(Self { always: options.always()?.into(), hsts })
    }

    /// What sets them in the response to a request.
    fn of(&self, request: &Request) -> impl FnOnce(Response) -> Response + use<> {
        let hsts = if is_https(request) { self.hsts.clone() } else { None };
        let always = Arc::clone(&self.always);
        move |mut response: Response| {
            for (name, value) in always.iter() {
                add(response.headers_mut(), name, value);
            }
            if let Some(hsts) = hsts {
                add(response.headers_mut(), &header::STRICT_TRANSPORT_SECURITY, &hsts);
            }
            response
        }
    }
}

fn is_https(request: &Request) -> bool {
    request.extensions().get::<ConnectionInfo>().is_some_and(|connection| connection.scheme == Scheme::Https)
}

impl SecurityHeaders {
    /// The headers of every response.
    fn always(&self) -> Result<Vec<(HeaderName, HeaderValue)>, Finding> {
        const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
        const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

        let nosniff = self.nosniff.then(|| (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
        let words = [
            (header::X_FRAME_OPTIONS, self.frame_options.0.map(word).transpose()?),
            (header::REFERRER_POLICY, self.referrer_policy.0.map(word).transpose()?),
            (OPENER_POLICY, self.cross_origin_opener_policy.0.map(word).transpose()?),
            (header::CONTENT_SECURITY_POLICY, self.content_security_policy.0.clone().map(Into::into)),
            (PERMISSIONS_POLICY, self.permissions_policy.0.clone().map(Into::into)),
        ];
        Ok(nosniff.into_iter().chain(words.into_iter().filter_map(|(name, value)| Some((name, value?)))).collect())
    }
}

impl Hsts {
    fn value(&self) -> Result<HeaderValue, Finding> {
        let subdomains = if self.include_subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        Ok(HeaderValue::try_from(format!("max-age={}{subdomains}{preload}", self.max_age.0.as_secs()))?)
    }
}

/// The text of a choice, which is the same in the file and in the header.
fn word(choice: impl Serialize) -> Result<HeaderValue, Finding> {
    let value = serde_json::to_value(choice)?;
    Ok(HeaderValue::from_str(value.as_str().unwrap_or_default())?)
}

fn add(headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    if let Entry::Vacant(place) = headers.entry(name) {
        place.insert(value.clone());
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::{Body, TestResponse, TestStack, request};

    async fn by(scheme: Scheme, options: &str) -> TestResponse {
        let mut request = request(Method::GET, "/", "");
        request.extensions_mut().get_mut::<ConnectionInfo>().unwrap().scheme = scheme;
        TestStack::of::<SecurityHeaders>(options).over_text("").send(request).await
    }

    #[tokio::test]
    async fn the_bare_name_sends_what_django_would() {
        let response = by(Scheme::Https, "null").await;
        let headers: Vec<_> = response.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        assert_eq!(
            headers,
            [
                "x-content-type-options: nosniff",
                "x-frame-options: DENY",
                "referrer-policy: same-origin",
                "cross-origin-opener-policy: same-origin"
            ]
        );
    }

    #[tokio::test]
    async fn each_header_can_be_turned_off() {
        let off = r#"{"nosniff": false, "frame_options": false, "referrer_policy": false, "cross_origin_opener_policy": false,
                      "content_security_policy": false, "permissions_policy": false, "hsts": false}"#;
        assert!(by(Scheme::Https, off).await.headers().is_empty());
    }

    #[tokio::test]
    async fn an_apps_own_header_wins_and_is_not_doubled() {
        let stack = TestStack::of::<SecurityHeaders>("{}").over(async |_| {
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
            response
        });
        let response = stack.get("/").await;
        assert_eq!(response.headers().get_all(header::X_FRAME_OPTIONS).iter().collect::<Vec<_>>(), ["SAMEORIGIN"]);
    }

    #[tokio::test]
    async fn strict_transport_security_is_sent_on_https_only() {
        let options = r#"{"hsts": {"max_age": "730d", "include_subdomains": true, "preload": true}}"#;
        let value = "max-age=63072000; includeSubDomains; preload";
        assert_eq!(by(Scheme::Https, options).await.header("strict-transport-security"), value);
        assert!(!by(Scheme::Http, options).await.headers().contains_key(header::STRICT_TRANSPORT_SECURITY));
        assert_eq!(by(Scheme::Https, r#"{"hsts": {}}"#).await.header("strict-transport-security"), "max-age=31536000");
    }

    #[tokio::test]
    async fn policies_are_sent_as_they_are_written() {
        let options = r#"{"content_security_policy": "default-src 'self'", "permissions_policy": "camera=()",
                          "frame_options": "SAMEORIGIN", "referrer_policy": "strict-origin-when-cross-origin"}"#;
        let response = by(Scheme::Http, options).await;
        assert_eq!(response.header("content-security-policy"), "default-src 'self'");
        assert_eq!(response.header("permissions-policy"), "camera=()");
        assert_eq!(response.header("x-frame-options"), "SAMEORIGIN");
        assert_eq!(response.header("referrer-policy"), "strict-origin-when-cross-origin");
    }

    #[tokio::test]
    async fn the_answer_to_a_panic_carries_the_headers_too() {
        let stack = TestStack::of::<SecurityHeaders>("{}").over(async |_| panic!("no"));
        assert_eq!(stack.get("/").await.header("x-frame-options"), "DENY");
    }

    #[test]
    fn what_a_browser_would_ignore_is_refused() {
        assert!(TestStack::refusal::<SecurityHeaders>(r#"{"frame_options": "ALLOW"}"#)[0].contains("`DENY`"));
        assert!(TestStack::refusal::<SecurityHeaders>(r#"{"referrer_policy": true}"#)[0].contains("false"));
        assert!(TestStack::refusal::<SecurityHeaders>(r#"{"content_security_policy": "a\nb"}"#)[0].contains("line ends"));
        assert!(TestStack::refusal::<SecurityHeaders>(r#"{"hsts": {"preload": true}}"#)[0].contains("requires `include_subdomains`"));
    }
}
