//! `compress`: compresses responses.

mod body;
mod encoder;
mod etag;
mod level;
mod unencoded;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::body::EncodedBody;
use self::encoder::{Encoder, Pool};
use self::level::Level;
use self::unencoded::Unencoded;
use crate::coop::{Workers, poll_turn};
use crate::encoding::{Accepted, DIGESTS, Encoding};
use crate::units::Size;
use crate::{
    Behavior, Body, Context, Effect, Effects, Explain, ExplainResponse, Finding, Findings, IntoStage, Middleware, Next, Request, Response,
    from_fn,
};

/// Complete bodies up to this size are encoded at once and keep a `Content-Length`.
const AT_ONCE: usize = 64 << 10;

/// Compresses responses with zstd, brotli or gzip, as the client accepts (RFC 9110 section 12.5.3).
///
/// | response | |
/// | --- | --- |
/// | with a `Content-Encoding` | unchanged |
/// | a part of a file (206) | unchanged |
/// | with `Cache-Control: no-transform` | unchanged |
/// | for a client that accepts none of the encodings | unchanged |
/// | with a strong `ETag` | compressed, and the tag is marked with the encoding: `"v1"` becomes `"v1;gzip"`, because the octets are no longer those that the app named. The app finds its own tag, `"v1"`, in the `If-None-Match` and `If-Match` of later requests |
/// | a stream | compressed, and flushed whenever the app pauses, so that each piece reaches the client at once |
///
/// Place it above layers that read or change bodies.
///
/// A page that contains a secret and text from the request (such as a search term) can be guessed from its compressed length (the BREACH attack). Django masks
/// its CSRF tokens against that.
///
/// ```json
/// { "layers": [{ "compress": { "with": ["zstd", "br", "gzip"], "above": "1KiB" } }], "app": { "wsgi": "hello:app" } }
/// ```
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compress {
    /// The encodings on offer. If the client accepts several equally, the first in this list is used.
    with: Vec<Encoding>,
    /// The size from which bodies are compressed. Smaller ones gain little. Bodies of unknown length are always compressed.
    above: Size,
    /// The compression level: `"fastest"`, `"default"` (zstd 3, brotli 4, gzip 6), `"best"`, or a number from 1 to 9 for all encodings. Higher levels use more CPU time for
    /// smaller responses.
    level: Level,
    /// The media types to compress: `type/subtype`, or with a star at the start or the end, as in `text/*` and `*+json`. Images, videos and archives are compressed
    /// already. `text/event-stream` is compressed only if it is listed by its full name.
    types: Vec<String>,
}

impl Default for Compress {
    fn default() -> Self {
        let types = [
            "text/*",
            "*+json",
            "*+xml",
            "application/json",
            "application/javascript",
            "application/x-javascript",
            "application/xml",
            "application/x-ndjson",
            "application/wasm",
            "application/vnd.ms-fontobject",
            "font/ttf",
            "font/otf",
            "font/sfnt",
            "font/collection",
            "image/bmp",
            "image/x-icon",
            "image/vnd.microsoft.icon",
        ];
        Self { with: Encoding::ALL.to_vec(), above: Size::kib(1), level: Level::Default, types: types.map(str::to_owned).to_vec() }
    }
}

