//! The response with an open file: conditions, ranges, headers.

use std::ops::Range;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use uuid::Uuid;

use super::body::{FileBody, Piece, read};
use super::conditions::{Validators, Verdict};
use super::identity::Identities;
use super::ranges::RequestedRanges;
use super::root::Opened;
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
struct Identified {
    file: Representation,
    len: u64,
    validators: Validators,
}

impl Representation {
    /// The response to a GET or HEAD with these headers, if the version of the file is known.
    pub(crate) fn answer(self, identities: &Identities, method: &Method, asked: &HeaderMap) -> Answer {
        match identities.known(&self.file, self.variant()) {
            Some(validators) => Answer::Now(self.identified(validators).answer(method, asked)),
            None => Answer::Later(self),
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

    fn variant(&self) -> &'static str {
        self.encoding.map_or("", Encoding::token)
    }

    fn identified(self, validators: Validators) -> Identified {
        Identified { len: self.file.len(), file: self, validators }
    }
}

impl Identified {
    fn answer(self, method: &Method, asked: &HeaderMap) -> Result<Response, Problem> {
        match self.validators.verdict(asked) {
            Verdict::Proceed => {}
            Verdict::Failed => return Err(Problem::new(StatusCode::PRECONDITION_FAILED)),
            Verdict::NotModified => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                self.shared_headers(response.headers_mut());
                return Ok(response);
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

    fn whole(self, head: bool) -> Result<Response, Problem> {
        let mut headers = self.headers();
        headers.insert(CONTENT_LENGTH, self.len.into());
        let all = 0..self.len;
        let body = if head { Body::empty() } else { self.body(all)? };
        Ok(response(StatusCode::OK, headers, body))
    }

    fn part(self, part: Range<u64>) -> Result<Response, Problem> {
        let mut headers = self.headers();
        headers.insert(CONTENT_RANGE, HeaderValue::try_from(content_range(&part, self.len)).map_err(Problem::internal)?);
        headers.insert(CONTENT_LENGTH, (part.end - part.start).into());
        Ok(response(StatusCode::PARTIAL_CONTENT, headers, self.body(part)?))
    }

    /// `multipart/byteranges` (RFC 9110 section 14.6).
    fn parts(self, parts: &[Range<u64>]) -> Response {
        let mut headers = self.headers();
        let boundary = Uuid::now_v7().simple().to_string();
        let media_type = String::from_utf8_lossy(self.file.media_type.as_bytes());
        let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
        for part in parts {
            let range = content_range(part, self.len);
            let head = format!("\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range}\r\n\r\n");
            pieces.push(Piece::Text(head.into()));
            pieces.push(match &self.file.file.content {
                Some(content) => Piece::Text(slice(content, part)),
                None => Piece::Part(part.clone()),
            });
        }
        pieces.push(Piece::Text(format!("\r\n--{boundary}--\r\n").into()));
        if let Ok(multipart) = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}")) {
            headers.insert(CONTENT_TYPE, multipart);
        }
        let body = FileBody::of_pieces(self.file.file.file, pieces);
        headers.insert(CONTENT_LENGTH, http_body::Body::size_hint(&body).lower().into());
        response(StatusCode::PARTIAL_CONTENT, headers, Body::new(body))
    }

    fn body(self, part: Range<u64>) -> Result<Body, Problem> {
        if let Some(content) = &self.file.file.content {
            return Ok(slice(content, &part).into());
        }
        let file = self.file.file.file;
        match usize::try_from(part.end - part.start) {
            Ok(0) => Ok(Body::empty()),
            Ok(len) if len as u64 <= SMALL => {
                let bytes: Bytes = read(&file, part.start, len).map_err(Problem::internal)?;
                if bytes.len() < len { Err(Problem::internal("a file became shorter while it was read")) } else { Ok(bytes.into()) }
            }
            _ => Ok(Body::new(FileBody::new(file, part))),
        }
    }

    fn headers(&self) -> HeaderMap {
        // So many that the map never grows.
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(CONTENT_TYPE, self.file.media_type.clone());
        headers.insert(ACCEPT_RANGES, const { HeaderValue::from_static("bytes") });
        if let Some(encoding) = self.file.encoding {
            headers.insert(CONTENT_ENCODING, encoding.header());
        }
        self.shared_headers(&mut headers);
        headers
    }

    /// Headers that a 304 has, too (RFC 9110 section 15.4.5).
    fn shared_headers(&self, headers: &mut HeaderMap) {
        headers.insert(ETAG, self.validators.etag.clone());
        if let Some(modified) = self.validators.modified
            && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(modified))
        {
            headers.insert(LAST_MODIFIED, date);
        }
        if let Some(value) = &self.file.cache_control {
            headers.insert(CACHE_CONTROL, value.clone());
        }
        if self.file.vary {
            headers.insert(VARY, const { HeaderValue::from_static("Accept-Encoding") });
        }
    }
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
