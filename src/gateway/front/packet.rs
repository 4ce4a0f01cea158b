//! Front servers that speak uwsgi or SCGI: the variables, then the body. The connection carries one request; its end is the end of the response.

use bytes::BytesMut;

use super::{Event, Front, content_length};
use crate::gateway::{Malformed, StatusForm, Variables, scgi, uwsgi};

/// The protocol of the variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketProtocol {
    Scgi,
    Uwsgi,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct PacketFront {
    protocol: PacketProtocol,
    /// The most octets of variables.
    most: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Head,
    /// So much of the body is to come.
    Body(u64),
    Over,
}

impl PacketFront {
    pub(crate) const fn new(protocol: PacketProtocol, most: usize) -> Self {
        Self { protocol, most, state: State::Head }
    }

    fn take_variables(&self, octets: &mut BytesMut) -> Result<Option<Variables>, Malformed> {
        match self.protocol {
            PacketProtocol::Scgi => scgi::take(octets, self.most),
            // Other plugins of uWSGI have other numbers, and so has another protocol: the rest is not waited for.
            PacketProtocol::Uwsgi if octets.first().is_some_and(|modifier| *modifier != 0) => {
                Err(Malformed::Syntax("the connection does not begin with a uwsgi packet for a Python app, whose modifier is 0"))
            }
            PacketProtocol::Uwsgi => Ok(uwsgi::take(octets, self.most)?.map(|packet| packet.variables)),
        }
    }
}

impl Front for PacketFront {
    /// uWSGI begins its responses with the status line of HTTP. SCGI's are those of CGI.
    fn form(&self) -> StatusForm {
        match self.protocol {
            PacketProtocol::Scgi => StatusForm::Field,
            PacketProtocol::Uwsgi => StatusForm::Line,
        }
    }

    fn take(&mut self, octets: &mut BytesMut) -> Result<Option<Event>, Malformed> {
        match self.state {
            State::Head => {
                let Some(variables) = self.take_variables(octets)? else { return Ok(None) };
                let length = content_length(&variables)?.unwrap_or_default();
                self.state = State::Body(length);
                Ok(Some(Event::Request(variables, Some(length))))
            }
            State::Body(0) => {
                self.state = State::Over;
                Ok(Some(Event::End))
            }
            State::Body(_) if octets.is_empty() => Ok(None),
            State::Body(left) => {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(octets.len());
                self.state = State::Body(left - length as u64);
                Ok(Some(Event::Data(octets.split_to(length).freeze())))
            }
            State::Over if octets.is_empty() => Ok(None),
            State::Over => Err(Malformed::Syntax("there are octets behind the request, whose body is longer than `CONTENT_LENGTH` says")),
        }
    }
}
