//! Connections of front servers: what requests they carry, and what is refused.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::gateway::fastcgi::{Begin, Kind, RESPONDER, Record, pairs, write_stream};
use crate::gateway::testing::{record, variables};
use crate::gateway::{scgi, testing, uwsgi};

fn events(front: &mut impl Front, octets: &[u8], size: usize) -> Result<Vec<Event>, Malformed> {
    testing::events(octets, size, |held| front.take(held), |event| if let Event::Data(data) = event { Some(data) } else { None })
}

fn begin(id: u16, role: u16, keeps_connection: bool) -> Vec<u8> {
    record(Kind::BEGIN_REQUEST, id, &Begin { role, keeps_connection }.to_octets())
}

fn params(id: u16, variables: &Variables) -> Vec<u8> {
    let (mut content, mut out) = (BytesMut::new(), BytesMut::new());
    pairs::write(variables, &mut content);
    write_stream(Kind::PARAMS, id, &content, &mut out);
    [&out, &*record(Kind::PARAMS, id, b"")].concat()
}

fn fastcgi() -> FastCgiFront {
    FastCgiFront::new(1000, 7)
}

fn refused(octets: &[Vec<u8>]) -> &'static str {
    events(&mut fastcgi(), &octets.concat(), 1 << 16).unwrap_err().reason()
}

