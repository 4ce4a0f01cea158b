//! FastCGI 1.0: records, and what stands in them. Section numbers are those of the specification.

pub(crate) mod pairs;
mod record;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Malformed, Variables};
pub(crate) use record::{Kind, Record, write_stream};

/// What a front server wants of an app (section 6.1). The other roles are those of filters and authorizers.
pub(crate) const RESPONDER: u16 = 1;

/// The content of a record that begins a request (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) role: u16,
    /// Whether the connection goes on after the response.
    pub(crate) keeps_connection: bool,
}

impl Begin {
    const KEEP: u8 = 1;

    pub(crate) fn read(content: &[u8]) -> Result<Self, Malformed> {
        let [high, low, flags, ..] = *content else { return Err(Malformed::Syntax("FCGI_BEGIN_REQUEST is too short")) };
        if content.len() != 8 {
            return Err(Malformed::Syntax("FCGI_BEGIN_REQUEST does not have 8 octets"));
        }
        Ok(Self { role: u16::from_be_bytes([high, low]), keeps_connection: flags & Self::KEEP != 0 })
    }

    pub(crate) fn to_octets(self) -> [u8; 8] {
        let [high, low] = self.role.to_be_bytes();
        [high, low, u8::from(self.keeps_connection), 0, 0, 0, 0, 0]
    }
}

/// How a request ended (section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ProtocolStatus {
    Complete = 0,
    CannotMultiplex = 1,
    Overloaded = 2,
    UnknownRole = 3,
}

/// The content of a record that ends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The exit status of a CGI program.
    pub(crate) app_status: u32,
    pub(crate) status: ProtocolStatus,
}

impl End {
    pub(crate) fn read(content: &[u8]) -> Result<Self, Malformed> {
        let [a, b, c, d, status, _, _, _] = *content else {
            return Err(Malformed::Syntax("FCGI_END_REQUEST does not have 8 octets"));
        };
        let status = match status {
            0 => ProtocolStatus::Complete,
            1 => ProtocolStatus::CannotMultiplex,
            2 => ProtocolStatus::Overloaded,
            3 => ProtocolStatus::UnknownRole,
            _ => return Err(Malformed::Syntax("FCGI_END_REQUEST has a status that does not exist")),
        };
        Ok(Self { app_status: u32::from_be_bytes([a, b, c, d]), status })
    }

    pub(crate) fn to_octets(self) -> [u8; 8] {
        let [a, b, c, d] = self.app_status.to_be_bytes();
        [a, b, c, d, self.status as u8, 0, 0, 0]
    }
}

/// The answer to FCGI_GET_VALUES (section 4.1): of the variables that were asked for, those that exist. A connection carries one request at a time.
pub(crate) fn values(asked: &Variables, connections: usize, out: &mut BytesMut) {
    let connections = connections.to_string();
    let known = [("FCGI_MAX_CONNS", &*connections), ("FCGI_MAX_REQS", &connections), ("FCGI_MPXS_CONNS", "0")];
    let answers = known.into_iter().filter(|(name, _)| asked.get(name).is_some());
    let mut content = BytesMut::new();
    pairs::write(&answers.collect(), &mut content);
    Record { kind: Kind::GET_VALUES_RESULT, id: 0, content: content.freeze() }.write(out);
}

/// The answer to a management record of a kind that is not known (section 4.2).
pub(crate) fn unknown_kind(kind: Kind, out: &mut BytesMut) {
    let content = Bytes::copy_from_slice(&[kind.0, 0, 0, 0, 0, 0, 0, 0]);
    Record { kind: Kind::UNKNOWN, id: 0, content }.write(out);
}

/// The record that ends a request.
pub(crate) fn end(id: u16, status: ProtocolStatus, out: &mut BytesMut) {
    let content = Bytes::copy_from_slice(&End { app_status: 0, status }.to_octets());
    Record { kind: Kind::END_REQUEST, id, content }.write(out);
}

/// The records that begin a request and carry its variables.
pub(crate) fn begin(id: u16, variables: &Variables, out: &mut BytesMut) {
    let begin = Begin { role: RESPONDER, keeps_connection: false };
    Record { kind: Kind::BEGIN_REQUEST, id, content: Bytes::copy_from_slice(&begin.to_octets()) }.write(out);
    let mut content = BytesMut::new();
    pairs::write(variables, &mut content);
    write_stream(Kind::PARAMS, id, &content, out);
    out.put_slice(&Record::header(Kind::PARAMS, id, 0, 0));
}
