//! `cors`: lets pages of other origins call the app.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::future::{Either, Ready, ready};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tower::{Layer, Service};

use crate::options::OneOrMany;
use crate::units::{Duration, HeaderKey};
use crate::{Behavior, Body, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Request, Response, around};

mod origin;
#[cfg(test)]
mod tests;

use origin::AllowedOrigin;

/// Lets pages of other origins call the app from a browser, by the CORS protocol of the Fetch standard.
///
/// Preflights (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) are answered here with 204 and do not reach the app. Other `OPTIONS` requests do.
/// CORS headers that the app sends are replaced, so that one place decides.
///
/// By its bare name the layer lets every origin call, without cookies. That is right for a public API, and safe: a page can make such a call through any server.
///
/// Place it above layers that authenticate, because a preflight has no password, and above `compress`.
///
/// ```json
/// {
///   "layers": [
///     { "cors": { "origins": ["https://app.example.com"], "credentials": true, "headers": ["content-type", "x-csrftoken"] } },
///     "compress"
///   ],
///   "app": { "wsgi": "api:app" }
/// }
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// The origins that may call: `"*"` for all, or origins such as `"https://app.example.com"` or `"http://localhost:5173"`. They are compared exactly.
    origins: OneOrMany<AllowedOrigin>,
    /// The methods that a page may use, or `"*"` for all. The protocol always allows GET, HEAD and POST.
    #[schemars(with = "OneOrMany<String>")]
    methods: OneOrMany<AllowedMethod>,
    /// The request headers that a page may send, or `"*"` for all.
    headers: OneOrMany<HeaderKey>,
    /// The response headers that a page may read, or `"*"` for all. The protocol always allows a few, such as `Content-Type`.
    expose: OneOrMany<HeaderKey>,
    /// Whether the browser sends cookies and other credentials. `origins` must then name the origins.
    credentials: bool,
    /// How long a browser may cache the answer to a preflight. Browsers have limits of their own, for instance 2 hours.
    max_age: Duration,
}

/// A method, or `*`, which is a token, too.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct AllowedMethod(Method);

impl TryFrom<String> for AllowedMethod {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.parse() {
            Ok(method) if !name.contains(|c: char| c.is_ascii_lowercase()) => Ok(Self(method)),
            Ok(_) => Err(format!("`{name}` is not a method\nhint: methods are written in capitals: `{}`", name.to_uppercase())),
            Err(_) => Err(format!("`{name}` is not a method\nhint: methods are `GET`, `POST`, `PUT`, ..., or `*` for any")),
        }
    }
}

impl serde::Serialize for AllowedMethod {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl Default for Cors {
    fn default() -> Self {
        let any = || OneOrMany(vec![HeaderKey(header::HeaderName::from_static("*"))]);
        Self {
            origins: OneOrMany(vec![AllowedOrigin::Any]),
            methods: OneOrMany(Method::from_bytes(b"*").map(AllowedMethod).into_iter().collect()),
            headers: any(),
            expose: OneOrMany(Vec::new()),
            credentials: false,
            max_age: Duration::secs(600),
        }
    }
}

impl Middleware for Cors {
    const NAME: &'static str = "cors";
    const SHORTHAND: Option<&'static str> = Some("origins");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::SetsResponseHeaders, Behavior::AnswersEarly];
    const REPLACES: &'static [&'static str] = &["corsheaders.middleware:CorsMiddleware"];