#[test]
fn requests_follow_each_other_on_a_kept_connection() {
    let mut front = fastcgi();
    for id in [1, 1, 9] {
        let request = variables(&[("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "4")]);
        let octets = [
            begin(id, RESPONDER, true),
            params(id, &request),
            record(Kind::STDIN, id, b"ab"),
            record(Kind::STDIN, id, b"cd"),
            record(Kind::STDIN, id, b""),
        ];
        let expected = vec![Event::Request(request, Some(4)), Event::Data(Bytes::from_static(b"abcd")), Event::End];
        assert_eq!(events(&mut front, &octets.concat(), 3).unwrap(), expected);
        let mut out = BytesMut::new();
        front.write(b"Status: 200 OK\r\n\r\n", &mut out);
        front.end(&mut out);
        assert!(
            front.goes_on()
                && out.starts_with(&[1, 6, 0, id as u8, 0, 18, 6, 0])
                && out.ends_with(&[1, 3, 0, id as u8, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        );
        // The front server left just as the response was sent.
        assert_eq!(events(&mut front, &record(Kind::ABORT_REQUEST, id, b""), 100).unwrap(), []);
    }
}

#[test]
fn the_front_server_learns_what_is_not_done_here() {
    let mut front = fastcgi();
    let reply = |front: &mut FastCgiFront, octets: &[u8]| match &events(front, octets, 100).unwrap()[..] {
        [Event::Reply(reply)] => Record::take(&mut BytesMut::from(&**reply)).unwrap().unwrap(),
        other => panic!("{other:?}"),
    };
    let mut asked = BytesMut::new();
    pairs::write(&variables(&[("FCGI_MPXS_CONNS", ""), ("FCGI_MAX_CONNS", ""), ("X", "")]), &mut asked);
    let values = reply(&mut front, &record(Kind::GET_VALUES, 0, &asked));
    assert_eq!((values.kind, values.id), (Kind::GET_VALUES_RESULT, 0));
    assert_eq!(pairs::read(&values.content).unwrap(), variables(&[("FCGI_MAX_CONNS", "7"), ("FCGI_MPXS_CONNS", "0")]));
    let unknown = reply(&mut front, &record(Kind(77), 0, b""));
    assert_eq!((unknown.kind, unknown.content[0]), (Kind::UNKNOWN, 77));
    let role = reply(&mut front, &[begin(3, 2, true), params(3, &variables(&[])), record(Kind::STDIN, 3, b"")].concat());
    assert_eq!((role.kind, role.id, role.content[4]), (Kind::END_REQUEST, 3, 3));
    assert_eq!(
        events(&mut front, &[begin(1, RESPONDER, true), params(1, &variables(&[])), record(Kind::STDIN, 1, b"x")].concat(), 100)
            .unwrap()
            .len(),
        2
    );
    let second = reply(&mut front, &[begin(2, RESPONDER, true), params(2, &variables(&[])), record(Kind::STDIN, 2, b"x")].concat());
    assert_eq!((second.kind, second.id, second.content[4]), (Kind::END_REQUEST, 2, 1));
    assert_eq!(events(&mut front, &record(Kind::ABORT_REQUEST, 1, b""), 100).unwrap(), [Event::Abort]);
    front.end(&mut BytesMut::new());
    assert!(!front.awaits_response());
}

#[test]
fn a_request_that_is_aborted_before_its_end_is_answered_and_forgotten() {
    let mut front = fastcgi();
    let octets = [begin(1, RESPONDER, true), record(Kind::PARAMS, 1, b"\x01"), record(Kind::ABORT_REQUEST, 1, b"")].concat();
    assert!(matches!(&events(&mut front, &octets, 100).unwrap()[..], [Event::Reply(_)]));
    let waits = [begin(1, RESPONDER, true), params(1, &variables(&[])), record(Kind::ABORT_REQUEST, 1, b"")].concat();
    assert!(matches!(&events(&mut front, &waits, 100).unwrap()[..], [Event::Reply(_)]));
    let next = [begin(2, RESPONDER, false), params(2, &variables(&[("A", "b")])), record(Kind::STDIN, 2, b"")].concat();
    assert_eq!(events(&mut front, &next, 100).unwrap(), [Event::Request(variables(&[("A", "b")]), Some(0)), Event::End]);
    assert!(!front.goes_on());
}

#[test]
fn records_that_contradict_each_other_are_refused() {
    let open = [begin(1, RESPONDER, true), params(1, &variables(&[("CONTENT_LENGTH", "3")]))].concat();
    let stdin = |content: &[u8]| record(Kind::STDIN, 1, content);
    for (octets, said) in [
        (vec![open.clone(), stdin(b"ab"), stdin(b"")], "shorter"),
        (vec![open.clone(), stdin(b"abcd")], "longer"),
        (vec![open.clone(), stdin(b"abc"), stdin(b""), stdin(b"")], "FCGI_STDIN"),
        (vec![open.clone(), record(Kind::PARAMS, 1, b"")], "FCGI_PARAMS"),
        (vec![open.clone(), begin(1, RESPONDER, true)], "twice"),
        (vec![begin(1, RESPONDER, true), stdin(b"")], "FCGI_STDIN"),
        (vec![begin(0, RESPONDER, true)], "id 0"),
        (vec![record(Kind::BEGIN_REQUEST, 1, b"\0\x01\0")], "8 octets"),
        (vec![begin(1, RESPONDER, true), record(Kind::STDOUT, 1, b"")], "type"),
        (vec![begin(1, RESPONDER, true), record(Kind::PARAMS, 1, &[0; 1001])], "too long"),
        (vec![begin(1, RESPONDER, true), record(Kind::PARAMS, 1, b"\x09\x09a"), record(Kind::PARAMS, 1, b"")], "name-value pair"),
        (vec![begin(1, RESPONDER, true), params(1, &variables(&[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "1")]))], "two variables"),
        (vec![begin(1, RESPONDER, true), params(1, &variables(&[("CONTENT_LENGTH", "+1")]))], "not a length"),
        (vec![b"GET / HTTP/1.1".to_vec()], "version 1"),
    ] {
        assert!(refused(&octets).contains(said), "{said}: {}", refused(&octets));
    }
}

#[test]
fn records_of_requests_that_are_not_active_are_ignored() {
    let strays = [(2, 0), (4, 0), (4, 5), (5, 0), (5, 3), (6, 8), (12, 0)];
    let strays: Vec<u8> = strays.into_iter().flat_map(|(kind, length)| record(Kind(kind), 7, &vec![1; length])).collect();
    let request = variables(&[("CONTENT_LENGTH", "3")]);
    let mut front = fastcgi();
    for id in [1, 1, 2] {
        let late = [record(Kind::STDIN, 1, b"late"), record(Kind::PARAMS, 1, b""), record(Kind::ABORT_REQUEST, 1, b"")].concat();
        let octets = [
            late,
            strays.clone(),
            begin(id, RESPONDER, true),
            strays.clone(),
            params(id, &request),
            strays.clone(),
            record(Kind::STDIN, id, b"abc"),
            strays.clone(),
            record(Kind::STDIN, id, b""),
            strays.clone(),
        ];
        let expected = vec![Event::Request(request.clone(), Some(3)), Event::Data(Bytes::from_static(b"abc")), Event::End];
        assert_eq!(events(&mut front, &octets.concat(), 5).unwrap(), expected);
        front.end(&mut BytesMut::new());
    }
}

#[test]
fn the_rest_of_a_body_may_follow_its_response() {
    let mut front = fastcgi();
    let open = [begin(1, RESPONDER, true), params(1, &variables(&[("CONTENT_LENGTH", "3")]))].concat();
    for rest in [[record(Kind::STDIN, 1, b"abc"), record(Kind::STDIN, 1, b"")].concat(), record(Kind::ABORT_REQUEST, 1, b"")] {
        assert_eq!(events(&mut front, &open, 100).unwrap().len(), 1);
        assert!(front.awaits_response());
        front.end(&mut BytesMut::new());
        assert!(!front.awaits_response());
        assert_eq!(events(&mut front, &rest, 100).unwrap().pop(), Some(Event::End));
    }
    assert_eq!(events(&mut front, &open, 100).unwrap().len(), 1);
}

#[test]
fn a_body_without_a_length_ends_with_its_stream() {
    let octets = [
        begin(1, RESPONDER, true),
        params(1, &variables(&[("CONTENT_LENGTH", "")])),
        record(Kind::STDIN, 1, b"any"),
        record(Kind::STDIN, 1, b""),
    ];
    let expected = [Event::Request(variables(&[("CONTENT_LENGTH", "")]), None), Event::Data(Bytes::from_static(b"any")), Event::End];
    assert_eq!(events(&mut fastcgi(), &octets.concat(), 100).unwrap(), expected);
}

#[test]
fn a_packet_has_one_request_and_a_body_as_long_as_it_says() {
    let request = variables(&[("CONTENT_LENGTH", "3"), ("SCGI", "1"), ("REQUEST_METHOD", "POST")]);
    let packet = |modifier1| uwsgi::write(&uwsgi::Packet { modifier1, modifier2: 0, variables: request.clone() }).unwrap();
    for (protocol, head) in [(PacketProtocol::Uwsgi, packet(0)), (PacketProtocol::Scgi, scgi::write(&request, 3).unwrap())] {
        let read = |body: &[u8]| events(&mut PacketFront::new(protocol, 1000), &[&head, body].concat(), 2);
        let whole = vec![Event::Request(request.clone(), Some(3)), Event::Data(Bytes::from_static(b"abc")), Event::End];
        assert_eq!(read(b"abc").unwrap(), whole);
        assert_eq!(read(b"ab").unwrap(), [Event::Request(request.clone(), Some(3)), Event::Data(Bytes::from_static(b"ab"))]);
        assert!(read(b"abcd").unwrap_err().reason().contains("longer"));
        assert!(matches!(events(&mut PacketFront::new(protocol, 10), &head, 100), Err(Malformed::TooLarge(_))));
    }
    let other = events(&mut PacketFront::new(PacketProtocol::Uwsgi, 1000), &packet(5), 100);
    assert!(other.unwrap_err().reason().contains("modifier"));
}

proptest! {
    #[test]
    fn any_records_are_read_or_refused_in_pieces_as_in_whole(
        records in prop::collection::vec((0..12_u8, 0..3_u16, prop::collection::vec(0..4_u8, 0..12)), 0..12),
        size in 1..40_usize,
    ) {
        let octets: Vec<u8> = records.iter().flat_map(|(kind, id, content)| record(Kind(*kind), *id, content)).collect();
        prop_assert_eq!(events(&mut fastcgi(), &octets, size), events(&mut fastcgi(), &octets, octets.len().max(1)));
    }
}
