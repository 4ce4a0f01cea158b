//! The part of Redis' protocol (RESP2) that a store needs: commands out; texts, numbers and errors in. Octets and values, no sockets.
//!
//! Redis may be slow, broken or something else: a reply is at most [`MOST_REPLY`] octets, and what is no reply is an error.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

/// What Redis replies. No command of a store is replied to by a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(Bytes),
    Number(i64),
    Nothing,
    /// The first word is its code: `WRONGPASS invalid username-password pair`.
    Error(String),
}

/// Octets that are no reply, or one that is too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(&'static str);

/// The longest text, and the longest line.
pub(super) const MOST_REPLY: usize = ziggurat_middleware::store::MOST_VALUE;
const MOST_LINE: usize = 4096;

/// A command: its name and its arguments.
pub(super) fn command<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(16 + words.iter().map(|word| word.as_ref().len() + 16).sum::<usize>());
    let number = |mark: u8, number: usize, octets: &mut Vec<u8>| {
        octets.push(mark);
        octets.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        octets.extend_from_slice(b"\r\n");
    };
    number(b'*', words.len(), &mut octets);
    for word in words.iter().map(AsRef::as_ref) {
        number(b'$', word.len(), &mut octets);
        octets.extend_from_slice(word);
        octets.extend_from_slice(b"\r\n");
    }
    octets
}

/// Takes the first reply from the octets, if it is whole.
pub(super) fn reply(octets: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    let Some(end) = memchr::memchr(b'\r', &octets[..octets.len().min(MOST_LINE)]) else {
        return if octets.len() < MOST_LINE { Ok(None) } else { Err(Malformed("a line without an end")) };
    };
    let Some(after) = octets.get(end + 1) else { return Ok(None) };
    if *after != b'\n' {
        return Err(Malformed("a line that ends with CR alone"));
    }
    let (mark, line) = octets[..end].split_first().ok_or(Malformed("an empty line"))?;
    let length = match mark {
        b'+' | b'-' => None,
        b':' => {
            let number = integer(line).ok_or(Malformed("a number that is none"))?;
            octets.advance(end + 2);
            return Ok(Some(Reply::Number(number)));
        }
        b'$' => Some(integer(line).ok_or(Malformed("a length that is none"))?),
        _ => return Err(Malformed("a reply of a kind that no command asks for")),
    };
    let Some(length) = length else {
        let is_error = *mark == b'-';
        let line = octets.split_to(end + 2).freeze().slice(1..end);
        return Ok(Some(if is_error { Reply::Error(String::from_utf8_lossy(&line).into_owned()) } else { Reply::Text(line) }));
    };
    if length == -1 {
        octets.advance(end + 2);
        return Ok(Some(Reply::Nothing));
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= MOST_REPLY).ok_or(Malformed("a text that is too long"))?;
    let begin = end + 2;
    let Some(tail) = octets.get(begin + length..begin + length + 2) else { return Ok(None) };
    if tail != b"\r\n" {
        return Err(Malformed("a text that is longer than its length"));
    }
    octets.advance(begin);
    let text = octets.split_to(length).freeze();
    octets.advance(2);
    Ok(Some(Reply::Text(text)))
}

fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what it sends is not Redis' protocol: {}", self.0)
    }
}

impl From<Malformed> for std::io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, malformed.to_string())
    }
}

/// Reads replies whole, and cut where the first octet says. Panics if the results contradict each other.
#[cfg(fuzzing)]
pub fn fuzz_replies(octets: &[u8]) {
    let Some((cut, octets)) = octets.split_first() else { return };
    let (begin, rest) = octets.split_at(octets.len().min(usize::from(*cut)));
    let read = |parts: &[&[u8]]| {
        let (mut waiting, mut replies) = (BytesMut::new(), Vec::new());
        for part in parts {
            waiting.extend_from_slice(part);
            loop {
                match reply(&mut waiting) {
                    Ok(Some(reply)) => replies.push(reply),
                    Ok(None) => break,
                    Err(malformed) => return (replies, Some(malformed)),
                }
            }
        }
        (replies, None)
    };
    assert_eq!(read(&[octets]), read(&[begin, rest]));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Result<Option<Reply>, Malformed> {
        reply(&mut BytesMut::from(text))
    }

    #[test]
    fn commands_are_lists_of_texts() {
        assert_eq!(command(&["GET", "a b", ""]), b"*3\r\n$3\r\nGET\r\n$3\r\na b\r\n$0\r\n\r\n");
    }

    #[test]
    fn replies_are_read_one_after_the_other_from_any_pieces() {
        let octets = b"+OK\r\n:-3\r\n$2\r\na\n\r\n$-1\r\n-ERR no\r\n$0\r\n\r\n";
        let expected = [
            Reply::Text("OK".into()),
            Reply::Number(-3),
            Reply::Text("a\n".into()),
            Reply::Nothing,
            Reply::Error("ERR no".into()),
            Reply::Text("".into()),
        ];
        for piece in 1..octets.len() {
            let (mut buffer, mut replies) = (BytesMut::new(), Vec::new());
            for octets in octets.chunks(piece) {
                buffer.extend_from_slice(octets);
                while let Some(reply) = reply(&mut buffer).unwrap() {
                    replies.push(reply);
                }
            }
            assert_eq!(replies, expected);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for text in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\r\n",
            b"+a\rb",
            b":1x\r\n",
            b":\r\n",
            b"$-2\r\n",
            b"$1048577\r\n",
            b"$99999999999999999999\r\n",
            b"$2\r\nabc\r\n",
            b"*1\r\n:1\r\n",
            b"%1\r\n",
            b"\0\0\0\0\r\n",
            &[b'+'; MOST_LINE],
        ] {
            assert!(read(text).is_err(), "{:?}", String::from_utf8_lossy(text));
        }
        assert_eq!(read(&[b'+'; MOST_LINE - 1]), Ok(None));
    }

    proptest! {
        #[test]
        fn any_octets_are_replies_or_refused(octets in prop::collection::vec(prop_oneof![Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b':'), Just(b'1'), any::<u8>()], 0..200)) {
            let mut buffer = BytesMut::from(&octets[..]);
            let mut left = buffer.len();
            while let Ok(Some(_)) = reply(&mut buffer) {
                prop_assert!(buffer.len() < left);
                left = buffer.len();
            }
        }

        #[test]
        fn any_texts_pass(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..5)) {
            let mut buffer = BytesMut::new();
            for text in &texts {
                buffer.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
                buffer.extend_from_slice(text);
                buffer.extend_from_slice(b"\r\n");
            }
            for text in texts {
                prop_assert_eq!(reply(&mut buffer), Ok(Some(Reply::Text(text.into()))));
            }
        }
    }
}
