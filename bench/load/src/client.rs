//! All connections on one thread: write a request, read its answer, again.

use std::{
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, event::Event, net::TcpStream};

use crate::{
    answer::{Answer, Step},
    plan::{Exchange, Group, Plan},
    report::{Outcome, Tally},
};

/// Longest silence of the server before the run is given up.
const SILENCE: Duration = Duration::from_secs(20);

/// A run under way.
pub(crate) struct Client<'p> {
    plan: &'p Plan,
    poll: Poll,
    connections: Vec<Connection<'p>>,
    tallies: Vec<Tally>,
    buffer: Box<[u8]>,
    end: Instant,
    sent: u64,
    busy: usize,
    idle: Duration,
}

struct Connection<'p> {
    stream: TcpStream,
    group: &'p Group,
    tally: usize,
    /// Which of the group's exchanges is under way.
    step: usize,
    /// Octets of the request written; its length once it is out.
    written: usize,
    answer: Answer,
    /// When the visit began.
    started: Instant,
    /// A request is on its way.
    busy: bool,
    /// The socket said that it can be written to.
    writable: bool,
}

impl<'p> Connection<'p> {
    fn exchange(&self) -> &'p Exchange {
        &self.group.exchanges[self.step]
    }

    /// Makes ready for this exchange.
    fn begin(&mut self, step: usize) {
        self.step = step;
        self.written = 0;
        self.answer = Answer::default();
    }
}

impl<'p> Client<'p> {
    pub(crate) fn new(plan: &'p Plan) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for (tally, group) in plan.groups.iter().enumerate() {
            for _ in 0..group.connections {
                let mut stream = TcpStream::connect(plan.address)?;
                poll.registry().register(&mut stream, Token(connections.len()), Interest::READABLE | Interest::WRITABLE)?;
                connections.push(Connection {
                    stream,
                    group,
                    tally,
                    step: 0,
                    written: 0,
                    answer: Answer::default(),
                    started: Instant::now(),
                    busy: false,
                    writable: false,
                });
            }
        }
        let tallies = plan.groups.iter().map(|_| Tally::default()).collect();
        let buffer = vec![0; 256 * 1024].into_boxed_slice();
        Ok(Self { plan, poll, connections, tallies, buffer, end: Instant::now(), sent: 0, busy: 0, idle: Duration::ZERO })
    }

    /// Runs to the plan's end. An error is a wrong answer, or a server that fell silent or cannot be reached.
    pub(crate) fn run(mut self) -> io::Result<Outcome> {
        let begin = Instant::now();
        self.end = begin + Duration::from_secs_f64(self.plan.seconds);
        let mut events = Events::with_capacity(1024);
        for index in 0..self.connections.len() {
            self.next_request(index)?;
        }
        while self.busy > 0 {
            self.wait(&mut events)?;
            for event in &events {
                self.on_event(event)?;
            }
        }
        let window = Instant::now().min(self.end) - begin;
        Ok(Outcome { window, idle: self.idle.as_secs_f64() / begin.elapsed().as_secs_f64(), tallies: self.tallies })
    }

    /// Waits for something to happen, awake or asleep.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let begin = Instant::now();
        let mut now = begin;
        let timeout = if self.plan.spin { Duration::ZERO } else { SILENCE };
        while now - begin < SILENCE {
            match self.poll.poll(events, Some(timeout)) {
                Ok(()) if !events.is_empty() => {
                    // Asleep, all of the wait was idle; awake, what came before the last look.
                    self.idle += if self.plan.spin { now - begin } else { begin.elapsed() };
                    return Ok(());
                }
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => now = Instant::now(),
            }
        }
        Err(io::Error::other(format!("no answer for {} seconds on {} connections", SILENCE.as_secs(), self.busy)))
    }

    fn on_event(&mut self, event: &Event) -> io::Result<()> {
        let index = event.token().0;
        if event.is_writable() && !self.connections[index].writable {
            self.connections[index].writable = true;
        }
        if self.connections[index].busy {
            self.write(index)?;
        }
        if event.is_readable() {
            self.read(index)?;
        }
        Ok(())
    }

    /// Begins another visit on this connection unless the run is over.
    fn next_request(&mut self, index: usize) -> io::Result<()> {
        let now = Instant::now();
        let connection = &mut self.connections[index];
        connection.busy = self.sent < self.plan.requests && now < self.end;
        if !connection.busy {
            return Ok(());
        }
        self.sent += 1;
        self.busy += 1;
        connection.started = now;
        connection.begin(0);
        self.write(index)
    }

    fn write(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let request = &connection.exchange().request.0;
        while connection.writable && connection.written < request.len() {
            match connection.stream.write(&request[connection.written..]) {
                Ok(count) => connection.written += count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => connection.writable = false,
                    io::ErrorKind::Interrupted => {}
                    // The answer, or the end of the connection, is waiting to be read.
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => return self.read(index),
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[index];
            let count = match connection.stream.read(&mut self.buffer) {
                Ok(count) => count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::ConnectionReset => 0,
                    _ => return Err(error),
                },
            };
            if count == 0 {
                return self.on_close(index);
            }
            if !connection.busy {
                return Err(io::Error::other("octets came that no request asked for"));
            }
            let step = connection.answer.read(&self.buffer[..count], connection.exchange());
            if let Step::Done { keep_alive } = step.map_err(|error| wrong(connection, &error))? {
                return self.finish(index, keep_alive);
            }
            // A short read has emptied the socket; the edge tells when more comes.
            if count < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// The server closed: at the end of a body without length, between requests, or too early.
    fn on_close(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        if !connection.busy {
            return self.reopen(index);
        }
        // A request that met a closing connection had no chance: it goes out again on a new one.
        if connection.answer.untouched() {
            self.reopen(index)?;
            self.connections[index].written = 0;
            return if self.tallies[self.connections[index].tally].reconnects > self.sent * 2 + 1000 {
                Err(io::Error::other("the server closes connections without answering"))
            } else {
                self.write(index)
            };
        }
        connection.answer.close(connection.exchange()).map_err(|error| wrong(connection, &error))?;
        self.finish(index, false)
    }

    fn finish(&mut self, index: usize, keep_alive: bool) -> io::Result<()> {
        let now = Instant::now();
        let connection = &self.connections[index];
        if connection.written < connection.exchange().request.0.len() {
            return Err(wrong(connection, "answered before the request was whole"));
        }
        if !keep_alive || connection.group.reconnect {
            self.reopen(index)?;
        }
        let connection = &mut self.connections[index];
        if connection.step + 1 < connection.group.exchanges.len() {
            connection.begin(connection.step + 1);
            return self.write(index);
        }
        let tally = &mut self.tallies[connection.tally];
        tally.latencies.push(now - connection.started);
        tally.late += usize::from(now > self.end);
        connection.busy = false;
        self.busy -= 1;
        self.next_request(index)
    }

    fn reopen(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        self.tallies[connection.tally].reconnects += 1;
        self.poll.registry().deregister(&mut connection.stream)?;
        connection.stream = TcpStream::connect(self.plan.address)?;
        connection.writable = false;
        self.poll.registry().register(&mut connection.stream, Token(index), Interest::READABLE | Interest::WRITABLE)
    }
}

fn wrong(connection: &Connection<'_>, error: &str) -> io::Error {
    let request = connection.exchange().request.0.split(|&octet| octet == b'\r').next().unwrap_or_default();
    io::Error::other(format!("wrong answer in group `{}` to `{}`: {error}", connection.group.name, request.escape_ascii()))
}
