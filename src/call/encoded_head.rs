//! The head of an app's response as octets: checked where the app gives it, and copied as it is to another process.
//!
//! The octets are the status (16 bits), the length of the reason phrase (16; [`NO_REASON`]: the canonical one), the phrase, the number of fields (32),
//! and for each field the lengths of its name (16) and value (32), the name in lower case and the value. Numbers are little endian.

use bytes::{Buf, Bytes};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use ziggurat_middleware::hop_by_hop;

use super::ResponseHead;
use crate::cgi::content_length;

/// In place of the length of a reason phrase.
const NO_REASON: u16 = u16::MAX;

/// The most fields of a response. A [`HeaderMap`] takes a few more.
const MOST_FIELDS: u32 = 16 * 1024;

/// Room for the fields of an ordinary response, in octets.
const ROOM: usize = 256;

/// The lengths before a field, in octets.
const LENGTHS: usize = 6;

/// The most octets of the field `Content-Length`.
const LENGTH_FIELD: usize = LENGTHS + "content-length".len() + "18446744073709551615".len();

/// The head of a response.
#[derive(Debug)]
pub(crate) struct EncodedHead {
    status: StatusCode,
    /// The reason phrase, where it is not the canonical one.
    reason: Option<Box<[u8]>>,
    fields: Vec<u8>,
    count: u32,
    length: Option<u64>,
    /// Whether the length is a field of the response, too. It is the last one.
    has_length_field: bool,
}

/// Why a field is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidField {
    Name,
    Value,
    /// `Content-Length` is no number.
    Length,
    /// It differs from the `Content-Length` before it.
    SecondLength,
    /// There are too many fields.
    Count,
}

impl EncodedHead {
    /// A head without fields. `reason` is the phrase, where it is not the canonical one.
    pub(crate) fn new(status: StatusCode, reason: Option<Box<[u8]>>) -> Self {
        Self { status, reason, fields: Vec::with_capacity(ROOM), count: 0, length: None, has_length_field: false }
    }

    /// Appends a field. Hop-by-hop fields are left out: the server sets them, and apps that do mean no harm.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidField> {
        if name.is_empty() || name.len() >= usize::from(u16::MAX) {
            return Err(InvalidField::Name);
        }
        if !value.iter().fold(true, |is_valid, octet| is_valid & is_of_value(*octet)) {
            return Err(InvalidField::Value);
        }
        let at = self.fields.len();
        self.append(name, value);
        let written = self.fields.get_mut(at + LENGTHS..at + LENGTHS + name.len()).unwrap_or_default();
        for octet in &mut *written {
            *octet = lower_token(*octet).ok_or(InvalidField::Name)?;
        }
        let name = std::str::from_utf8(written).map_err(|_| InvalidField::Name)?;
        if name == CONTENT_LENGTH.as_str() {
            self.fields.truncate(at);
            return self.push_length(value);
        }
        if hop_by_hop::contains(name) {
            self.fields.truncate(at);
            return Ok(());
        }
        self.count += 1;
        if self.count > MOST_FIELDS { Err(InvalidField::Count) } else { Ok(()) }
    }

    fn push_length(&mut self, value: &[u8]) -> Result<(), InvalidField> {
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse().ok()).ok_or(InvalidField::Length)?;
        if self.length.is_some_and(|other| other != length) {
            return Err(InvalidField::SecondLength);
        }
        self.declare(length);
        Ok(())
    }

    fn append(&mut self, name: &[u8], value: &[u8]) {
        // Names are shorter than 64 KiB.
        self.fields.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.fields.extend_from_slice(&to_u32(value.len()).to_le_bytes());
        self.fields.extend_from_slice(name);
        self.fields.extend_from_slice(value);
    }

    /// The status.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The length of the body, as far as it is known.
    pub(crate) const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Sets the length of the body, and the field `Content-Length`.
    pub(crate) const fn declare(&mut self, length: u64) {
        self.length = Some(length);
        self.has_length_field = true;
    }

    /// Sets the length of the body, and no field.
    pub(crate) const fn set_length(&mut self, length: u64) {
        self.length = Some(length);
    }

    /// Removes the length and the field `Content-Length`.
    pub(crate) const fn remove_length(&mut self) {
        self.length = None;
        self.has_length_field = false;
    }

    /// How many octets its fields take up, at most.
    pub(crate) const fn size(&self) -> usize {
        self.fields.len() + LENGTH_FIELD
    }

    /// Appends the octets.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.status.as_u16().to_le_bytes());
        let reason = self.reason.as_deref().and_then(|reason| Some((reason, u16::try_from(reason.len()).ok()?)));
        let (reason, length) = reason.filter(|(_, length)| *length < NO_REASON).unwrap_or((&[], NO_REASON));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(reason);
        let declared = self.length.filter(|_| self.has_length_field);
        out.extend_from_slice(&(self.count + u32::from(declared.is_some())).to_le_bytes());
        out.extend_from_slice(&self.fields);
        if let Some(length) = declared {
            let (name, mut digits) = (CONTENT_LENGTH.as_str().as_bytes(), itoa::Buffer::new());
            let digits = digits.format(length).as_bytes();
            out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(&to_u32(digits.len()).to_le_bytes());
            out.extend_from_slice(name);
            out.extend_from_slice(digits);
        }
    }

    /// The head for this process.
    pub(crate) fn decode(self) -> ResponseHead {
        let mut fields = Bytes::from(self.fields);
        // `push` has checked every field.
        let mut headers = take_fields(&mut fields, self.count).unwrap_or_default();
        if let Some(length) = self.length.filter(|_| self.has_length_field) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        ResponseHead { status: self.status, reason: self.reason, headers, length: self.length, thread: None }
    }
}

