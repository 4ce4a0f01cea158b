//! The frames that a client sends (RFC 9114 section 7), before h3 reads them.
//!
//! h3 keeps whole frames in memory, whatever they announce, takes an empty DATA frame for the end of a body, takes a stream that ends inside of one for complete, and reads
//! further ahead than it hands out. So it gets what it can read at once: a whole HEADERS frame, or a part of one DATA frame.

use bytes::{Buf, Bytes, BytesMut};

use super::field_section::{self, Malformed};
use crate::server::refusal::Refusal;

const DATA: u64 = 0x0;
const HEADERS: u64 = 0x1;
const CANCEL_PUSH: u64 = 0x3;
const SETTINGS: u64 = 0x4;
const PUSH_PROMISE: u64 = 0x5;
const GOAWAY: u64 = 0x7;
const MAX_PUSH_ID: u64 = 0xd;
/// Frames of HTTP/2 that HTTP/3 does not have (RFC 9114 section 11.2.1).
const RESERVED: [u64; 4] = [0x2, 0x6, 0x8, 0x9];

/// The type of a control stream (RFC 9114 section 6.2.1).
const CONTROL: u64 = 0x0;

/// The longest frame on a control stream.
const CONTROL_FRAME: u64 = 4 << 10;

/// `:method: GET`, `:scheme: https`, `:path: /` and `:authority: a` in a HEADERS frame: what h3 reads instead of a head that is refused.
const STAND_IN: &[u8] = &[HEADERS as u8, 8, 0, 0, 0xd1, 0xd7, 0xc1, 0x50, 1, b'a'];

