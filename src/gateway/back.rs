//! An app's side of a connection: how a request goes to it, and what comes back. A state machine per protocol, without sockets.

use bytes::{BufMut, Bytes, BytesMut};

use super::fastcgi::{End, Kind, ProtocolStatus, Record, begin, write_stream};
use super::{Malformed, ResponseHead, Variables, scgi, uwsgi};

/// The protocol of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackProtocol {
    FastCgi,
    Scgi,
    Uwsgi { modifier1: u8, modifier2: u8 },
}

/// What an app has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Head(ResponseHead),
    /// Octets of the body.
    Data(Bytes),
    /// Octets for the log.
    Stderr(Bytes),
    /// The response is complete.
    End,
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoResponse {
    Malformed(Malformed),
    /// The app takes no further request now.
    Overloaded,
    /// The connection ended before the response.
    Cut,
}

impl From<Malformed> for NoResponse {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// One exchange with an app.
#[derive(Debug)]
pub(crate) struct Back {
    protocol: BackProtocol,
    /// What has come of the head.
    head: BytesMut,
    has_head: bool,
}

/// The largest head of a response.
const HEAD: usize = 64 << 10;

/// The id of every FastCGI request: a connection carries one.
const ID: u16 = 1;

impl Back {
    pub(crate) fn new(protocol: BackProtocol) -> Self {
        Self { protocol, head: BytesMut::new(), has_head: false }
    }

    /// Appends the beginning of a request.
    ///
    /// # Errors
    ///
    /// If the protocol cannot carry the variables.
    pub(crate) fn begin(&self, variables: &Variables, length: u64, out: &mut BytesMut) -> Result<(), Malformed> {
        match self.protocol {
            BackProtocol::FastCgi => begin(ID, variables, out),
            BackProtocol::Scgi => out.put_slice(&scgi::write(variables, length)?),
            BackProtocol::Uwsgi { modifier1, modifier2 } => {
                out.put_slice(&uwsgi::write(&uwsgi::Packet { modifier1, modifier2, variables: variables.clone() })?);
            }
        }
        Ok(())
    }

    /// Appends octets of the request's body.
    pub(crate) fn write(&self, octets: &[u8], out: &mut BytesMut) {
        match self.protocol {
            BackProtocol::FastCgi => write_stream(Kind::STDIN, ID, octets, out),
            BackProtocol::Scgi | BackProtocol::Uwsgi { .. } => out.put_slice(octets),
        }
    }

    /// Appends the end of the request's body.
    pub(crate) fn end(&self, out: &mut BytesMut) {
        if self.protocol == BackProtocol::FastCgi {
            Record { kind: Kind::STDIN, id: ID, content: Bytes::new() }.write(out);
        }
    }

    /// Takes what stands at the beginning of `octets`; `None` if it is not complete.
    pub(crate) fn take(&mut self, octets: &mut BytesMut) -> Result<Option<Event>, NoResponse> {
        if self.protocol != BackProtocol::FastCgi {
            if self.has_head {
                return Ok((!octets.is_empty()).then(|| Event::Data(octets.split().freeze())));
            }
            let head = ResponseHead::take(octets, HEAD)?;
            self.has_head = head.is_some();
            return Ok(head.map(Event::Head));
        }
        // What stands behind the head in its record.
        if self.has_head && !self.head.is_empty() {
            return Ok(Some(Event::Data(self.head.split().freeze())));
        }
        while let Some(record) = Record::take(octets)? {
            match record.kind {
                _ if record.id == 0 => {}
                _ if record.id != ID => return Err(Malformed::Syntax("a FastCGI record belongs to no request").into()),
                Kind::STDOUT if record.content.is_empty() => {}
                Kind::STDOUT if self.has_head => return Ok(Some(Event::Data(record.content))),
                Kind::STDOUT => {
                    self.head.put_slice(&record.content);
                    if let Some(head) = ResponseHead::take(&mut self.head, HEAD)? {
                        self.has_head = true;
                        return Ok(Some(Event::Head(head)));
                    }
                }
                Kind::STDERR if record.content.is_empty() => {}
                Kind::STDERR => return Ok(Some(Event::Stderr(record.content))),
                Kind::END_REQUEST => return self.ended(&record.content).map(Some),
                _ => return Err(Malformed::Syntax("a FastCGI record has a type that an app does not send").into()),
            }
        }
        Ok(None)
    }

    /// How much of the body is to be taken from `octets`, if they have the whole rest of the response. Looks at them alone.
    pub(crate) fn rest(&self, octets: &[u8]) -> Option<u64> {
        if self.protocol != BackProtocol::FastCgi {
            return None;
        }
        let mut length = self.head.len() as u64;
        for (kind, id, content) in Record::iter(octets) {
            match kind {
                _ if id == 0 => {}
                _ if id != ID => return None,
                Kind::STDOUT => length += content.len() as u64,
                Kind::STDERR => {}
                Kind::END_REQUEST => {
                    return End::read(content).is_ok_and(|end| end.status == ProtocolStatus::Complete).then_some(length);
                }
                _ => return None,
            }
        }
        None
    }