impl From<&ResponseHead> for EncodedHead {
    fn from(head: &ResponseHead) -> Self {
        let mut encoded = Self::new(head.status, head.reason.clone());
        for (name, value) in &head.headers {
            encoded.append(name.as_str().as_bytes(), value.as_bytes());
            encoded.count += 1;
        }
        encoded
    }
}

/// Octets that are no head: why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedHead(pub(crate) &'static str);

const SHORT: MalformedHead = MalformedHead("a frame is too short for its kind");

impl ResponseHead {
    /// Takes a head out of octets, and checks it. Its values share the octets.
    pub(crate) fn take(octets: &mut Bytes) -> Result<Self, MalformedHead> {
        let status = StatusCode::from_u16(octets.try_get_u16_le().map_err(|_| SHORT)?)
            .map_err(|_| MalformedHead("the status of a response is not valid"))?;
        let reason = match octets.try_get_u16_le().map_err(|_| SHORT)? {
            NO_REASON => None,
            length => Some(part(octets, length.into())?.to_vec().into_boxed_slice()),
        };
        let count = octets.try_get_u32_le().map_err(|_| SHORT)?;
        let headers = take_fields(octets, count)?;
        let length = content_length(&headers);
        Ok(Self { status, reason, headers, length, thread: None })
    }
}

/// Takes fields out of octets. There is room for one more, the length.
fn take_fields(octets: &mut Bytes, count: u32) -> Result<HeaderMap, MalformedHead> {
    let mut headers = HeaderMap::with_capacity(count.min(64) as usize + 1);
    for _ in 0..count {
        let name = octets.try_get_u16_le().map_err(|_| SHORT)?;
        let value = octets.try_get_u32_le().map_err(|_| SHORT)?;
        let name = usize::from(name);
        let octets_of_name = octets.get(..name).ok_or(SHORT)?;
        let known = HeaderName::from_bytes(octets_of_name).map_err(|_| MalformedHead("the name of a header is not valid"))?;
        octets.advance(name);
        let value = part(octets, value as usize)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| MalformedHead("the value of a header is not valid"))?;
        headers.try_append(known, value).map_err(|_| MalformedHead("a response has too many headers"))?;
    }
    Ok(headers)
}

fn part(octets: &mut Bytes, length: usize) -> Result<Bytes, MalformedHead> {
    if length > octets.len() { Err(SHORT) } else { Ok(octets.split_to(length)) }
}

/// Whether an octet may be in the value of a field (RFC 9110 section 5.5).
const fn is_of_value(octet: u8) -> bool {
    (octet >= b' ' && octet != 0x7f) || octet == b'\t'
}

/// The octet of a name in lower case; `None` if no name has it (RFC 9110 section 5.6.2).
const fn lower_token(octet: u8) -> Option<u8> {
    match octet {
        b'A'..=b'Z' => Some(octet.to_ascii_lowercase()),
        b'a'..=b'z' | b'0'..=b'9' => Some(octet),
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~' => Some(octet),
        _ => None,
    }
}