impl Middleware for Compress {
    const NAME: &'static str = "compress";
    const BEHAVIOR: &'static [Behavior] = &[Behavior::EncodesResponseBody];
    const REPLACES: &'static [&'static str] = &["django.middleware.gzip:GZipMiddleware"];

    fn validate(&self, findings: &mut Findings) {
        if self.with.is_empty() {
            findings.push(Finding::new("no encoding is on offer").at("with").hint("encodings are `zstd`, `br`, `gzip`"));
        }
        for (index, encoding) in self.with.iter().enumerate() {
            if self.with[..index].contains(encoding) {
                findings.push(Finding::new(format!("`{}` is listed twice", encoding.token())).at("with").at(index));
            }
        }
        for (index, media_type) in self.types.iter().enumerate() {
            let stars = media_type.matches('*').count();
            let at_an_end = media_type.starts_with('*') || media_type.ends_with('*');
            if media_type.is_empty() || media_type.contains([';', ' ']) || stars > 1 || (stars == 1 && !at_an_end) {
                let finding = Finding::new(format!("`{media_type}` is not a media type")).at("types").at(index);
                findings.push(finding.hint("write `text/html`, `text/*` or `*+json`"));
            }
        }
    }

    fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::ReadsRequestHeader(ACCEPT_ENCODING));
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let compressor = Compressor::new(self);
        let encoding = compressor.negotiated(explain.request().headers());
        match encoding {
            Some(encoding) => explain.note(format!("the client accepts `{}`", encoding.token())),
            None if explain.request().headers().contains_key(ACCEPT_ENCODING) => {
                let offered: Vec<_> = compressor.options.with.iter().map(|encoding| format!("`{}`", encoding.token())).collect();
                explain.note(format!("the client accepts none of {}", offered.join(", ")));
            }
            None => explain.note("the client accepts no encoding: there is no `accept-encoding`"),
        }
        let head = explain.request().method() == Method::HEAD;
        let known = etag::unmark(explain.request_mut().headers_mut());
        explain
            .on_response(move |response| compressor.tell(response, encoding, head, |headers| known.mark_not_modified(headers, encoding)));
        Ok(())
    }

    fn layer(self, _: &Context) -> Result<impl IntoStage, Finding> {
        let compressor = Compressor::new(self);
        Ok(from_fn(Arc::new(compressor), async |compressor: Arc<Compressor>, mut request: Request, next: Next| {
            let encoding = compressor.negotiated(request.headers());
            let head = request.method() == Method::HEAD;
            let known = etag::unmark(request.headers_mut());
            let mut response = next.run(request).await;
            if response.status() == StatusCode::NOT_MODIFIED {
                known.mark_not_modified(response.headers_mut(), encoding);
                if compressor.judge_headers(response.headers()).is_ok() {
                    vary(response.headers_mut());
                }
            } else if compressor.judge(&response, head).is_ok() {
                vary(response.headers_mut());
                let at_hand = response.body().as_full().map_or(0, <[u8]>::len);
                poll_fn(move |cx| poll_turn(cx, at_hand)).await;
                if let Some(encoding) = encoding
                    && let Err(error) = compressor.encode(&mut response, head, encoding)
                {
                    tracing::warn!(%error, encoding = encoding.token(), "cannot compress a response; it is sent uncompressed");
                }
            }
            response
        }))
    }
}

struct Compressor {
    options: Compress,
    pool: Pool,
    workers: Workers,
}

impl Compressor {
    fn new(mut options: Compress) -> Self {
        for media_type in &mut options.types {
            media_type.make_ascii_lowercase();
        }
        Self { options, pool: Pool::default(), workers: Workers::default() }
    }

    /// The encoding for a client that sends these headers.
    fn negotiated(&self, headers: &HeaderMap) -> Option<Encoding> {
        Accepted::of(headers).ranked(&self.options.with).next()
    }

    /// Says what is done with a response.
    fn tell(&self, explain: &mut ExplainResponse<'_>, encoding: Option<Encoding>, head: bool, mark: impl FnOnce(&mut HeaderMap)) {
        let Some(response) = explain.known() else {
            return explain.note(match encoding {
                Some(encoding) => {
                    format!("`{}`, if the response is text of at least {}, not encoded yet", encoding.token(), self.options.above)
                }
                None => "as it is: the client accepts no encoding".to_owned(),
            });
        };
        if response.status() == StatusCode::NOT_MODIFIED {
            mark(response.headers_mut());
            if self.judge_headers(response.headers()).is_ok() {
                vary(response.headers_mut());
            }
            return;
        }
        let note = match (self.judge(response, head), encoding) {
            (Err(reason), _) => format!("as it is: {reason}"),
            (Ok(()), None) => {
                vary(response.headers_mut());
                "as it is: the client accepts no encoding".to_owned()
            }
            (Ok(()), Some(encoding)) => {
                vary(response.headers_mut());
                match self.encode(response, head, encoding) {
                    Ok(()) if response.headers().contains_key(CONTENT_ENCODING) => format!("compresses with `{}`", encoding.token()),
                    Ok(()) => format!("as it is: `{}` would not make it smaller", encoding.token()),
                    Err(error) => format!("as it is: {error}"),
                }
            }
        };
        explain.note(note);
    }

