//! `request_id`: assigns an id to every request.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::auth::may_tell;
use crate::units::HeaderKey;
use crate::{
    Behavior, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Request, RequestId, RequestSummary, Response,
    around,
};

/// Assigns an id to every request. It is in the request header, in the response header and in every log line about the request.
///
/// The id is a UUID of version 7 (RFC 9562), so ids sort by time. The app reads it as `HTTP_X_REQUEST_ID` and as `ziggurat.request_id` in the environ.
///
/// Place it at the top, so that all layers below know the id. A second layer, for instance in a route, keeps the id of the first and adds its own `header`.
///
/// ```json
/// { "layers": ["request_id", "access_log"], "app": { "wsgi": "hello:app" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AssignRequestId {
    /// The header of the id, in the request and in the response.
    header: HeaderKey,
    /// Whether an id in the request is kept. Turn it on behind a proxy that assigns ids, so that both log the same id. A client that reaches this server directly can
    /// then choose its id. An id is replaced in any case if it is not 1 to 128 visible ASCII characters, or if there are several.
    trust: bool,
}

impl Default for AssignRequestId {
    fn default() -> Self {
        Self { header: HeaderKey(HeaderName::from_static("x-request-id")), trust: false }
    }
}

/// Headers that clients and apps act on.
const MEANT: [HeaderName; 7] = [SET_COOKIE, COOKIE, AUTHORIZATION, CONTENT_TYPE, CONTENT_ENCODING, CACHE_CONTROL, LOCATION];

impl Middleware for AssignRequestId {
    const NAME: &'static str = "request_id";
    const BEHAVIOR: &'static [Behavior] = &[Behavior::AssignsRequestId];

    fn validate(&self, findings: &mut Findings) {
        let name = &self.header.0;
        let finding = if !may_tell(name) || MEANT.contains(name) {
            Finding::new(format!("`{name}` has a meaning of its own, and is no header for an id"))
                .hint("choose another one, such as `x-request-id`")
        } else if name.as_str().contains('_') {
            Finding::new(format!("a WSGI app does not get `{name}`: it has an underscore"))
                .hint(format!("write `{}`", name.as_str().replace('_', "-")))
        } else {
            return;
        };
        findings.push(finding.at("header"));
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let header = &self.header;
        explain.note(match self.known(explain.request()) {
            Some(id) => format!("the id is `{}`, in `{header}` of the request and of the response", id.as_str()),
            None => format!("assigns a new id, in `{header}` of the request and of the response"),
        });
        explain.around(|request| Ok(self.assign(request, || RequestId::new(HeaderValue::from_static("(new)")))));
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::SetsMoment(self.header.0.clone()));
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
        let assigner = Arc::new(self);
        Ok(around(move |request: &mut Request| Ok(assigner.assign(request, fresh))))
    }
}

impl AssignRequestId {
    /// The id that the request has already. A request has one id, which a layer above may have assigned.
    fn known(&self, request: &Request) -> Option<RequestId> {
        let above = request.extensions().get::<RequestId>().cloned();
        above.or_else(|| if self.trust { valid(request.headers(), &self.header.0) } else { None })
    }

    /// Puts the id into the request, and gives what puts it into the response.
    fn assign(&self, request: &mut Request, fresh: fn() -> Option<RequestId>) -> impl FnOnce(Response) -> Response + use<> {
        let id = self.known(request).or_else(fresh);
        let header = self.header.0.clone();
        if let Some(id) = &id {
            request.headers_mut().insert(header.clone(), id.as_header().clone());
            if let Some(summary) = RequestSummary::of(request.extensions()) {
                summary.identify(id.clone());
            }
            request.extensions_mut().insert(id.clone());
        }
        move |mut response: Response| {
            if let Some(id) = id {
                response.headers_mut().insert(header, id.as_header().clone());
                response.extensions_mut().insert(id);
            }
            response
        }
    }
}

/// The id in the request, if there is exactly one and it is valid.
fn valid(headers: &HeaderMap, name: &HeaderName) -> Option<RequestId> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    let octets = value.as_bytes();
    let is_valid = values.next().is_none() && (1..=128).contains(&octets.len()) && octets.iter().all(u8::is_ascii_graphic);
    if is_valid { RequestId::new(value.clone()) } else { None }
}

