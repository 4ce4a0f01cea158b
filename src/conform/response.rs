//! The head of a response, read strictly: what a client library would forgive is a fault here.

use super::body::Framing;

/// The longest head.
const LIMIT: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    /// The octets of the status line and the fields.
    pub(super) length: usize,
    pub(super) framing: Framing,
    /// Whether another response can follow on this connection.
    pub(super) persistent: bool,
    /// The second number of the version.
    pub(super) minor: u8,
    /// The phrase after the status.
    pub(super) phrase: String,
    fields: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// Reads a head, if it is whole. `bodiless` is a response to HEAD.
    pub(super) fn read(octets: &[u8], bodiless: bool) -> Result<Option<Self>, String> {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(octets) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if octets.len() > LIMIT => return Err(format!("a head of more than {LIMIT} octets")),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(format!("not a response of HTTP/1: {error}")),
        };
        let (Some(status), Some(minor)) = (response.code, response.version) else { return Ok(None) };
        let fields = response.headers.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect();
        let phrase = response.reason.unwrap_or_default().to_owned();
        let mut head = Self { status, length, framing: Framing::Bodiless, persistent: false, minor, phrase, fields };
        head.framing = head.framing(minor, bodiless)?;
        head.persistent = head.framing != Framing::Close
            && (minor == 1 || head.has_token("connection", "keep-alive"))
            && !head.has_token("connection", "close");
        Ok(Some(head))
    }

    /// The values of a header.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.values(name).flat_map(|value| value.split(|octet| *octet == b','));
        tokens.any(|one| one.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// RFC 9112 section 6.3.
    fn framing(&self, minor: u8, bodiless: bool) -> Result<Framing, String> {
        let coding: Vec<&[u8]> = self.values("transfer-encoding").collect();
        let lengths: Vec<&[u8]> = self.values("content-length").collect();
        if bodiless || self.status < 200 || matches!(self.status, 204 | 304) {
            return Ok(Framing::Bodiless);
        }
        match (&coding[..], &lengths[..]) {
            ([], []) => Ok(Framing::Close),
            ([], [length]) => {
                let digits = std::str::from_utf8(length).ok().filter(|length| length.bytes().all(|digit| digit.is_ascii_digit()));
                let length = digits.and_then(|length| length.parse().ok());
                length.map(Framing::Length).ok_or_else(|| "`Content-Length` is not a number".to_owned())
            }
            ([], _) => Err("more than one `Content-Length`".to_owned()),
            ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") && minor == 1 => Ok(Framing::Chunked),
            (_, []) => Err("a `Transfer-Encoding` that is not `chunked` once, in HTTP/1.1".to_owned()),
            _ => Err("`Transfer-Encoding` and `Content-Length`".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Framing, String> {
        Head::read(text.as_bytes(), false).map(|head| head.unwrap().framing)
    }

    #[test]
    fn ambiguous_framing_is_an_error() {
        for fields in ["Content-Length: 1\r\nContent-Length: 1", "Transfer-Encoding: chunked\r\nContent-Length: 1", "Content-Length: +1"] {
            assert!(read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n")).is_err(), "{fields}");
        }
        assert!(read("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(read("<html>").is_err());
    }

    #[test]
    fn a_connection_lasts_as_its_version_and_header_say() {
        let lasts = |text: &str| Head::read(text.as_bytes(), false).unwrap().unwrap().persistent;
        assert!(lasts("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
        assert!(!lasts("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n"));
        assert!(!lasts("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"));
        assert!(!lasts("HTTP/1.1 200 OK\r\n\r\n"));
    }
}
