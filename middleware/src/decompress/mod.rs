//! `decompress`: takes the content coding off request bodies.

mod body;
mod decoder;
#[cfg(test)]
mod tests;

use http::StatusCode;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http_body::Body as _;
use schemars::JsonSchema;
use serde::Deserialize;

use self::body::{Bounds, DecodedBody};
use self::decoder::Coding;
use crate::encoding::DIGESTS;
use crate::units::Size;
use crate::{
    Behavior, Body, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, Problem, Request, Response, Result, around,
};

/// Takes the content coding off request bodies, so that the app reads them plain: `gzip`, `deflate` (the format of zlib), `br` and `zstd` (RFC 9110 section 8.4).
///
/// | a body | is answered |
/// | --- | --- |
/// | with another coding, or with several | 415 with `Accept-Encoding`, which names these four, before the app is called |
/// | that is not what `Content-Encoding` says, is cut short, or has something after its end | 400 |
/// | that becomes longer than `at_most`, or more than `ratio` times as long | 413 |
///
/// The body is decoded while it is read, 32 KiB at a time, so a small body that would become gigabytes costs no more than `at_most`. An error is noticed on the way: the app's read
/// fails, and the client gets the status unless the app answers otherwise. `Content-Encoding`, `Content-Length` and digests of the coded body are removed. A `wsgi` app gets the length of
/// the plain body all the same, because it is called when the body is whole; other servers behind `proxy` get it in chunks.
///
/// A body under way takes up to 64 KiB for gzip and deflate, 8 MiB for zstd and 16 MiB for brotli, as its window says. A zstd window of more than 8 MiB is refused with 400 (RFC 9659), and so are more than
/// 10,000 members of a gzip file.
///
/// Place it above `buffer`, which then takes in the plain body, and above everything else that reads request bodies. A `body_limit` above it counts coded octets, and one below it plain ones.
///
/// ```json
/// { "layers": [{ "body_limit": "1MiB" }, { "decompress": { "at_most": "20MiB" } }], "app": { "wsgi": "hello:app" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decompress {
    /// The size of the largest body without its coding.
    at_most: Size,
    /// How many times longer a body may become, from 1 MiB on. Text rarely becomes more than 30 times as long.
    ratio: u64,
}

impl Default for Decompress {
    fn default() -> Self {
        Self { at_most: Size::mib(10), ratio: 100 }
    }
}

impl Middleware for Decompress {
    const NAME: &'static str = "decompress";
    const SHORTHAND: Option<&'static str> = Some("at_most");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::LimitsRequestBody, Behavior::AnswersEarly];

    fn validate(&self, findings: &mut Findings) {
        if self.at_most.0 == 0 {
            findings.push(Finding::new("no body is let through").at("at_most").hint("give it a size, as in `\"10MiB\"`"));
        }
        if self.ratio == 0 {
            findings.push(Finding::new("every body becomes longer").at("ratio").hint("write a number from 1, as in `100`"));
        }
    }

    fn effects(&self, effects: &mut Effects) {
        effects.refuse_with([StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNSUPPORTED_MEDIA_TYPE]);
        effects.add(Effect::ReadsRequestHeader(CONTENT_ENCODING));
        effects.add(Effect::DecodesBody);
        effects.by("at_most", Effect::BoundsDecodedBody(self.at_most.0));
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        let headers = explain.request().headers();
        let has_body = headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0") || headers.contains_key(TRANSFER_ENCODING);
        match coding(headers) {
            _ if !has_body => explain.note("the request has no body"),
            Err(problem) => explain.refuse(problem),
            Ok(None) => explain.note("the body has no coding"),
            Ok(Some(coding)) => {
                explain.note(format!("takes `{}` off the body", coding.token()));
                explain.may_answer(StatusCode::BAD_REQUEST, format!("if the body is not valid `{}`", coding.token()));
                let (at_most, ratio) = (self.at_most, self.ratio);
                explain.may_answer(StatusCode::PAYLOAD_TOO_LARGE, format!("if it becomes over {at_most}, or {ratio} times as long"));
                plain(explain.request_mut().headers_mut());
            }
        }
        Ok(())
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage> {
        let bounds = Bounds { at_most: self.at_most, ratio: self.ratio };
        Ok(around(move |request: &mut Request| {
            if !request.body().is_end_stream()
                && let Some(coding) = coding(request.headers())?
            {
                let inner = std::mem::take(request.body_mut());
                *request.body_mut() = Body::new(DecodedBody::new(inner, coding, bounds).map_err(Problem::internal)?);
                plain(request.headers_mut());
            }
            Ok(|response: Response| response)
        }))
    }
}

/// The one coding of a body; `None` for a plain one.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Problem> {
    let lines = headers.get_all(CONTENT_ENCODING).iter().map(|line| line.to_str().unwrap_or("?"));
    let tokens = lines.flat_map(|line| line.split(',').map(str::trim));
    let mut tokens = tokens.filter(|token| !token.is_empty() && !token.eq_ignore_ascii_case("identity"));
    match (tokens.next(), tokens.next()) {
        (None, _) => Ok(None),
        (Some(token), None) => {
            Coding::named(token).map(Some).ok_or_else(|| unsupported(format!("`{}` is not taken", token.escape_debug())))
        }
        (Some(_), Some(_)) => Err(unsupported("several codings are not taken".to_owned())),
    }
}

fn unsupported(cause: String) -> Problem {
    let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).detail("the content coding of the request body is not supported");
    problem.header(ACCEPT_ENCODING, const { HeaderValue::from_static("gzip, deflate, br, zstd") }).because(cause)
}

/// Removes what is true of the coded body only. How long the plain one is, is not known.
fn plain(headers: &mut HeaderMap) {
    for name in [CONTENT_ENCODING, CONTENT_LENGTH].iter().chain(&DIGESTS) {
        headers.remove(name);
    }
    headers.insert(TRANSFER_ENCODING, const { HeaderValue::from_static("chunked") });
}