/// A new id. It is always `Some`: hexadecimal digits and hyphens are a valid header value.
fn fresh() -> Option<RequestId> {
    let mut buffer = [0; Hyphenated::LENGTH];
    let text = Uuid::now_v7().as_hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).ok().and_then(RequestId::new)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::{Body, TestResponse, TestStack, request};

    /// Answers with the id as the app sees it: fact, then header.
    fn stack(options: &str) -> TestStack {
        TestStack::of::<AssignRequestId>(options).over(async |request: Request| {
            let fact = request.extensions().get::<RequestId>().unwrap().as_str();
            let headers: Vec<_> = request.headers().get_all("x-request-id").iter().map(|value| value.to_str().unwrap()).collect();
            Response::new(Body::from(format!("{fact} {}", headers.join(","))))
        })
    }

    async fn bring(options: &str, ids: &[&[u8]]) -> TestResponse {
        let mut request = request(Method::GET, "/", "");
        for id in ids {
            request.headers_mut().append("x-request-id", HeaderValue::from_bytes(id).unwrap());
        }
        stack(options).send(request).await
    }

    #[test]
    fn a_header_that_means_something_else_or_that_no_app_gets_is_refused() {
        let refusal = |name: &str| TestStack::refusal::<AssignRequestId>(&format!(r#"{{ "header": "{name}" }}"#)).join("\n");
        for name in ["content-length", "host", "transfer-encoding", "connection", "set-cookie"] {
            assert!(refusal(name).contains("has a meaning of its own"), "{name}");
        }
        assert!(refusal("x_request_id").contains("write `x-request-id`"));
    }

    #[tokio::test]
    async fn app_and_client_see_the_same_new_id() {
        let response = stack("{}").get("/").await;
        let id = response.header("x-request-id");
        assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 7);
        assert_eq!(response.text(), format!("{id} {id}"));
    }

    #[tokio::test]
    async fn a_request_has_one_id_however_many_layers_assign_it() {
        let inner = r#"{"trust": true, "header": "x-inner"}"#;
        let outer = TestStack::of::<AssignRequestId>("{}").then::<AssignRequestId>(inner).over(async |request: Request| {
            let fact = request.extensions().get::<RequestId>().unwrap().as_str();
            Response::new(Body::from(format!("{fact} {}", request.headers()["x-request-id"].to_str().unwrap())))
        });
        let mut request = request(Method::GET, "/", "");
        request.headers_mut().append("x-inner", HeaderValue::from_static("chosen"));
        let response = outer.send(request).await;
        let id = response.header("x-request-id");
        assert_eq!(response.text(), format!("{id} {id}"));
        assert_eq!(response.header("x-inner"), id);
    }

    #[tokio::test]
    async fn two_requests_have_two_ids_in_the_order_of_time() {
        let stack = stack("{}");
        let (first, second) = (stack.get("/").await, stack.get("/").await);
        assert!(first.header("x-request-id") < second.header("x-request-id"));
    }

    #[tokio::test]
    async fn an_id_from_the_client_is_replaced_unless_trusted() {
        assert_ne!(bring("{}", &[b"mine"]).await.header("x-request-id"), "mine");
        let kept = bring(r#"{"trust": true}"#, &[b"mine"]).await;
        assert_eq!((kept.header("x-request-id"), &*kept.text()), ("mine", "mine mine"));
    }

    #[tokio::test]
    async fn a_trusted_id_that_is_not_sane_is_replaced() {
        let long = [b'a'; 129];
        for ids in [&[&b""[..]][..], &[b"a b"], &[b"a\tb"], &[b"\xff\xfe"], &[&long], &[b"one", b"two"]] {
            let response = bring(r#"{"trust": true}"#, ids).await;
            let id = response.header("x-request-id");
            assert_eq!(id.len(), 36, "{ids:?}");
            assert_eq!(response.text(), format!("{id} {id}"));
        }
        assert_eq!(bring(r#"{"trust": true}"#, &[&long[..128]]).await.header("x-request-id").len(), 128);
    }

    #[tokio::test]
    async fn the_header_has_the_name_that_the_options_give() {
        let stack = TestStack::of::<AssignRequestId>(r#"{"header": "X-Correlation-Id"}"#).over_text("");
        let response = stack.get("/").await;
        assert_eq!(response.header("x-correlation-id").len(), 36);
        assert!(!response.headers().contains_key("x-request-id"));
        assert_eq!(TestStack::refusal::<AssignRequestId>(r#"{"header": "x id"}"#), ["`x id` is not a header name"]);
    }

    #[tokio::test]
    async fn the_answer_to_a_panic_carries_the_id_and_an_apps_own_header_gives_way() {
        let broken = TestStack::of::<AssignRequestId>("{}").over(async |_| panic!("no"));
        assert_eq!(broken.get("/").await.header("x-request-id").len(), 36);
        let own = TestStack::of::<AssignRequestId>("{}").over(async |_| {
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert("x-request-id", HeaderValue::from_static("app"));
            response
        });
        assert_eq!(own.get("/").await.headers().get_all("x-request-id").iter().count(), 1);
    }
}