const TOO_LARGE: Refusal = Refusal::new(http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's headers are too large");

/// What is next in a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Octets for h3.
    Octets(Bytes),
    /// More octets have to come first. So many of a HEADERS frame are to be kept meanwhile.
    More(usize),
    /// A frame that does nothing was left out.
    Useless,
    /// The head is refused, and nothing more of the request is read. The octets are those of a request in its place.
    Refused(Bytes, Refusal),
    /// The trailers are malformed.
    Malformed(&'static str),
    /// The connection is to end, because such a frame may not be here.
    Unexpected,
}

/// Reads the frames of one stream.
pub(super) struct FrameReader {
    kind: Kind,
    state: State,
    /// The most octets of a field section.
    limit: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request {
        has_head: bool,
    },
    /// A stream in one direction, before its type is known.
    Unknown,
    Control,
    /// One that h3 does not read, or by itself.
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    /// Inside of a DATA frame, with what is left of it.
    Data(u64),
    /// At the beginning of a frame that is passed on whole, with the length of its header and of all of it.
    Whole(usize, usize),
    /// Inside of a frame that is left out.
    Skip(u64),
}

impl FrameReader {
    /// For a request, whose head and trailers have at most `limit` octets each.
    pub(super) const fn of_request(limit: u64) -> Self {
        Self { kind: Kind::Request { has_head: false }, state: State::Header, limit }
    }

    /// For a stream in one direction.
    pub(super) const fn of_one_way() -> Self {
        Self { kind: Kind::Unknown, state: State::Header, limit: CONTROL_FRAME }
    }

    /// Whether the stream may end here.
    pub(super) fn may_end(&self, octets: &[u8]) -> bool {
        octets.is_empty() && self.state == State::Header
    }

    /// Takes what is next from `octets`.
    pub(super) fn next(&mut self, octets: &mut BytesMut) -> Event {
        loop {
            match self.state {
                State::Header => match self.header(octets) {
                    Ok(()) => {}
                    Err(event) => return event,
                },
                State::Data(_) | State::Skip(_) if octets.is_empty() => return Event::More(0),
                State::Data(left) => {
                    let (taken, state) = part(left, octets.len(), State::Data);
                    self.state = state;
                    return Event::Octets(octets.split_to(taken).freeze());
                }
                State::Skip(left) => {
                    let (taken, state) = part(left, octets.len(), State::Skip);
                    self.state = state;
                    octets.advance(taken);
                }
                State::Whole(_, length) if octets.len() < length => return Event::More(length),
                State::Whole(header, length) => {
                    self.state = State::Header;
                    return self.whole(header, octets.split_to(length).freeze());
                }
            }
        }
    }

    /// Reads the header of a frame. Goes on where there is no event.
    fn header(&mut self, octets: &mut BytesMut) -> Result<(), Event> {
        if self.kind == Kind::Other {
            return Err(if octets.is_empty() { Event::More(0) } else { Event::Octets(octets.split().freeze()) });
        }
        let Some((kind, kind_size)) = varint(octets) else { return Err(Event::More(0)) };
        if self.kind == Kind::Unknown {
            self.kind = if kind == CONTROL { Kind::Control } else { Kind::Other };
            return Err(Event::Octets(octets.split_to(kind_size).freeze()));
        }
        let Some((length, length_size)) = varint(&octets[kind_size..]) else { return Err(Event::More(0)) };
        let size = kind_size + length_size;
        match (self.kind, kind) {
            (Kind::Request { .. }, DATA) if length == 0 => {
                octets.advance(size);
                return Err(Event::Useless);
            }
            (Kind::Request { .. }, DATA) => {
                self.state = State::Data(length);
                return Err(Event::Octets(octets.split_to(size).freeze()));
            }
            (Kind::Request { has_head }, HEADERS) if length > self.limit => {
                return Err(if has_head {
                    Event::Malformed("the trailers are too large")
                } else {
                    Event::Refused(Bytes::from_static(STAND_IN), TOO_LARGE)
                });
            }
            (Kind::Control, SETTINGS | GOAWAY | MAX_PUSH_ID | CANCEL_PUSH) if length > self.limit => return Err(Event::Unexpected),
            (Kind::Request { .. }, HEADERS) | (Kind::Control, SETTINGS | GOAWAY | MAX_PUSH_ID | CANCEL_PUSH) => {
                // Not above the limit.
                self.state = State::Whole(size, size + usize::try_from(length).unwrap_or(usize::MAX));
            }
            (_, DATA | HEADERS | CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID) => return Err(Event::Unexpected),
            (_, kind) if RESERVED.contains(&kind) => return Err(Event::Unexpected),
            _ => {
                octets.advance(size);
                self.state = if length == 0 { State::Header } else { State::Skip(length) };
                return Err(Event::Useless);
            }
        }
        Ok(())
    }

    fn whole(&mut self, header: usize, frame: Bytes) -> Event {
        let Kind::Request { has_head } = &mut self.kind else { return Event::Octets(frame) };
        let section = &frame[header..];
        if std::mem::replace(has_head, true) {
            return match field_section::check_trailers(section) {
                Ok(()) => Event::Octets(frame),
                Err(_) => Event::Malformed("the trailers have a pseudo-header field, or cannot be decoded"),
            };
        }
        match field_section::check_head(section) {
            Ok(()) => Event::Octets(frame),
            Err(malformed) => Event::Refused(Bytes::from_static(STAND_IN), Refusal::bad(reason(malformed))),
        }
    }
}

/// How many of `there` octets belong to a frame of which `left` are left, and the state behind them.
fn part(left: u64, there: usize, inside: impl Fn(u64) -> State) -> (usize, State) {
    match usize::try_from(left) {
        Ok(left) if left <= there => (left, State::Header),
        _ => (there, inside(left - there as u64)),
    }
}

const fn reason(malformed: Malformed) -> &'static str {
    match malformed {
        Malformed::Encoding => "the request's headers cannot be decoded without a dynamic table",
        Malformed::Repeated => "a pseudo-header field is repeated",
        Malformed::Late => "a pseudo-header field follows another field",
        Malformed::Unexpected => "there is a pseudo-header field that requests do not have",
    }
}

/// An integer at the beginning, and its size (RFC 9000 section 16).
fn varint(octets: &[u8]) -> Option<(u64, usize)> {
    let first = *octets.first()?;
    let size = 1 << (first >> 6);
    let rest = octets.get(1..size)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, octet| value << 8 | u64::from(*octet));
    Some((value, size))
}