    fn validate(&self, findings: &mut Findings) {
        let any_origin = self.origins.0.contains(&AllowedOrigin::Any);
        if self.origins.0.is_empty() {
            findings.push(Finding::new("no origin is allowed").at("origins").hint("name one, or leave out `origins` to allow all"));
        }
        if any_origin && self.origins.0.len() > 1 {
            findings
                .push(Finding::new("`*` allows all origins, so the others have no effect").at("origins").hint("keep `*` or the others"));
        }
        if any_origin && self.credentials {
            let finding = Finding::new("credentials need named origins").at("credentials");
            findings.push(finding.hint("name the trusted origins in `origins`, or leave `credentials` out"));
        }
        if self.credentials && self.expose.0.iter().any(|name| name.0 == "*") {
            let finding = Finding::new("with `credentials`, browsers read `*` as the name of a header").at("expose");
            findings.push(finding.hint("name the headers that pages may read"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let rules = Rules::new(self)?;
        let origin = explain.request().headers().get(header::ORIGIN).cloned();
        let verdict = rules.verdict(origin.as_ref());
        if is_preflight(explain.request()) {
            explain.note(format!("a preflight is answered here: {verdict}"));
            explain.answer(rules.preflight(explain.request().headers()));
            return Ok(());
        }
        explain.note(match explain.request().method() {
            &Method::OPTIONS => format!("no preflight, which has `origin` and `access-control-request-method`; {verdict}"),
            _ => verdict,
        });
        explain.on_response(move |response| match response.known() {
            Some(_) => response.change(|response| rules.answer(origin.as_ref(), response)),
            None => response.note("replaces the CORS headers of the app"),
        });
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::AnswersPreflights);
        let exact = self.origins.0.iter().map(AllowedOrigin::exact);
        effects.by("origins", Effect::LetsOriginsCall(exact.collect()));
        effects.add(Effect::ReadsRequestHeader(header::ORIGIN));
        effects.add(Effect::SetsHeader(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
        let rules = Arc::new(Rules::new(self)?);
        let preflights = Preflights(Arc::clone(&rules));
        let calls = around(move |request: &mut Request| {
            let rules = Arc::clone(&rules);
            let origin = request.headers().get(header::ORIGIN).cloned();
            Ok(move |response: Response| rules.answer(origin.as_ref(), response))
        });
        Ok((preflights, calls))
    }
}

/// Answers preflights. (tower-http's layer answers every `OPTIONS` request, which breaks WebDAV.)
struct Preflights(Arc<Rules>);

impl<S> Layer<S> for Preflights {
    type Service = PreflightService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PreflightService { rules: Arc::clone(&self.0), inner }
    }
}

#[derive(Clone)]
struct PreflightService<S> {
    rules: Arc<Rules>,
    inner: S,
}

impl<S: Service<Request, Response = Response>> Service<Request> for PreflightService<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if is_preflight(&request) {
            Either::Left(ready(Ok(self.rules.preflight(request.headers()))))
        } else {
            Either::Right(self.inner.call(request))
        }
    }
}

/// Whether a browser asks what it may send (Fetch standard, CORS-preflight request).
fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The options as headers.
struct Rules {
    /// The allowed origins; `None` for all.
    origins: Option<Vec<HeaderValue>>,
    /// `None` to allow what the preflight requests.
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

impl Rules {
    fn new(options: Cors) -> Result<Self, Finding> {
        let any = options.origins.0.contains(&AllowedOrigin::Any);
        let origins = options.origins.0.into_iter().filter_map(AllowedOrigin::into_exact).collect();
        let names = |names: &OneOrMany<HeaderKey>| list(names.0.iter().map(|name| name.0.as_str()));
        Ok(Self {
            origins: if any { None } else { Some(origins) },
            methods: list(options.methods.0.iter().map(|method| method.0.as_str()))?.filter(|methods| methods != "*"),
            headers: names(&options.headers)?.filter(|headers| headers != "*"),
            expose: names(&options.expose)?,
            credentials: options.credentials,
            max_age: options.max_age.0.as_secs().into(),
        })
    }

    fn preflight(&self, asked: &HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        if self.allow(asked.get(header::ORIGIN), headers) {
            let grants = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.as_ref(), header::ACCESS_CONTROL_REQUEST_METHOD),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, self.headers.as_ref(), header::ACCESS_CONTROL_REQUEST_HEADERS),
            ];
            for (name, fixed, wish) in grants {
                if let Some(grant) = fixed.or_else(|| asked.get(wish)) {
                    headers.insert(name, grant.clone());
                }
            }
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
        const ALL: HeaderValue = HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");
        headers.insert(header::VARY, ALL);
        response
    }

    fn answer(&self, origin: Option<&HeaderValue>, mut response: Response) -> Response {
        let headers = response.headers_mut();
        for name in [header::ACCESS_CONTROL_ALLOW_ORIGIN, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, header::ACCESS_CONTROL_EXPOSE_HEADERS] {
            headers.remove(name);
        }
        if self.allow(origin, headers)
            && let Some(expose) = &self.expose
        {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
        if self.origins.is_some() && !varies_by_origin(headers) {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        response
    }

    /// Whether pages of this origin may call, in words.
    fn verdict(&self, origin: Option<&HeaderValue>) -> String {
        let allows = self.allow(origin, &mut HeaderMap::new());
        match origin {
            None => "the request has no `origin`".to_owned(),
            Some(origin) => {
                let origin = String::from_utf8_lossy(origin.as_bytes());
                format!("pages of `{origin}` {}", if allows { "may call" } else { "may not call: the origin is not in `origins`" })
            }
        }
    }

    /// Sets the allowed origin; gives whether `origin` is allowed.
    fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) -> bool {
        let allowed = match (&self.origins, origin) {
            (None, _) => HeaderValue::from_static("*"),
            (Some(origins), Some(origin)) if origins.contains(origin) => origin.clone(),
            (Some(_), _) => return false,
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        true
    }
}

/// Names, separated by commas; `None` if there are none.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> Result<Option<HeaderValue>, Finding> {
    let names = names.collect::<Vec<_>>();
    if names.contains(&"*") {
        return Ok(Some(HeaderValue::from_static("*")));
    }
    if names.is_empty() { Ok(None) } else { Ok(Some(HeaderValue::try_from(names.join(", "))?)) }
}

fn varies_by_origin(headers: &HeaderMap) -> bool {
    let names = headers.get_all(header::VARY).iter().flat_map(|value| value.as_bytes().split(|octet| *octet == b','));
    names.map(<[u8]>::trim_ascii).any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
}
