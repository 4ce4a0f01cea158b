//! `respond`: a fixed answer.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use tower::service_fn;
use ziggurat_middleware::units::HeaderText;
use ziggurat_middleware::{App, Body, Context, Explain, Finding, Findings, IntoApp, Request, Response};

/// Answers every request with a fixed response, for instance a health probe, a maintenance page, or a path that must not be served.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Respond {
    /// The status, from 200 to 599. By default 200.
    status: Status,

    /// The body, as text. Its type is `text/plain; charset=utf-8`, unless `headers` has a `content-type`.
    body: Option<String>,

    /// Headers of the response.
    headers: BTreeMap<String, HeaderText>,
}

/// A final status: 200 to 599.
#[derive(Clone, Copy, Debug, Default)]
struct Status(StatusCode);

impl App for Respond {
    const NAME: &'static str = "respond";
    const SHORTHAND: Option<&'static str> = Some("status");

    fn validate(&self, findings: &mut Findings) {
        let bodiless = matches!(self.status.0, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
        if bodiless && self.body.as_ref().is_some_and(|body| !body.is_empty()) {
            let message = format!("a response with status {} has no body (RFC 9110 section 6.4.1)", self.status.0.as_str());
            findings.push(Finding::new(message).at("body").hint("remove `body`, or choose another `status`"));
        }
        for name in self.headers.keys() {
            match HeaderName::from_bytes(name.as_bytes()) {
                Err(_) => findings.push(Finding::new(format!("`{name}` is not a header name")).at("headers").at(name.as_str())),
                Ok(CONTENT_LENGTH | TRANSFER_ENCODING) => {
                    let finding = Finding::new(format!("`{name}` is set by the server")).hint("remove it");
                    findings.push(finding.at("headers").at(name.as_str()));
                }
                Ok(_) => {}
            }
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        explain.answer(FixedResponse::new(self)?.response());
        Ok(())
    }

    fn app(self, _: &Context) -> Result<impl IntoApp, Finding> {
        let fixed = FixedResponse::new(self)?;
        Ok(service_fn(move |_: Request| {
            let response = fixed.response();
            async move { Ok::<_, Infallible>(response) }
        }))
    }
}

/// The response to every request.
#[derive(Clone)]
struct FixedResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl FixedResponse {
    fn new(options: Respond) -> Result<Self, Finding> {
        let body = Bytes::from(options.body.unwrap_or_default());
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        for (name, value) in options.headers {
            headers.insert(HeaderName::from_bytes(name.as_bytes())?, value.into());
        }
        Ok(Self { status: options.status.0, headers, body })
    }

    fn response(&self) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        match u16::try_from(number).map(StatusCode::from_u16) {
            Ok(Ok(status)) if (200..600).contains(&number) => Ok(Self(status)),
            _ => Err(de::Error::custom(format!("`{number}` is not a status\nhint: a final status is 200 to 599"))),
        }
    }
}

impl JsonSchema for Status {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Status".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 200, "maximum": 599 })
    }
}

impl serde::Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0.as_u16())
    }
}