    fn ended(&self, content: &[u8]) -> Result<Event, NoResponse> {
        match End::read(content)?.status {
            ProtocolStatus::Complete if self.has_head => Ok(Event::End),
            ProtocolStatus::Complete => Err(Malformed::Syntax("the FastCGI request ended without the head of a response").into()),
            ProtocolStatus::Overloaded | ProtocolStatus::CannotMultiplex => Err(NoResponse::Overloaded),
            ProtocolStatus::UnknownRole => Err(Malformed::Syntax("the FastCGI app is no responder").into()),
        }
    }

    /// The app has closed the connection.
    pub(crate) fn closed(&self) -> Result<Event, NoResponse> {
        if self.has_head && self.protocol != BackProtocol::FastCgi { Ok(Event::End) } else { Err(NoResponse::Cut) }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::gateway::testing::{self, record};

    fn events(protocol: BackProtocol, octets: &[u8], size: usize) -> Result<Vec<Event>, NoResponse> {
        let mut back = Back::new(protocol);
        testing::events(octets, size, |held| back.take(held), |event| if let Event::Data(data) = event { Some(data) } else { None })
    }

    const END: [u8; 8] = [0; 8];

    #[test]
    fn a_response_in_records_is_a_head_a_body_and_lines_for_the_log() {
        let octets = [
            record(Kind::STDERR, ID, b"PHP Warning: x"),
            record(Kind::STDOUT, ID, b"Status: 404 Not Found\r\nContent-"),
            record(Kind::STDOUT, ID, b"Type: a/b\r\n\r\nbegin"),
            record(Kind::STDOUT, ID, b" and end"),
            record(Kind::STDOUT, ID, b""),
            record(Kind::STDERR, ID, b""),
            record(Kind::END_REQUEST, ID, &END),
        ]
        .concat();
        for size in [1, 7, 1000] {
            let found = events(BackProtocol::FastCgi, &octets, size).unwrap();
            let [Event::Stderr(line), Event::Head(head), Event::Data(body), Event::End] = &found[..] else { panic!("{found:?}") };
            assert_eq!((&**line, head.status, &**body), (&b"PHP Warning: x"[..], StatusCode::NOT_FOUND, &b"begin and end"[..]));
        }
    }

    #[test]
    fn what_is_no_response_is_told_apart_from_one_that_is_cut() {
        let end = |status: u8| record(Kind::END_REQUEST, ID, &[0, 0, 0, 0, status, 0, 0, 0]);
        let fails = |octets: &[u8]| events(BackProtocol::FastCgi, octets, 100).unwrap_err();
        assert_eq!([fails(&end(1)), fails(&end(2))], [NoResponse::Overloaded; 2]);
        for octets in [
            end(0),
            end(3),
            end(9),
            record(Kind::STDOUT, 2, b"x"),
            record(Kind::STDOUT, ID, b"no head\n\n"),
            record(Kind::PARAMS, ID, b""),
            record(Kind::END_REQUEST, ID, b"short"),
            b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        ] {
            assert!(matches!(fails(&octets), NoResponse::Malformed(_)), "{octets:?}");
        }
        let mut back = Back::new(BackProtocol::FastCgi);
        back.take(&mut BytesMut::from(&record(Kind::STDOUT, ID, b"Status: 200\n\nx")[..])).unwrap();
        assert_eq!(back.closed(), Err(NoResponse::Cut));
    }

    #[test]
    fn a_response_that_has_come_whole_has_a_length() {
        let head = record(Kind::STDOUT, ID, b"Status: 200\n\nbody");
        let more = [record(Kind::STDERR, ID, b"noise"), record(Kind::STDOUT, ID, b" and more"), record(Kind::STDOUT, ID, b"")].concat();
        let end = record(Kind::END_REQUEST, ID, &END);
        let rest = |protocol, octets: &[&[u8]]| {
            let (mut back, mut held) = (Back::new(protocol), BytesMut::from(&octets.concat()[..]));
            assert!(matches!(back.take(&mut held).unwrap(), Some(Event::Head(_))));
            back.rest(&held)
        };
        assert_eq!(rest(BackProtocol::FastCgi, &[&head, &end]), Some(4));
        assert_eq!(rest(BackProtocol::FastCgi, &[&head, &more, &end]), Some(13));
        let overloaded = record(Kind::END_REQUEST, ID, &[0, 0, 0, 0, 2, 0, 0, 0]);
        let (other, params) = (record(Kind::STDOUT, 2, b"x"), record(Kind::PARAMS, ID, b"x"));
        for octets in [
            &[&head[..], &more][..],
            &[&head, &more, &end[..10]],
            &[&head, &overloaded],
            &[&head, b"\x02", &end],
            &[&head, &other, &end],
            &[&head, &params, &end],
        ] {
            assert_eq!(rest(BackProtocol::FastCgi, octets), None, "{octets:?}");
        }
        assert_eq!(rest(BackProtocol::Scgi, &[b"Status: 200\n\n", &end]), None);
    }

    #[test]
    fn without_records_the_connection_ends_the_response() {
        for protocol in [BackProtocol::Scgi, BackProtocol::Uwsgi { modifier1: 0, modifier2: 0 }] {
            let found = events(protocol, b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nbody", 3).unwrap();
            assert!(matches!(&found[..], [Event::Head(_), Event::Data(body)] if &**body == b"body"), "{found:?}");
            let mut back = Back::new(protocol);
            assert_eq!(back.closed(), Err(NoResponse::Cut));
            back.take(&mut BytesMut::from(&b"Status: 200\n\n"[..])).unwrap();
            assert_eq!(back.closed(), Ok(Event::End));
        }
    }
}
