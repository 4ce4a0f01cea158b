//! Front servers that speak FastCGI. A connection carries one request at a time and, if the front server wants that, many one after the other.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Event, Front, content_length};
use crate::gateway::fastcgi::{Begin, Kind, ProtocolStatus, RESPONDER, Record, end, pairs, unknown_kind, values, write_stream};
use crate::gateway::{Malformed, StatusForm, Variables};

/// A connection.
#[derive(Debug)]
pub(crate) struct FastCgiFront {
    /// The most octets of variables, and the number of connections that are told when they are asked for.
    most: usize,
    connections: usize,
    state: State,
    /// What the last record says as well.
    next: Option<Event>,
    /// The request under way, or the one before.
    id: u16,
    /// Whether the front server wants the connection to go on.
    keeps_connection: bool,
}

#[derive(Debug)]
enum State {
    /// No request is under way.
    Between,
    /// The octets of FCGI_PARAMS so far.
    Params(BytesMut),
    /// The variables of a request without `CONTENT_LENGTH`. The first record of the body tells whether it is empty.
    First(Variables),
    Body(Body),
    /// The body is complete.
    Complete,
}

/// A body that is not complete.
#[derive(Debug)]
struct Body {
    /// What `CONTENT_LENGTH` says is to come; `None` if it says nothing.
    left: Option<u64>,
    /// The response is complete, so the request ends with its body.
    is_answered: bool,
}

impl FastCgiFront {
    pub(crate) const fn new(most: usize, connections: usize) -> Self {
        Self { most, connections, state: State::Between, next: None, id: 0, keeps_connection: true }
    }

    /// The answer to a record of no request (section 4).
    fn manage(&self, record: &Record) -> Result<Event, Malformed> {
        let mut reply = BytesMut::new();
        match record.kind {
            Kind::GET_VALUES => values(&pairs::read(&record.content)?, self.connections, &mut reply),
            Kind::BEGIN_REQUEST | Kind::ABORT_REQUEST | Kind::PARAMS | Kind::STDIN => {
                return Err(Malformed::Syntax("a FastCGI record of a request has the id 0"));
            }
            kind => unknown_kind(kind, &mut reply),
        }
        Ok(Event::Reply(reply.freeze()))
    }

    /// A record that begins a request. The answer, if it is refused.
    fn begin(&mut self, id: u16, content: &[u8]) -> Result<Option<Event>, Malformed> {
        let begin = Begin::read(content)?;
        let status = match self.state {
            State::Between if begin.role == RESPONDER => {
                (self.id, self.keeps_connection) = (id, begin.keeps_connection);
                self.state = State::Params(BytesMut::new());
                return Ok(None);
            }
            State::Between => {
                self.keeps_connection = begin.keeps_connection;
                ProtocolStatus::UnknownRole
            }
            _ if id == self.id => return Err(Malformed::Syntax("a FastCGI request begins twice")),
            _ => ProtocolStatus::CannotMultiplex,
        };
        let mut reply = BytesMut::new();
        end(id, status, &mut reply);
        Ok(Some(Event::Reply(reply.freeze())))
    }

    fn params(&mut self, content: &Bytes) -> Result<Option<Event>, Malformed> {
        let State::Params(stream) = &mut self.state else {
            return Err(Malformed::Syntax("FCGI_PARAMS comes behind the end of the variables"));
        };
        if stream.len() + content.len() > self.most {
            return Err(Malformed::TooLarge("the variables of the FastCGI request are too long"));
        }
        stream.put_slice(content);
        if !content.is_empty() {
            return Ok(None);
        }
        let variables = pairs::read(&std::mem::take(stream))?;
        let length = content_length(&variables)?;
        if length.is_none() {
            self.state = State::First(variables);
            return Ok(None);
        }
        self.state = State::Body(Body { left: length, is_answered: false });
        Ok(Some(Event::Request(variables, length)))
    }

    fn stdin(&mut self, content: Bytes) -> Result<Option<Event>, Malformed> {
        if let State::First(variables) = &mut self.state {
            let request = Event::Request(std::mem::take(variables), content.is_empty().then_some(0));
            self.state = State::Body(Body { left: None, is_answered: false });
            self.next = self.stdin(content)?;
            return Ok(Some(request));
        }
        let State::Body(Body { left, is_answered }) = &mut self.state else {
            return Err(Malformed::Syntax("FCGI_STDIN does not come between the variables and the end of the body"));
        };
        if content.is_empty() {
            if left.is_some_and(|left| left > 0) {
                return Err(Malformed::Syntax("the body of the FastCGI request is shorter than `CONTENT_LENGTH` says"));
            }
            self.state = if *is_answered { State::Between } else { State::Complete };
            return Ok(Some(Event::End));
        }
        if let Some(left) = left {
            let rest = left.checked_sub(content.len() as u64);
            *left = rest.ok_or(Malformed::Syntax("the body of the FastCGI request is longer than `CONTENT_LENGTH` says"))?;
        }
        Ok(Some(Event::Data(content)))
    }

    fn abort(&mut self) -> Option<Event> {
        match self.state {
            State::Between => None,
            State::Params(_) | State::First(_) => {
                let mut reply = BytesMut::new();
                self.end(&mut reply);
                Some(Event::Reply(reply.freeze()))
            }
            State::Body(Body { is_answered: true, .. }) => {
                self.state = State::Between;
                Some(Event::End)
            }
            State::Body(_) | State::Complete => {
                self.state = State::Complete;
                Some(Event::Abort)
            }
        }
    }
}

impl Front for FastCgiFront {
    fn form(&self) -> StatusForm {
        StatusForm::Field
    }

    fn take(&mut self, octets: &mut BytesMut) -> Result<Option<Event>, Malformed> {
        if self.next.is_some() {
            return Ok(self.next.take());
        }
        while let Some(record) = Record::take(octets)? {
            let event = match record.kind {
                _ if record.id == 0 => Some(self.manage(&record)?),
                Kind::BEGIN_REQUEST => self.begin(record.id, &record.content)?,
                // It comes too late, or belongs to a request that was refused (section 3.3).
                _ if record.id != self.id || matches!(self.state, State::Between) => None,
                Kind::ABORT_REQUEST => self.abort(),
                Kind::PARAMS => self.params(&record.content)?,
                Kind::STDIN => self.stdin(record.content)?,
                _ => return Err(Malformed::Syntax("a FastCGI record has a type that a front server does not send")),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn write(&self, octets: &[u8], out: &mut BytesMut) {
        write_stream(Kind::STDOUT, self.id, octets, out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        match &mut self.state {
            State::Body(body) => body.is_answered = true,
            state => *state = State::Between,
        }
        Record { kind: Kind::STDOUT, id: self.id, content: Bytes::new() }.write(out);
        end(self.id, ProtocolStatus::Complete, out);
    }

    /// FastCGI has no mark for it, and nginx takes the end of the connection for that of the response if it does not buffer it. A record of a version
    /// that does not exist it takes for an error.
    fn break_off(&self, out: &mut BytesMut) {
        out.put_slice(&[0; 8]);
    }

    fn awaits_response(&self) -> bool {
        !matches!(self.state, State::Between | State::Body(Body { is_answered: true, .. }))
    }

    fn goes_on(&self) -> bool {
        self.keeps_connection
    }
}
