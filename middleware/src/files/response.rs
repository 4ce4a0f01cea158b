//! The response with an open file: conditions, ranges, headers.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rustix::fs::fstat;
use uuid::Uuid;

use super::body::{FileBody, Piece, read};
use super::conditions::{Validators, Verdict};
use super::identity::Identities;
use super::ranges::RequestedRanges;
use super::root::{Opened, Stamp};
use crate::encoding::Encoding;
use crate::{Body, Problem, Response};

/// Files up to this size are read before the response begins, so that one write sends head and body.
const SMALL: u64 = 64 << 10;

/// A representation of a file: the file itself, or a compressed sibling.
#[derive(Debug)]
pub(crate) struct Representation {
    pub(crate) file: Opened,
    pub(crate) encoding: Option<Encoding>,
    /// Whether the response depends on `Accept-Encoding`.
    pub(crate) vary: bool,
    pub(crate) media_type: HeaderValue,
    pub(crate) cache_control: Option<HeaderValue>,
}

/// The response to a GET or HEAD.
pub(crate) enum Answer {
    /// The response, or a precondition that failed (412), an unsatisfiable range (416), or a file that cannot be read.
    Now(Result<Response, Problem>),
    /// The version of this file has to be [learned](Representation::learn) first.
    Later(Representation),
}

/// A representation of which the version is known.
#[derive(Debug)]
pub(crate) struct Identified {
    /// Those of a response with the whole file.
    headers: HeaderMap,
    stamp: Stamp,
    len: u64,
    validators: Validators,
    source: Source,
}

/// Where the octets are.
#[derive(Debug)]
enum Source {
    File(Arc<OwnedFd>),
    Memory(Bytes),
}

impl Representation {
    /// The response to a GET or HEAD with these headers, if the version of the file is known.
    pub(crate) fn answer(self, identities: &Identities, method: &Method, asked: &HeaderMap) -> Answer {
        match self.identify(identities) {
            Ok(file) => Answer::Now(file.answer(method, asked)),
            Err(file) => Answer::Later(*file),
        }
    }

    /// The response after the version of the file has been found out.
    ///
    /// # Errors
    ///
    /// A precondition that failed (412), an unsatisfiable range (416), or a file that cannot be read.
    pub(crate) async fn learn(mut self, identities: &Identities, method: &Method, asked: &HeaderMap) -> Result<Response, Problem> {
        let variant = self.variant();
        let validators = identities.learn(&mut self.file, variant).await.map_err(Problem::internal)?;
        self.identified(validators).answer(method, asked)
    }

    /// The response to a GET or HEAD, at once: the file is read here if its version is not known.
    ///
    /// # Errors
    ///
    /// As [`Representation::learn`].
    pub(crate) fn answer_here(mut self, identities: &Identities, method: &Method, asked: &HeaderMap) -> Result<Response, Problem> {
        let variant = self.variant();
        let validators = match identities.known(&self.file, variant) {
            Some(validators) => validators,
            None => identities.learn_here(&mut self.file, variant).map_err(Problem::internal)?,
        };
        self.identified(validators).answer(method, asked)
    }

    /// The same with its version, if that is known; else as it is.
    pub(crate) fn identify(self, identities: &Identities) -> Result<Identified, Box<Self>> {
        match identities.known(&self.file, self.variant()) {
            Some(validators) => Ok(self.identified(validators)),
            None => Err(Box::new(self)),
        }
    }

    fn variant(&self) -> &'static str {
        self.encoding.map_or("", Encoding::token)
    }

    fn identified(self, validators: Validators) -> Identified {
        let Opened { file, stamp, content } = self.file;
        let source = content.map_or_else(|| Source::File(Arc::new(file)), Source::Memory);
        let len = source.len(&stamp);
        // So many that the map never grows.
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(CONTENT_TYPE, self.media_type);
        headers.insert(ACCEPT_RANGES, const { HeaderValue::from_static("bytes") });
        if let Some(encoding) = self.encoding {
            headers.insert(CONTENT_ENCODING, encoding.header());
        }
        headers.insert(ETAG, validators.etag.clone());
        if let Some(modified) = validators.modified
            && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(modified))
        {
            headers.insert(LAST_MODIFIED, date);
        }
        if let Some(value) = self.cache_control {
            headers.insert(CACHE_CONTROL, value);
        }
        if self.vary {
            headers.insert(VARY, const { HeaderValue::from_static("Accept-Encoding") });
        }
        headers.insert(CONTENT_LENGTH, len.into());
        Identified { headers, stamp, len, validators, source }
    }
}

impl Source {
    fn len(&self, stamp: &Stamp) -> u64 {
        match self {
            Self::File(_) => stamp.len,
            Self::Memory(octets) => octets.len() as u64,
        }
    }
}

