//! A client with cookies and forms: as much of a browser as a site's pages need.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};

use crate::support::Program;

/// A visitor of a running program, or of a server before it.
pub(crate) struct Browser<'a> {
    connect: Box<dyn Fn() -> Box<dyn Duplex> + 'a>,
    host: String,
    cookies: BTreeMap<String, String>,
}

/// A connection.
pub(crate) trait Duplex: Read + Write {}

impl<T: Read + Write> Duplex for T {}

/// An answer, its body taken out of its chunks.
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(program: &'a Program) -> Self {
        Self::through(&program.address().to_string(), move || program.connect())
    }

    /// One that asks this host over connections of its own.
    pub(crate) fn through<S: Duplex + 'static>(host: &str, connect: impl Fn() -> S + 'a) -> Self {
        Self { connect: Box::new(move || Box::new(connect())), host: host.to_owned(), cookies: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, target: &str) -> Page {
        self.request("GET", target, &[], b"")
    }

    /// Sends a form as `application/x-www-form-urlencoded`. Names and values must not need escapes, except spaces.
    pub(crate) fn post(&mut self, target: &str, fields: &[(&str, &str)]) -> Page {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect();
        self.request("POST", target, &[("Content-Type", "application/x-www-form-urlencoded")], fields.join("&").as_bytes())
    }

    /// Sends a form with a file as `multipart/form-data`.
    pub(crate) fn upload(&mut self, target: &str, fields: &[(&str, &str)], name: &str, content: &[u8]) -> Page {
        let mut body = Vec::new();
        for (field, value) in fields {
            write!(body, "--cut\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n").unwrap();
        }
        write!(body, "--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n").unwrap();
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n--cut--\r\n");
        self.request("POST", target, &[("Content-Type", "multipart/form-data; boundary=cut")], &body)
    }

    pub(crate) fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Page {
        let mut stream = self.send(method, target, headers, body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let page = Page::parse(&answer);
        for (_, cookie) in page.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        page
    }

    /// Sends a request. The answer is to be read.
    pub(crate) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Box<dyn Duplex> {
        let host = &self.host;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            write!(head, "Cookie: {}\r\n", cookies.join("; ")).unwrap();
        }
        let mut stream = (self.connect)();
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        stream
    }
}

impl Page {
    fn parse(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers =
            lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let mut page = Self { status, body: answer[end + 4..].to_vec(), headers };
        if page.header("transfer-encoding") == "chunked" {
            page.body = unchunked(&page.body);
        }
        page
    }

    /// A header; `""` where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// All lines of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// What stands between `before` and the next double quote.
    pub(crate) fn quoted(&self, before: &str) -> String {
        let text = self.text();
        let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in:\n{text}"));
        rest.split('"').next().unwrap().to_owned()
    }

    /// The token of Django's form.
    pub(crate) fn token(&self) -> String {
        self.quoted("name=\"csrfmiddlewaretoken\" value=\"")
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|octets| octets == b"\r\n").expect("a chunk has a size");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + size + 4..];
    }
}
