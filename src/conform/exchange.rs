//! The steps of a case, on connections to the server under test.

use std::thread;
use std::time::{Duration, Instant};

use super::body::{Decoded, Framing, decode};
use super::connection::{Arrival, Connection, Ending, escaped};
use super::judge::{is_refusal, judge_body, judge_head, judge_status};
use super::response::Head;
use super::run::Target;
use super::{Expected, Status, Step};

/// How long a connection is quiet after which no second response is expected.
const QUIET: Duration = Duration::from_millis(300);

/// How long octets have to travel alone.
const PAUSE: Duration = Duration::from_millis(30);

/// How long notes of the app may take.
const NOTES: Duration = Duration::from_secs(3);

/// Why no further step is made.
#[derive(Debug)]
pub(super) enum Stop {
    /// The response is as good as the one that the case describes.
    Passed,
    Failed(String),
    Skipped(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

pub(super) fn failed<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Failed(why.into()))
}

/// A response: its head, and its body once it is read.
struct Response {
    head: Head,
    body: Option<Body>,
    /// A step has accepted that it is not whole.
    may_be_cut: bool,
}

#[derive(Clone)]
struct Body {
    octets: Vec<u8>,
    /// Why it is not whole.
    fault: Option<String>,
}

pub(super) struct Exchange<'a> {
    target: &'a Target,
    token: &'a str,
    deadline: Instant,
    connection: Option<Connection>,
    /// Connections of notes, whose responses nobody reads.
    aside: Vec<Connection>,
    response: Option<Response>,
    transcript: String,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(target: &'a Target, token: &'a str, deadline: Instant) -> Self {
        Self { target, token, deadline, connection: None, aside: Vec::new(), response: None, transcript: String::new() }
    }

    /// Makes the steps. The last response is read to its end.
    pub(super) fn run(&mut self, steps: &[Step]) -> Result<(), Stop> {
        match steps.iter().try_for_each(|step| self.step(step)) {
            Ok(()) | Err(Stop::Passed) => self.finish(),
            stopped => stopped,
        }
    }

    /// What was sent and what came on all connections, those of notes and records left out.
    pub(super) fn transcript(&mut self) -> String {
        self.disconnect();
        std::mem::take(&mut self.transcript)
    }

    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.transcript.push_str(&connection.transcript());
        }
    }

    fn connection(&mut self) -> Result<&mut Connection, Stop> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(self.target, self.deadline)?);
        }
        self.connection.as_mut().ok_or_else(|| Stop::Failed("no connection".to_owned()))
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Connect => {
                self.finish()?;
                self.disconnect();
                self.connection()?;
            }
            Step::Send(octets) => {
                let octets = self.filled(octets);
                self.connection()?.send(&octets);
            }
            Step::Continue(_) if self.response()?.head.status != 100 => return Err(Stop::Passed),
            Step::Continue(octets) => self.connection()?.send(octets),
            Step::Pause => thread::sleep(PAUSE),
            Step::Shut => self.connection()?.shut(),
            Step::Leave => {
                self.response = None;
                self.disconnect();
            }
            Step::Note(word) => {
                let mut connection = Connection::open(self.target, self.deadline)?;
                connection.send(&get(self.target, &format!("/leave/{}/{word}", self.token)));
                self.aside.push(connection);
            }
            Step::Head(expected) => self.head(expected)?,
            Step::Refused { or_failed } => match self.only_response()? {
                Some(500..) if *or_failed => {}
                Some(status) if !is_refusal(status) => return failed(format!("the server answers {status} and does not refuse")),
                _ => {}
            },
            Step::AtMostOne => {
                self.only_response()?;
            }
            Step::Begins { text, alone } => self.begins(text, *alone)?,
            Step::Cut { visibly } => self.cut(*visibly)?,
            Step::End => self.end()?,
            Step::Persistent if !self.response()?.head.persistent => {
                return Err(Stop::Skipped("the server closes the connection after a response".to_owned()));
            }
            Step::Persistent => {}
            Step::HeadIs(rule) => judge_head(&self.response()?.head, rule)?,
            Step::BodyIs(rule) => judge_body(&self.whole()?, rule, &|text| self.filled_text(text))?,
            Step::Record(words) => self.record(words)?,
            Step::Together { count, target, body } => self.together(*count, target, body.as_deref())?,
        }
        Ok(())
    }

    /// What names in cases stand for.
    fn names(&self) -> [(&'static str, &str); 3] {
        [("{host}", &self.target.authority), ("{scheme}", self.target.scheme()), ("{token}", self.token)]
    }

    /// Text with the names of this run filled in.
    fn filled_text(&self, text: &str) -> String {
        self.names().iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// Octets with the names of this run filled in.
    fn filled(&self, octets: &[u8]) -> Vec<u8> {
        self.names().iter().fold(octets.to_vec(), |octets, (name, value)| {
            let mut filled = Vec::with_capacity(octets.len());
            let mut rest = octets.as_slice();
            while let Some(at) = memchr::memmem::find(rest, name.as_bytes()) {
                filled.extend_from_slice(rest.get(..at).unwrap_or_default());
                filled.extend_from_slice(value.as_bytes());
                rest = rest.get(at + name.len()..).unwrap_or_default();
            }
            filled.extend_from_slice(rest);
            filled
        })
    }

    fn response(&mut self) -> Result<&mut Response, Stop> {
        self.response.as_mut().ok_or_else(|| Stop::Failed("there is no response".to_owned()))
    }

    /// Reads the head of the next response.
    fn head(&mut self, expected: &Expected) -> Result<(), Stop> {
        self.finish()?;
        let interim = expected.at_once || expected.statuses.iter().any(|status| matches!(status, Status::Code(100..200)));
        let head = read_head(self.connection()?, expected.bodiless, interim)?;
        let status = head.as_ref().map(|head| head.status);
        self.response = head.map(|head| Response { head, body: None, may_be_cut: false });
        judge_status(status, expected)
    }

    /// Reads the one response that there may be, and the silence after it.
    fn only_response(&mut self) -> Result<Option<u16>, Stop> {
        let Some(head) = read_head(self.connection()?, false, false)? else { return Ok(None) };
        let status = head.status;
        self.response = Some(Response { head, body: None, may_be_cut: true });
        self.body()?;
        let connection = self.connection()?;
        if connection.received.is_empty() && connection.wait_for(QUIET)? == Arrival::Octets || !connection.received.is_empty() {
            return failed("the server answers twice");
        }
        Ok(Some(status))
    }

    /// Reads the body as far as it comes.
    fn body(&mut self) -> Result<Body, Stop> {
        let (connection, response) = self.current()?;
        if let Some(body) = &response.body {
            return Ok(body.clone());
        }
        let body = loop {
            match decode(response.head.framing, &connection.received) {
                Err(fault) => break Body { octets: Vec::new(), fault: Some(fault) },
                Ok(Decoded { body, whole: Some(length) }) => {
                    connection.received.drain(..length);
                    break Body { octets: body, fault: None };
                }
                Ok(Decoded { body, whole: None }) => {
                    let Arrival::Ended(ending) = connection.wait()? else { continue };
                    connection.received.clear();
                    let ends_so = response.head.framing == Framing::Close && ending == Ending::Closed;
                    break Body { fault: (!ends_so).then(|| format!("it ends after {} octets", body.len())), octets: body };
                }
            }
        };
        response.body = Some(body.clone());
        Ok(body)
    }

    fn current(&mut self) -> Result<(&mut Connection, &mut Response), Stop> {
        match (&mut self.connection, &mut self.response) {
            (Some(connection), Some(response)) => Ok((connection, response)),
            _ => failed("there is no response"),
        }
    }

    /// The body, which must be whole.
    fn whole(&mut self) -> Result<Vec<u8>, Stop> {
        let body = self.body()?;
        match body.fault {
            None => Ok(body.octets),
            Some(fault) => failed(format!("the body is not whole: {fault}")),
        }
    }

    /// Ends the latest response, which must be whole unless a step has said otherwise.
    fn finish(&mut self) -> Result<(), Stop> {
        if self.response.as_ref().is_some_and(|response| !response.may_be_cut) {
            self.whole()?;
        }
        self.response = None;
        Ok(())
    }

    fn cut(&mut self, visibly: bool) -> Result<(), Stop> {
        let body = self.body()?;
        let response = self.response()?;
        response.may_be_cut = true;
        let looks_whole = body.fault.is_none() && (visibly || response.head.framing != Framing::Close);
        if looks_whole && response.head.status < 500 {
            return failed(format!("the body looks whole: `{}`", escaped(&body.octets)));
        }
        Ok(())
    }

    fn begins(&mut self, text: &[u8], alone: bool) -> Result<(), Stop> {
        let (connection, response) = self.current()?;
        loop {
            let decoded = decode(response.head.framing, &connection.received)?;
            if decoded.body.len() >= text.len() {
                let fits = decoded.body.starts_with(text) && !(alone && (decoded.body.len() > text.len() || decoded.whole.is_some()));
                let alone = if alone { " alone" } else { "" };
                return match fits {
                    true => Ok(()),
                    false => failed(format!("what comes first is `{}`, not `{}`{alone}", escaped(&decoded.body), escaped(text))),
                };
            }
            if let Arrival::Ended(_) = connection.wait()? {
                return failed(format!("the body ends with `{}`", escaped(&decoded.body)));
            }
        }
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.finish()?;
        let connection = self.connection()?;
        if connection.received.is_empty() && matches!(connection.wait()?, Arrival::Ended(_)) {
            return Ok(());
        }
        failed(format!("after the response comes `{}`", escaped(&connection.received)))
    }

    fn record(&mut self, words: &str) -> Result<(), Stop> {
        self.finish()?;
        let end = self.deadline.min(Instant::now() + NOTES);
        loop {
            let (_, body) = ask(self.target, &format!("/record/{}", self.token), self.deadline)?;
            if words.split('|').any(|words| body == words.as_bytes()) {
                return Ok(());
            }
            if Instant::now() >= end {
                return failed(format!("the app notes `{}`, not `{words}`", escaped(&body)));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn together(&self, count: usize, target: &str, expected: Option<&str>) -> Result<(), Stop> {
        let (server, deadline) = (self.target, self.deadline);
        let fill = |text: &str, number: usize| self.filled_text(text).replace("{n}", &number.to_string());
        let answers: Vec<_> = thread::scope(|scope| {
            let requests = (0..count).map(|number| {
                let path = fill(target, number);
                scope.spawn(move || ask(server, &path, deadline))
            });
            requests.collect::<Vec<_>>().into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        for (number, answer) in answers.into_iter().enumerate() {
            let (status, body) = answer.unwrap_or_else(|_| Err("the request failed".to_owned()))?;
            let wanted = expected.map(|expected| fill(expected, number));
            if status != 200 || wanted.as_ref().is_some_and(|wanted| body != wanted.as_bytes()) {
                return failed(format!("request {number} of {count} at once is answered {status} `{}`", escaped(&body)));
            }
        }
        Ok(())
    }
}

/// Sends a GET on a connection of its own, and gives the status and the body.
pub(super) fn ask(target: &Target, path: &str, deadline: Instant) -> Result<(u16, Vec<u8>), String> {
    let mut exchange = Exchange::new(target, "", deadline);
    let why = |stop| match stop {
        Stop::Failed(why) | Stop::Skipped(why) => why,
        Stop::Passed => String::new(),
    };
    exchange.connection().map_err(why)?.send(&get(target, path));
    let statuses = [2, 3, 4, 5].map(Status::Class).to_vec();
    exchange.head(&Expected { statuses, or: None, bodiless: false, at_once: false }).map_err(why)?;
    let status = exchange.response().map_err(why)?.head.status;
    Ok((status, exchange.whole().map_err(why)?))
}

fn get(target: &Target, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target.authority).into_bytes()
}

/// The head of the next response; `None` if the server closes the connection instead.
fn read_head(connection: &mut Connection, bodiless: bool, interim: bool) -> Result<Option<Head>, Stop> {
    loop {
        if let Some(head) = Head::read(&connection.received, bodiless)? {
            connection.received.drain(..head.length);
            if head.status >= 200 || interim {
                return Ok(Some(head));
            }
        } else if let Arrival::Ended(_) = connection.wait()? {
            return match connection.received.is_empty() {
                true => Ok(None),
                false => failed(format!("the response ends within its head: `{}`", escaped(&connection.received))),
            };
        }
    }
}