impl Identified {
    /// The response to a GET or HEAD with these headers.
    ///
    /// # Errors
    ///
    /// A precondition that failed (412), an unsatisfiable range (416), or a file that cannot be read.
    pub(crate) fn answer(&self, method: &Method, asked: &HeaderMap) -> Result<Response, Problem> {
        match self.validators.verdict(asked) {
            Verdict::Proceed => {}
            Verdict::Failed => return Err(Problem::new(StatusCode::PRECONDITION_FAILED)),
            Verdict::NotModified => {
                let mut headers = self.headers.clone();
                // Of a 304, only what a cache needs (RFC 9110 section 15.4.5).
                for name in [CONTENT_TYPE, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH] {
                    headers.remove(name);
                }
                return Ok(response(StatusCode::NOT_MODIFIED, headers, Body::empty()));
            }
        }
        // Ranges are defined for GET alone (RFC 9110 section 14.2).
        let ranges = method == Method::GET && self.validators.allow_range(asked);
        match if ranges { RequestedRanges::of(asked, self.len) } else { RequestedRanges::Whole } {
            RequestedRanges::Whole => self.whole(method == Method::HEAD),
            RequestedRanges::Parts(parts) => match <[Range<u64>; 1]>::try_from(parts) {
                Ok([part]) => self.part(part),
                Err(parts) => Ok(self.parts(&parts)),
            },
            RequestedRanges::Unsatisfiable => {
                let size = HeaderValue::try_from(format!("bytes */{}", self.len)).map_err(Problem::internal)?;
                Err(Problem::new(StatusCode::RANGE_NOT_SATISFIABLE).header(CONTENT_RANGE, size))
            }
        }
    }

    /// Reads the file into memory if it is small. Returns how many octets are there; `None` if the file is large, or was changed meanwhile.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(crate) fn load(&mut self) -> Result<Option<usize>, Problem> {
        if let Source::File(file) = &self.source {
            if self.len > SMALL {
                return Ok(None);
            }
            let octets = small(file, 0..self.len)?;
            // The tag is that of the octets only if nothing has changed since the file was opened.
            if Stamp::of(&fstat(file).map_err(Problem::internal)?) != self.stamp {
                return Ok(None);
            }
            self.source = Source::Memory(octets);
        }
        Ok(usize::try_from(self.len).ok())
    }

    fn whole(&self, head: bool) -> Result<Response, Problem> {
        let body = if head { Body::empty() } else { self.body(0..self.len)? };
        Ok(response(StatusCode::OK, self.headers.clone(), body))
    }

    fn part(&self, part: Range<u64>) -> Result<Response, Problem> {
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_RANGE, HeaderValue::try_from(content_range(&part, self.len)).map_err(Problem::internal)?);
        headers.insert(CONTENT_LENGTH, (part.end - part.start).into());
        Ok(response(StatusCode::PARTIAL_CONTENT, headers, self.body(part)?))
    }

    /// `multipart/byteranges` (RFC 9110 section 14.6).
    fn parts(&self, parts: &[Range<u64>]) -> Response {
        let mut headers = self.headers.clone();
        let boundary = Uuid::now_v7().simple().to_string();
        let media_type = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
        let head = |part: &Range<u64>| {
            let range = content_range(part, self.len);
            format!("\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range}\r\n\r\n")
        };
        let end = format!("\r\n--{boundary}--\r\n");
        let body = match &self.source {
            Source::File(file) => {
                let pieces = parts.iter().flat_map(|part| [Piece::Text(head(part).into()), Piece::Part(part.clone())]);
                let pieces = pieces.chain([Piece::Text(end.into())]).collect::<VecDeque<_>>();
                Body::new(FileBody::of_pieces(Arc::clone(file), pieces))
            }
            Source::Memory(octets) => {
                let mut text = Vec::new();
                for part in parts {
                    text.extend_from_slice(head(part).as_bytes());
                    text.extend_from_slice(&slice(octets, part));
                }
                text.extend_from_slice(end.as_bytes());
                Body::from(text)
            }
        };
        headers.insert(CONTENT_LENGTH, http_body::Body::size_hint(&body).lower().into());
        if let Ok(multipart) = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}")) {
            headers.insert(CONTENT_TYPE, multipart);
        }
        response(StatusCode::PARTIAL_CONTENT, headers, body)
    }

    fn body(&self, part: Range<u64>) -> Result<Body, Problem> {
        Ok(match &self.source {
            Source::Memory(octets) => slice(octets, &part).into(),
            Source::File(file) if part.end - part.start <= SMALL => small(file, part)?.into(),
            Source::File(file) => Body::new(FileBody::of_pieces(Arc::clone(file), [Piece::Part(part)])),
        })
    }
}

/// Reads a small part.
fn small(file: &OwnedFd, part: Range<u64>) -> Result<Bytes, Problem> {
    let len = usize::try_from(part.end - part.start).map_err(Problem::internal)?;
    let octets = read(file, part.start, len).map_err(Problem::internal)?;
    if octets.len() < len { Err(Problem::internal("a file became shorter while it was read")) } else { Ok(octets) }
}

fn slice(content: &Bytes, part: &Range<u64>) -> Bytes {
    let at = |octets: u64| usize::try_from(octets).unwrap_or(usize::MAX).min(content.len());
    content.slice(at(part.start)..at(part.end))
}

fn content_range(part: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", part.start, part.end - 1)
}

fn response(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