    /// Whether this response would be compressed for a client that accepts it.
    fn judge<'r>(&self, response: &'r Response, head: bool) -> Result<(), Unencoded<'r>> {
        let (status, headers) = (response.status(), response.headers());
        let bodiless = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
        if bodiless || status == StatusCode::PARTIAL_CONTENT {
            return Err(Unencoded::Status(status));
        }
        let stated = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        let sized = response.body().size_hint().exact();
        // The response to HEAD has no body, but the headers of the response to GET.
        let len: Option<u64> = if head { stated().or(sized.filter(|len| *len > 0)) } else { sized.or_else(stated) };
        if let Some(len) = len.filter(|len| *len == 0 || *len < self.options.above.0) {
            return Err(Unencoded::Small(len, self.options.above));
        }
        if !headers.contains_key(CONTENT_TYPE) {
            return Err(Unencoded::NoType);
        }
        self.judge_headers(headers)
    }

    /// Whether the headers allow it. A 304 has none of those that describe the body, so its 200 may have been compressed.
    fn judge_headers<'r>(&self, headers: &'r HeaderMap) -> Result<(), Unencoded<'r>> {
        if let Some(encoding) = headers.get(CONTENT_ENCODING) {
            return Err(Unencoded::Encoded(encoding));
        }
        if headers.contains_key(CONTENT_RANGE) {
            return Err(Unencoded::Part);
        }
        if let Some(media_type) = headers.get(CONTENT_TYPE).filter(|value| !value.to_str().is_ok_and(|value| self.takes_type(value))) {
            return Err(Unencoded::Type(media_type));
        }
        if headers.get_all(CACHE_CONTROL).iter().any(|line| names(line, "no-transform")) {
            return Err(Unencoded::NoTransform);
        }
        Ok(())
    }

    fn takes_type(&self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let starred = essence != "text/event-stream";
        self.options.types.iter().any(|pattern| match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
            (Some(start), _) => starred && essence.starts_with(start),
            (None, Some(end)) => starred && essence.ends_with(end),
            (None, None) => essence == *pattern,
        })
    }

    fn encode(&self, response: &mut Response, head: bool, encoding: Encoding) -> io::Result<()> {
        let mut len = None;
        if head {
            // The length for GET is unknown, so the server must not take it from the body.
            *response.body_mut() = Body::empty();
        } else if let Some(octets) = response.body().as_full().filter(|octets| octets.len() <= AT_ONCE) {
            let Some(encoded) = self.pool.encode(encoding, self.options.level, octets)? else { return Ok(()) };
            len = Some(encoded.len());
            *response.body_mut() = encoded.into();
        } else {
            let encoder = Encoder::new(encoding, self.options.level)?;
            let body = std::mem::take(response.body_mut());
            *response.body_mut() = Body::new(EncodedBody::new(body, encoder, self.workers.clone()));
        }
        transformed(response.headers_mut(), encoding);
        if let Some(len) = len {
            response.headers_mut().insert(CONTENT_LENGTH, len.into());
        }
        Ok(())
    }
}

/// Removes and changes headers that do not apply to the encoded octets.
fn transformed(headers: &mut HeaderMap, encoding: Encoding) {
    headers.insert(CONTENT_ENCODING, encoding.header());
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    for digest in &DIGESTS {
        headers.remove(digest);
    }
    etag::mark(headers, encoding);
}

fn vary(headers: &mut HeaderMap) {
    let stated = headers.get_all(VARY).iter().any(|line| names(line, "*") || names(line, ACCEPT_ENCODING.as_str()));
    if !stated {
        headers.append(VARY, const { HeaderValue::from_static("Accept-Encoding") });
    }
}

/// Whether a list contains this name.
fn names(line: &HeaderValue, name: &str) -> bool {
    line.as_bytes().split(|octet| *octet == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}