/// Heads are far shorter than 4 GiB.
fn to_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn head(fields: &[(&[u8], &[u8])]) -> Result<EncodedHead, InvalidField> {
        let mut head = EncodedHead::new(StatusCode::OK, None);
        fields.iter().try_for_each(|(name, value)| head.push(name, value))?;
        Ok(head)
    }

    fn octets_of(head: &EncodedHead) -> Bytes {
        let mut octets = Vec::new();
        head.put(&mut octets);
        octets.into()
    }

    #[test]
    fn names_are_in_lower_case_and_hop_by_hop_fields_left_out() {
        let head = head(&[(b"Content-Type", b"text/plain"), (b"Connection", b"close"), (b"X-A", b"1"), (b"x-a", b"2")]).unwrap();
        let read = head.decode().headers;
        let shown: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(shown, [("content-type", &b"text/plain"[..]), ("x-a", b"1"), ("x-a", b"2")]);
    }

    #[test]
    fn there_is_one_length_whether_the_app_or_the_server_declares_it() {
        let mut declared = head(&[(b"Content-Length", b"5"), (b"content-length", b"05")]).unwrap();
        assert_eq!((declared.length(), ResponseHead::take(&mut octets_of(&declared)).unwrap().length), (Some(5), Some(5)));
        declared.remove_length();
        assert!(ResponseHead::take(&mut octets_of(&declared)).unwrap().headers.is_empty());
        declared.set_length(7);
        assert_eq!((declared.length(), ResponseHead::take(&mut octets_of(&declared)).unwrap().length), (Some(7), None));
        assert_eq!(head(&[(b"content-length", b"5"), (b"content-length", b"6")]).unwrap_err(), InvalidField::SecondLength);
        for value in [&b"+5"[..], b"", b"5,5", b"-1", b"99999999999999999999"] {
            assert_eq!(head(&[(b"content-length", value)]).unwrap_err(), InvalidField::Length);
        }
    }

    #[test]
    fn what_could_split_a_response_is_refused() {
        for name in [&b""[..], b"a b", b"a:", b"a\r\n", b"caf\xe9", &vec![b'a'; 70_000]] {
            assert_eq!(head(&[(name, b"1")]).unwrap_err(), InvalidField::Name, "{}", name.escape_ascii());
        }
        for value in [&b"a\r\nb: c"[..], b"a\n", b"\0", b"\x7f"] {
            assert_eq!(head(&[(b"a", value)]).unwrap_err(), InvalidField::Value, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        let mut head = EncodedHead::new(StatusCode::OK, None);
        for nth in 0..MOST_FIELDS {
            head.push(format!("x-{nth}").as_bytes(), b"").unwrap();
        }
        assert_eq!(ResponseHead::take(&mut octets_of(&head)).unwrap().headers.len(), MOST_FIELDS as usize);
        assert_eq!(head.push(b"x", b""), Err(InvalidField::Count));
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_what_the_server_takes(
            name in vec(any::<u8>(), 0..12),
            value in vec(any::<u8>(), 0..12),
            reason in proptest::option::of(vec(any::<u8>(), 0..8)),
        ) {
            let mut head = EncodedHead::new(StatusCode::OK, reason.clone().map(Vec::into_boxed_slice));
            let pushed = head.push(&name, &value);
            let is_valid = HeaderName::from_bytes(&name).is_ok() && HeaderValue::from_bytes(&value).is_ok();
            // What is refused here and not there only is `"`, which is in no token.
            prop_assert!(pushed.is_ok() == is_valid || name.contains(&b'"'));
            let is_kept = HeaderName::from_bytes(&name).is_ok_and(|name| !hop_by_hop::contains(&name) && name != CONTENT_LENGTH);
            if pushed.is_ok() && is_kept {
                let read = ResponseHead::take(&mut octets_of(&head)).unwrap();
                prop_assert_eq!(read.reason.as_deref(), reason.as_deref());
                prop_assert_eq!(&read.headers[HeaderName::from_bytes(&name).unwrap()], &value[..]);
                prop_assert_eq!(head.decode().headers, read.headers);
            }
        }
    }
}
