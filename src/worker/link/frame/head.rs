//! The head of a response in a frame.

use bytes::{Buf, Bytes};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{HEAD, LARGEST, LARGEST_INLINE, Malformed, SHORT, size};
use crate::call::ResponseHead;
use crate::cgi::content_length;

/// Whether the head of a response fits in one frame, together with a short body.
pub(crate) fn fits(head: &ResponseHead) -> bool {
    let headers: usize = head.headers.iter().map(|(name, value)| 6 + name.as_str().len() + value.len()).sum();
    headers <= LARGEST - LARGEST_INLINE - usize::from(NO_REASON) - HEAD
}

const NO_REASON: u16 = u16::MAX;

/// Status, reason phrase, headers.
pub(super) fn put_head(out: &mut Vec<u8>, head: &ResponseHead) {
    out.extend_from_slice(&head.status.as_u16().to_le_bytes());
    let reason = head.reason.as_deref().filter(|reason| reason.len() < usize::from(NO_REASON));
    out.extend_from_slice(&reason.map_or(NO_REASON, short).to_le_bytes());
    out.extend_from_slice(reason.unwrap_or_default());
    out.extend_from_slice(&size(head.headers.len()).to_le_bytes());
    for (name, value) in &head.headers {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        out.extend_from_slice(&short(name).to_le_bytes());
        out.extend_from_slice(&size(value.len()).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
}

/// Names of headers are shorter than 64 KiB (`http` refuses others), and so is the reason phrase.
fn short(octets: &[u8]) -> u16 {
    u16::try_from(octets.len()).unwrap_or(NO_REASON)
}

pub(super) fn take_head(payload: &mut Bytes) -> Result<ResponseHead, Malformed> {
    let status = StatusCode::from_u16(payload.try_get_u16_le().map_err(|_| SHORT)?)
        .map_err(|_| Malformed("the status of a response is not valid"))?;
    let reason = match payload.try_get_u16_le().map_err(|_| SHORT)? {
        NO_REASON => None,
        length => Some(part(payload, length.into())?.to_vec().into_boxed_slice()),
    };
    let count = payload.try_get_u32_le().map_err(|_| SHORT)? as usize;
    let mut headers = HeaderMap::with_capacity(count.min(64));
    for _ in 0..count {
        let name = payload.try_get_u16_le().map_err(|_| SHORT)?;
        let value = payload.try_get_u32_le().map_err(|_| SHORT)?;
        let name = HeaderName::from_bytes(&part(payload, name.into())?).map_err(|_| Malformed("the name of a header is not valid"))?;
        let value = part(payload, value as usize)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Malformed("the value of a header is not valid"))?;
        headers.try_append(name, value).map_err(|_| Malformed("a response has too many headers"))?;
    }
    let length = content_length(&headers);
    Ok(ResponseHead { status, reason, headers, length })
}

fn part(payload: &mut Bytes, length: usize) -> Result<Bytes, Malformed> {
    if length > payload.len() { Err(SHORT) } else { Ok(payload.split_to(length)) }
}
