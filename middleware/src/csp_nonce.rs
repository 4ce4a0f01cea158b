//! `csp_nonce`: a Content Security Policy with a nonce for each response.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, Entry, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::{Behavior, Context, Effect, Effects, Explain, IntoStage, Middleware, Problem, Request, Response, Result, around};

/// The request header in which the app gets the nonce.
const NONCE_HEADER: HeaderName = HeaderName::from_static("x-csp-nonce");

/// What a policy holds in place of the nonce.
const GAP: &str = "{nonce}";

/// Sends a Content Security Policy with a nonce: a random word of this one response. The browser runs only scripts that bear it, so what an attacker smuggles into a page does not run.
///
/// The app puts the nonce into its pages, and the layer puts it into the header. The app gets it in the request header `X-CSP-Nonce`, which is `HTTP_X_CSP_NONCE` in a WSGI environ; one that the client sends is replaced:
///
/// ```text
/// <script nonce="{{ request.META.HTTP_X_CSP_NONCE }}" src="/static/app.js"></script>
/// ```
///
/// A page has one nonce: a second layer, such as one with `report_only` and a stricter policy to try out, takes that of the first, unless a Python layer stands between.
///
/// Pages are not changed. A policy that the app sends itself stays, and so does that of a layer below. A 304 gets no policy: its page is in the client's cache, with the policy that it came with.
///
/// A page with a nonce must not be stored by a shared cache. Above the cache, the layer sends another nonce than the copy holds, and no script runs; below it, everybody gets a nonce that others know. Send
/// `Cache-Control: private` or `no-store` with such pages.
///
/// Place it above the app, and below `security_headers`, whose `content_security_policy` is then that of all other responses.
///
/// ```json
/// {
///   "layers": [
///     { "csp_nonce": "script-src 'nonce-{nonce}' 'strict-dynamic'; object-src 'none'; base-uri 'none'" }
///   ],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CspNonce {
    /// The policy, with `{nonce}` where the nonce is to be: `script-src 'nonce-{nonce}'`.
    policy: NoncePolicy,
    /// Whether browsers only report what the policy forbids: the header is then `Content-Security-Policy-Report-Only`.
    #[serde(default)]
    report_only: bool,
}

/// The text of a policy, in front of each nonce and behind the last one.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct NoncePolicy(Vec<String>);

impl TryFrom<String> for NoncePolicy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if HeaderValue::from_str(&text).is_err() {
            return Err("a policy holds visible ASCII and spaces\nhint: write it on one line".to_owned());
        }
        let pieces: Vec<String> = text.split(GAP).map(str::to_owned).collect();
        if pieces.len() == 1 {
            let hint = "write `script-src 'nonce-{nonce}'`; a policy without a nonce is `content_security_policy` of `security_headers`";
            return Err(format!("the policy has no `{GAP}`\nhint: {hint}"));
        }
        let is_quoted = |pair: &[String]| pair[0].ends_with("'nonce-") && pair[1].starts_with('\'');
        if !pieces.windows(2).all(is_quoted) {
            return Err(format!("`{GAP}` is not in a source of nonces\nhint: write `'nonce-{GAP}'`, with the quotes"));
        }
        Ok(Self(pieces))
    }
}

impl NoncePolicy {
    fn with(&self, nonce: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
        HeaderValue::try_from(self.0.join(nonce))
    }
}

impl Serialize for NoncePolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.join(GAP))
    }
}

impl JsonSchema for NoncePolicy {
    fn schema_name() -> Cow<'static, str> {
        "NoncePolicy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["script-src 'nonce-{nonce}' 'strict-dynamic'; object-src 'none'; base-uri 'none'"] })
    }
}

impl Middleware for CspNonce {
    const NAME: &'static str = "csp_nonce";
    const SHORTHAND: Option<&'static str> = Some("policy");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::SetsResponseHeaders];

    fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::AddsHeader(self.header()));
        effects.add(Effect::SetsRequestHeader(NONCE_HEADER));
        effects.add(Effect::MakesNonces);
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        let name = self.header();
        explain.note(format!("gives the app a nonce, in `{NONCE_HEADER}`"));
        let policies = Policies::new(self);
        explain.around(|request| policies.of(request));
        explain.on_response(move |response| {
            if response.known().is_none() {
                response.note(format!("sets `{name}`, unless the response has one or is 304"));
            }
        });
        Ok(())
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage> {
        let policies = Policies::new(self);
        Ok(around(move |request: &mut Request| policies.of(request)))
    }
}

impl CspNonce {
    const fn header(&self) -> HeaderName {
        if self.report_only { CONTENT_SECURITY_POLICY_REPORT_ONLY } else { CONTENT_SECURITY_POLICY }
    }
}

/// The word of a request. A page bears one, so that further layers take that of the first. It is no header, which clients can send.
#[derive(Clone)]
struct Nonce(Arc<str>);

impl Nonce {
    /// A word that nobody can guess. It is to have 128 random bits at least (CSP 3 section 7.1). A UUID has 122, and six that say that it is one; where they are in the one, the other is random.
    fn new() -> Self {
        let [one, other] = [Uuid::new_v4(), Uuid::new_v4()].map(|uuid| uuid.as_u128());
        Self(STANDARD_NO_PAD.encode((one ^ other.rotate_left(64)).to_be_bytes()).into())
    }
}

