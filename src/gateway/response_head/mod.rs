//! The head of a response as CGI programs write it (RFC 3875 section 6), or as "nph" programs and uWSGI do: with the status line of HTTP.

mod read;

use bytes::{BufMut, BytesMut};
use http::StatusCode;
use http::header::HeaderMap;

/// Status and headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

/// How the status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusForm {
    /// `HTTP/1.1 200 OK`.
    Line,
    /// `Status: 200 OK`.
    Field,
}

impl ResponseHead {
    /// Appends the head, the empty line included.
    pub(crate) fn write(form: StatusForm, status: StatusCode, headers: &HeaderMap, out: &mut BytesMut) {
        out.put_slice(match form {
            StatusForm::Line => b"HTTP/1.1 ",
            StatusForm::Field => b"Status: ",
        });
        out.put_slice(status.as_str().as_bytes());
        out.put_u8(b' ');
        out.put_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
        out.put_slice(b"\r\n");
        for (name, value) in headers {
            out.put_slice(name.as_str().as_bytes());
            out.put_slice(b": ");
            out.put_slice(value.as_bytes());
            out.put_slice(b"\r\n");
        }
        out.put_slice(b"\r\n");
    }
}
