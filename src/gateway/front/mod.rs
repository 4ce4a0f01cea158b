//! A front server's side of a connection: the requests that it sends, and how responses go back to it. A state machine per protocol, without sockets.

mod cgi;
mod fastcgi;
mod packet;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};

pub(crate) use self::cgi::CgiFront;
pub(crate) use self::fastcgi::FastCgiFront;
pub(crate) use self::packet::{PacketFront, PacketProtocol};
use super::{Malformed, StatusForm, Variables};

/// What a front server has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A request begins. The second part is the length of its body; `None` if that is not known, and the body is not empty.
    Request(Variables, Option<u64>),
    /// Octets of its body.
    Data(Bytes),
    /// Its body is complete.
    End,
    /// The front server does not want the response any more. It still gets the end of it.
    Abort,
    /// Something to send back at once that concerns no request under way.
    Reply(Bytes),
}

/// One connection of a front server. What has a default is so for one request whose response is as it is, up to the end of the connection.
pub(crate) trait Front: Send + 'static {
    /// How the head of a response is written.
    fn form(&self) -> StatusForm;

    /// Takes what stands at the beginning of `octets`; `None` if it is not complete.
    fn take(&mut self, octets: &mut BytesMut) -> Result<Option<Event>, Malformed>;

    /// Appends octets of the response to the current request.
    fn write(&self, octets: &[u8], out: &mut BytesMut) {
        out.extend_from_slice(octets);
    }

    /// Appends the end of the response. Behind it and the end of the request's body, the next request may come.
    fn end(&mut self, out: &mut BytesMut) {
        let _ = out;
    }

    /// Appends what shows that the response is not complete, if the protocol has a way to. The connection ends.
    fn break_off(&self, out: &mut BytesMut) {
        let _ = out;
    }

    /// Whether a response can be sent now.
    fn awaits_response(&self) -> bool {
        true
    }

    /// Whether a response is read though what is sent has ended in the midst of a request.
    fn answers_behind_end(&self) -> bool {
        false
    }

    /// Whether a further request may come after the current one.
    fn goes_on(&self) -> bool {
        false
    }
}

/// The length of the body, if the variables have one. An empty value is none (RFC 3875 section 4.1.2).
fn content_length(variables: &Variables) -> Result<Option<u64>, Malformed> {
    const NAME: &[u8] = b"CONTENT_LENGTH";
    let mut lengths = variables.iter().filter(|(name, _)| *name == NAME).map(|(_, value)| value);
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return Err(Malformed::Syntax("the request has two variables `CONTENT_LENGTH`"));
    }
    if length.is_empty() {
        return Ok(None);
    }
    let is_number = length.len() <= 18 && length.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(length).ok().filter(|_| is_number).and_then(|figures| figures.parse().ok());
    number.map(Some).ok_or(Malformed::Syntax("`CONTENT_LENGTH` is not a length"))
}
