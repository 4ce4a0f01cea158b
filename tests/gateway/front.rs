//! Octets as front servers send them, written apart from the codecs of the program.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::support::PATIENCE;

/// Pairs of names and values.
pub type Pairs<'a> = &'a [(&'a str, &'a str)];

/// The variables of a GET.
pub const GET: Pairs<'static> = &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/"), ("HTTP_HOST", "site.test")];

/// A uwsgi packet and a body.
pub fn uwsgi(pairs: Pairs<'_>, body: &[u8]) -> Vec<u8> {
    let mut variables = Vec::new();
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        variables.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
        variables.extend(text.as_bytes());
    }
    let [low, high] = u16::try_from(variables.len()).unwrap().to_le_bytes();
    [&[0, low, high, 0], &variables[..], body].concat()
}

/// A netstring.
pub fn netstring(text: &str) -> Vec<u8> {
    format!("{}:{text},", text.len()).into_bytes()
}

/// A netstring of SCGI and a body. Its length is that of the body, if `pairs` have no other.
pub fn scgi(pairs: Pairs<'_>, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let stated = pairs.iter().find(|(name, _)| *name == "CONTENT_LENGTH").map_or(&*length, |(_, length)| *length);
    let others = pairs.iter().filter(|(name, _)| *name != "CONTENT_LENGTH").copied();
    let text: String =
        [("CONTENT_LENGTH", stated), ("SCGI", "1")].into_iter().chain(others).map(|(name, value)| format!("{name}\0{value}\0")).collect();
    [&*netstring(&text), body].concat()
}

/// One FastCGI record.
pub fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    padded(kind, id, content, 0)
}

/// One FastCGI record, with padding that is not zero.
pub fn padded(kind: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let ([high, low], [id_high, id_low]) = (u16::try_from(content.len()).unwrap().to_be_bytes(), id.to_be_bytes());
    [&[1, kind, id_high, id_low, high, low, padding, 0], content, &vec![0xff; usize::from(padding)]].concat()
}

/// The records that begin a FastCGI request.
pub fn begin(id: u16, keep: bool, pairs: Pairs<'_>) -> Vec<u8> {
    let mut params = Vec::new();
    for (name, value) in pairs {
        for text in [name, value] {
            params.extend((0x8000_0000 | u32::try_from(text.len()).unwrap()).to_be_bytes());
        }
        params.extend(name.bytes().chain(value.bytes()));
    }
    [record(1, id, &[0, 1, u8::from(keep), 0, 0, 0, 0, 0]), record(4, id, &params), record(4, id, b"")].concat()
}

/// A whole FastCGI request.
pub fn fastcgi(id: u16, keep: bool, pairs: Pairs<'_>, body: &[u8]) -> Vec<u8> {
    let data: Vec<u8> = body.chunks(1000).flat_map(|piece| record(5, id, piece)).collect();
    [begin(id, keep, pairs), data, record(5, id, b"")].concat()
}

/// A connection to a Unix socket.
pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends these octets on a new connection, and reads to the end of it.
pub fn ask(socket: &Path, octets: &[u8]) -> Vec<u8> {
    let mut stream = connect(socket);
    // The other side may have closed it already.
    let _ = stream.write_all(octets);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// The next record of a FastCGI connection: kind, id, content. `None` at its end, or if there is no version 1 in it.
pub fn read_record(stream: &mut UnixStream) -> Option<(u8, u16, Vec<u8>)> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).ok().filter(|()| header[0] == 1)?;
    let mut content = vec![0; usize::from(u16::from_be_bytes([header[4], header[5]])) + usize::from(header[6])];
    stream.read_exact(&mut content).ok()?;
    content.truncate(content.len() - usize::from(header[6]));
    Some((header[1], u16::from_be_bytes([header[2], header[3]]), content))
}

/// The response to a FastCGI request, and the content of the record that ends it.
pub fn read_response(stream: &mut UnixStream, id: u16) -> (String, Option<Vec<u8>>) {
    let mut text = Vec::new();
    while let Some((kind, of, content)) = read_record(stream) {
        assert_eq!(of, id);
        match kind {
            6 => text.extend(content),
            3 => return (String::from_utf8_lossy(&text).into_owned(), Some(content)),
            other => panic!("a record of kind {other}"),
        }
    }
    (String::from_utf8_lossy(&text).into_owned(), None)
}