/// The policies of the responses.
#[derive(Clone)]
struct Policies {
    name: HeaderName,
    policy: Arc<NoncePolicy>,
}

impl Policies {
    fn new(options: CspNonce) -> Self {
        Self { name: options.header(), policy: Arc::new(options.policy) }
    }

    /// Gives a request its nonce, and its response the policy.
    fn of(&self, request: &mut Request) -> Result<impl FnOnce(Response) -> Response + use<>, Problem> {
        let Nonce(nonce) = request.extensions_mut().get_or_insert_with(Nonce::new).clone();
        let policy = self.policy.with(&nonce).map_err(Problem::internal)?;
        request.headers_mut().insert(NONCE_HEADER, HeaderValue::try_from(&*nonce).map_err(Problem::internal)?);
        let name = self.name.clone();
        Ok(move |mut response: Response| {
            if response.status() != StatusCode::NOT_MODIFIED {
                add(response.headers_mut(), name, policy);
            }
            response
        })
    }
}

fn add(headers: &mut HeaderMap, name: HeaderName, policy: HeaderValue) {
    if let Entry::Vacant(place) = headers.entry(name) {
        place.insert(policy);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{Body, TestResponse, TestStack};

    const POLICY: &str = r#""script-src 'nonce-{nonce}' 'self'; style-src 'nonce-{nonce}'""#;

    /// Answers with the nonce that the app got.
    fn stack(options: &str) -> TestStack {
        TestStack::of::<CspNonce>(options).over(async |request: Request| {
            let sent: Vec<_> = request.headers().get_all(&NONCE_HEADER).iter().map(|nonce| nonce.to_str().unwrap().to_owned()).collect();
            Response::new(Body::from(sent.join(" and ")))
        })
    }

    fn policy_of(response: &TestResponse) -> &str {
        response.header("content-security-policy")
    }

    #[tokio::test]
    async fn the_app_gets_the_nonce_that_the_policy_names() {
        let response = stack(POLICY).get("/").await;
        let nonce = response.text();
        assert_eq!(policy_of(&response), format!("script-src 'nonce-{nonce}' 'self'; style-src 'nonce-{nonce}'"));
        assert!(nonce.len() == 22 && nonce.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/')), "{nonce}");
    }

    #[tokio::test]
    async fn each_response_has_its_own_nonce_and_the_client_chooses_none() {
        let stack = stack(POLICY);
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            let response = stack.get("/").header("x-csp-nonce", "chosen").header("x-csp-nonce", "twice").await;
            assert!(!response.text().contains("chosen") && !response.text().contains(" and "), "{}", response.text());
            assert!(seen.insert(response.text()));
        }
    }

    #[test]
    fn every_bit_of_a_nonce_is_random() {
        let nonces: Vec<Vec<u8>> = (0..64).map(|_| STANDARD_NO_PAD.decode(&*Nonce::new().0).unwrap()).collect();
        for bit in 0..128 {
            let set = nonces.iter().filter(|nonce| nonce[bit / 8] >> (bit % 8) & 1 == 1).count();
            assert!((1..64).contains(&set), "bit {bit} is always the same");
        }
    }

    #[tokio::test]
    async fn a_policy_of_the_app_stays_and_a_304_gets_none() {
        let answer = |status: u16, policy: Option<&'static str>| {
            TestStack::of::<CspNonce>(POLICY).over(move |_| async move {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                response.headers_mut().extend(policy.map(|policy| (CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy))));
                response
            })
        };
        assert_eq!(policy_of(&answer(200, Some("default-src 'none'")).get("/").await), "default-src 'none'");
        assert_eq!(policy_of(&answer(304, None).get("/").await), "");
        assert!(policy_of(&answer(404, None).get("/").await).starts_with("script-src"));
    }

    #[tokio::test]
    async fn a_policy_can_be_tried_out_first() {
        let response = stack(r#"{ "policy": "script-src 'nonce-{nonce}'", "report_only": true }"#).get("/").await;
        assert!(response.header("content-security-policy-report-only").contains(&response.text()));
        assert_eq!(policy_of(&response), "");
    }

    #[tokio::test]
    async fn a_stricter_policy_is_tried_out_beside_the_one_in_force() {
        let tried = r#"{ "policy": "script-src 'nonce-{nonce}'", "report_only": true }"#;
        let stack = TestStack::of::<CspNonce>(tried)
            .then::<CspNonce>(POLICY)
            .over(async |request: Request| Response::new(Body::from(request.headers()[&NONCE_HEADER].to_str().unwrap().to_owned())));
        let response = stack.get("/").header("x-csp-nonce", "chosen").await;
        let source = format!("'nonce-{}'", response.text());
        assert!(response.header("content-security-policy-report-only").contains(&source) && policy_of(&response).contains(&source));
        assert_ne!(response.text(), "chosen");
    }

    #[test]
    fn policies_that_protect_nothing_are_refused() {
        let refusal = |policy: &str| TestStack::refusal::<CspNonce>(&format!("{policy:?}"))[0].clone();
        assert!(refusal("script-src 'self'").contains("has no `{nonce}`"));
        for policy in ["script-src nonce-{nonce}", "script-src '{nonce}'", "script-src 'nonce-{nonce}", "script-src 'nonce-{nonce}{nonce}'"]
        {
            assert!(refusal(policy).contains("not in a source of nonces"), "{policy}");
        }
        assert!(refusal("script-src\n'nonce-{nonce}'").contains("on one line"));
    }
}