/// What passes of octets on a request stream, or on one in one direction, must not depend on how they are cut. The first octet says which stream it is, and how they are cut.
#[cfg(fuzzing)]
pub(super) fn fuzz(octets: &[u8]) {
    let Some((choice, octets)) = octets.split_first() else { return };
    let reader = || if choice & 1 == 0 { FrameReader::of_request(4 << 10) } else { FrameReader::of_one_way() };
    let passed = |size: usize| {
        let (mut reader, mut buffer, mut passed) = (reader(), BytesMut::new(), Vec::new());
        for piece in octets.chunks(size) {
            buffer.extend_from_slice(piece);
            loop {
                match reader.next(&mut buffer) {
                    Event::More(_) => break,
                    Event::Octets(octets) => passed.extend_from_slice(&octets),
                    Event::Useless => {}
                    last => return (passed, Some(last)),
                }
            }
        }
        (passed, None)
    };
    assert_eq!(passed(octets.len().max(1)), passed(usize::from(choice >> 1) + 1));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 64;

    /// All events of a stream that comes in these pieces, octets of neighbouring events joined where they are of one frame.
    fn events<'a>(mut reader: FrameReader, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<Event>, bool) {
        let (mut buffer, mut passed, mut events) = (BytesMut::new(), Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match reader.next(&mut buffer) {
                    Event::More(_) => break,
                    Event::Octets(octets) => passed.extend(octets),
                    Event::Useless => events.push(Event::Useless),
                    last => {
                        events.push(last);
                        return (passed, events, false);
                    }
                }
            }
        }
        (passed, events, reader.may_end(&buffer))
    }

    fn of_request(octets: &[u8]) -> (Vec<u8>, Vec<Event>, bool) {
        events(FrameReader::of_request(LIMIT), [octets])
    }

    #[test]
    fn a_request_passes_and_frames_that_do_nothing_are_left_out() {
        let data: &[u8] = &[0, 2, b'a', b'b'];
        let trailers: &[u8] = &[1, 5, 0, 0, 0x21, b'a', 0];
        let grease: &[u8] = &[0x21, 3, 1, 2, 3];
        let seen = of_request(&[STAND_IN, grease, &[0, 0], data, trailers].concat());
        assert_eq!(seen, ([STAND_IN, data, trailers].concat(), vec![Event::Useless, Event::Useless], true));
    }

    #[test]
    fn a_head_that_announces_too_much_is_refused_before_it_comes() {
        // 1 GiB.
        let seen = of_request(&[1, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]);
        assert_eq!(seen.1, [Event::Refused(Bytes::from_static(STAND_IN), TOO_LARGE)]);
        assert!(matches!(of_request(&[STAND_IN, &[1, 0x40, 65]].concat()).1[..], [Event::Malformed(_)]));
    }

    #[test]
    fn a_malformed_head_is_refused_with_a_reason() {
        for lines in [&[0xd1][..], &[0xd9], &[0x80]] {
            let section = [&STAND_IN[2..], lines].concat();
            let seen = of_request(&[&[1, section.len() as u8][..], &section].concat()).1;
            assert!(matches!(&seen[..], [Event::Refused(_, refusal)] if refusal.status == 400), "{seen:?}");
        }
    }

    #[test]
    fn frames_where_they_may_not_be_end_the_connection() {
        for kind in [2, 3, 4, 5, 6, 7, 8, 9, 13] {
            assert_eq!(of_request(&[kind, 0]).1, [Event::Unexpected]);
        }
        for kind in [0, 1, 2, 5, 6, 8, 9] {
            assert_eq!(events(FrameReader::of_one_way(), [&[0, kind, 0][..]]).1, [Event::Unexpected]);
        }
        assert_eq!(events(FrameReader::of_one_way(), [&[0, 4, 0x80, 1, 0, 0][..]]).1, [Event::Unexpected]);
    }

    #[test]
    fn the_control_stream_passes_whole_frames_and_others_pass_as_they_are() {
        let settings: &[u8] = &[0, 4, 2, 6, 9, 0x21, 1, 7, 7, 1, 0];
        assert_eq!(events(FrameReader::of_one_way(), [settings]), (vec![0, 4, 2, 6, 9, 7, 1, 0], vec![Event::Useless], true));
        assert_eq!(events(FrameReader::of_one_way(), [&[2, 1, 1, 1][..]]), (vec![2, 1, 1, 1], vec![], true));
    }

    #[test]
    fn a_stream_may_end_between_frames_only() {
        let whole = [STAND_IN, &[0, 2, b'a', b'b']].concat();
        for length in 0..=whole.len() {
            let may_end = [0, STAND_IN.len(), whole.len()].contains(&length);
            assert_eq!(of_request(&whole[..length]).2, may_end, "{length}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_does_not_depend_on_how_the_octets_are_cut(
            frames in proptest::collection::vec((0_u8..16, proptest::collection::vec(any::<u8>(), 0..24)), 0..8),
            size in 1_usize..9,
        ) {
            let mut octets = STAND_IN.to_vec();
            for (kind, payload) in frames {
                octets.extend([kind, payload.len() as u8]);
                octets.extend(payload);
            }
            for reader in [|| FrameReader::of_request(LIMIT), FrameReader::of_one_way] {
                prop_assert_eq!(events(reader(), [&octets[..]]), events(reader(), octets.chunks(size)));
            }
        }

        #[test]
        fn any_octets_are_read(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            of_request(&octets);
            events(FrameReader::of_one_way(), octets.chunks(3));
        }
    }
}
