//! What holds for any octets: fuzzing feeds them, and a property test.

use bytes::BytesMut;

use super::back::{Back, BackProtocol, Event, NoResponse};
use super::{Malformed, ResponseHead, fastcgi, read_request, scgi, uwsgi};

/// Reads octets as each protocol, whole and in pieces whose size is the first octet. Panics if the results differ.
#[cfg_attr(test, allow(unreachable_pub))]
pub fn fuzz_gateway(octets: &[u8]) {
    let Some((size, octets)) = octets.split_first() else { return };
    let (size, most) = (usize::from(*size), 1 << 10);
    let whole = octets.len();
    let packets = read(octets, size, |held| uwsgi::take(held, most));
    assert_eq!(packets, read(octets, whole, |held| uwsgi::take(held, most)));
    let netstrings = read(octets, size, |held| scgi::take(held, most));
    assert_eq!(netstrings, read(octets, whole, |held| scgi::take(held, most)));
    let records = read(octets, size, fastcgi::Record::take);
    assert_eq!(records, read(octets, whole, fastcgi::Record::take));
    let seen = fastcgi::Record::iter(octets).map(|(kind, id, content)| (kind, id, content.to_vec()));
    assert!(seen.eq(records.into_iter().flatten().map(|record| (record.kind, record.id, record.content.to_vec()))));
    let heads = read(octets, size, |held| ResponseHead::take(held, most));
    assert_eq!(heads, read(octets, whole, |held| ResponseHead::take(held, most)));
    for protocol in [BackProtocol::FastCgi, BackProtocol::Scgi] {
        assert_eq!(said(protocol, octets, size), said(protocol, octets, whole));
    }
    let variables = packets.into_iter().flatten().map(|packet| packet.variables).chain(netstrings.into_iter().flatten());
    for variables in variables.chain(fastcgi::pairs::read(octets)) {
        let _ = read_request(&variables);
    }
}

/// What an app says: the head, the body, the lines for the log, and how it ends, if it does.
type Said = (Option<ResponseHead>, Vec<u8>, Vec<u8>, Option<Result<(), NoResponse>>);

fn said(protocol: BackProtocol, octets: &[u8], size: usize) -> Said {
    let (mut back, mut held, mut rest) = (Back::new(protocol), BytesMut::new(), None);
    let mut said: Said = (None, Vec::new(), Vec::new(), None);
    for piece in octets.chunks(size.max(1)) {
        held.extend_from_slice(piece);
        while said.3.is_none() {
            match back.take(&mut held) {
                Ok(Some(Event::Head(head))) => (said.0, rest) = (Some(head), back.rest(&held)),
                Ok(Some(Event::Data(data))) => said.1.extend_from_slice(&data),
                Ok(Some(Event::Stderr(line))) => said.2.extend_from_slice(&line),
                Ok(Some(Event::End)) => said.3 = Some(Ok(())),
                Ok(None) => break,
                Err(none) => said.3 = Some(Err(none)),
            }
        }
    }
    if let Some(rest) = rest {
        assert_eq!((said.1.len() as u64, &said.3), (rest, &Some(Ok(()))));
    }
    said
}

fn read<T>(octets: &[u8], size: usize, mut take: impl FnMut(&mut BytesMut) -> Result<Option<T>, Malformed>) -> Vec<Result<T, Malformed>> {
    let (mut held, mut found) = (BytesMut::new(), Vec::new());
    for piece in octets.chunks(size.max(1)) {
        held.extend_from_slice(piece);
        loop {
            match take(&mut held) {
                Ok(Some(message)) => found.push(Ok(message)),
                Ok(None) => break,
                Err(malformed) => {
                    found.push(Err(malformed));
                    return found;
                }
            }
        }
    }
    found
}
