//! Frames survive writing and reading, and malformed octets are refused.

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use ziggurat_middleware::timing::ThreadSpan;

use super::*;

fn octets() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..60).prop_map(Bytes::from)
}

fn shared_chunk() -> impl Strategy<Value = SharedChunk> {
    (any::<u64>(), any::<u32>()).prop_map(|(at, length)| SharedChunk { at, length })
}

fn order() -> impl Strategy<Value = ToWorker> {
    let spooled = any::<u64>().prop_map(CallBody::Spooled);
    let body = prop_oneof![octets().prop_map(CallBody::Whole), Just(CallBody::Stream), Just(CallBody::Lazy), spooled].boxed();
    prop_oneof![
        octets().prop_map(ToWorker::Boot),
        (any::<u64>(), octets(), body, any::<bool>()).prop_map(|(number, head, body, hints)| ToWorker::Call(number, head, body, hints)),
        (any::<u64>(), octets()).prop_map(|(number, octets)| ToWorker::Body(number, octets)),
        (any::<u64>(), shared_chunk()).prop_map(|(number, chunk)| ToWorker::SharedBody(number, chunk)),
        any::<u64>().prop_map(ToWorker::BodyEnd),
        (any::<u64>(), any::<u16>(), octets()).prop_map(|(number, status, detail)| ToWorker::BodyFailed(number, status, detail)),
        (any::<u64>(), any::<u32>()).prop_map(|(number, octets)| ToWorker::Credit(number, octets)),
        any::<u64>().prop_map(ToWorker::Cancel),
        any::<u64>().prop_map(ToWorker::Trace),
        any::<u64>().prop_map(ToWorker::Expire),
        any::<u64>().prop_map(ToWorker::Recall),
        Just(()).prop_map(|()| ToWorker::Stacks),
        Just(()).prop_map(|()| ToWorker::Reopen),
        Just(()).prop_map(|()| ToWorker::Fork),
        Just(()).prop_map(|()| ToWorker::Stop),
        (any::<u64>(), octets()).prop_map(|(number, head)| ToWorker::WebSocket(number, head)),
    ]
}

fn head() -> impl Strategy<Value = ResponseHead> {
    let header = ("[a-z][a-z0-9-]{0,8}", "[ -~]{0,12}");
    let thread = proptest::option::of(any::<u32>().prop_map(|nanos| Duration::from_nanos(nanos.into())));
    (100..1000_u16, proptest::option::of(vec(any::<u8>(), 0..8)), vec(header, 0..5), thread).prop_map(|(status, reason, lines, thread)| {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        ResponseHead {
            status: StatusCode::from_u16(status).unwrap(),
            reason: reason.map(Vec::into_boxed_slice),
            headers,
            length: None,
            thread,
        }
    })
}

fn times() -> impl Strategy<Value = CallTimes> {
    let time = || any::<u32>().prop_map(|nanos| Duration::from_nanos(nanos.into()));
    let span = (
        any::<u8>(),
        proptest::option::of(0..255_u8),
        octets(),
        time(),
        proptest::option::of(time()),
        proptest::option::of("[a-zA-Z.]{1,12}"),
        time(),
        time(),
    );
    let span = span.prop_map(|(number, above, name, begin, duration, error, request, body)| ThreadSpan {
        number,
        above,
        name,
        begin,
        duration,
        error: error.map(String::into_boxed_str),
        request,
        body,
    });
    (proptest::option::of(time()), time(), vec(span, 0..4)).prop_map(|(thread, elapsed, spans)| CallTimes::new(thread, elapsed, spans))
}

fn report() -> impl Strategy<Value = ToServer> {
    prop_oneof![
        octets().prop_map(ToServer::Ready),
        octets().prop_map(ToServer::Refused),
        (any::<u64>(), head(), octets(), any::<bool>()).prop_map(|(number, head, body, done)| ToServer::Response(number, head, body, done)),
        (any::<u64>(), head()).prop_map(|(number, head)| ToServer::Head(number, head)),
        (any::<u64>(), head(), any::<u64>(), any::<u64>()).prop_map(|(number, head, start, end)| ToServer::File(number, head, start..end)),
        (any::<u64>(), octets()).prop_map(|(number, octets)| ToServer::Body(number, octets)),
        (any::<u64>(), shared_chunk()).prop_map(|(number, chunk)| ToServer::SharedBody(number, chunk)),
        any::<u64>().prop_map(ToServer::BodyEnd),
        (any::<u64>(), octets()).prop_map(|(number, why)| ToServer::BodyFailed(number, why)),
        (any::<u64>(), any::<u16>(), octets()).prop_map(|(number, status, detail)| ToServer::Failed(number, status, detail)),
        (any::<u64>(), any::<u32>()).prop_map(|(number, octets)| ToServer::Credit(number, octets)),
        any::<u64>().prop_map(ToServer::Returned),
        any::<u64>().prop_map(ToServer::Done),
        octets().prop_map(ToServer::Ended),
        (any::<u64>(), times()).prop_map(|(number, times)| ToServer::Times(number, times)),
    ]
}

/// All frames of octets that arrive in two parts, split at `cut`.
fn read<T>(octets: &[u8], cut: usize, take: fn(&mut BytesMut) -> Result<Option<T>, Malformed>) -> Vec<T> {
    let (mut waiting, mut frames) = (BytesMut::new(), Vec::new());
    for part in [&octets[..cut], &octets[cut..]] {
        waiting.extend_from_slice(part);
        while let Some(frame) = take(&mut waiting).unwrap() {
            frames.push(frame);
        }
    }
    assert!(waiting.is_empty());
    frames
}

/// Compared by their debug text: heads have no equality of their own.
fn shown(reports: &[ToServer]) -> Vec<String> {
    reports.iter().map(|report| format!("{report:?}")).collect()
}

proptest! {
    #[test]
    fn frames_to_a_worker_survive_wherever_they_are_cut(frames in vec(order(), 1..4)) {
        let mut out = Vec::new();
        frames.iter().for_each(|order| order.put(&mut out));
        for cut in 0..=out.len() {
            prop_assert_eq!(&read(&out, cut, ToWorker::take), &frames);
        }
    }

    #[test]
    fn frames_to_the_server_survive_wherever_they_are_cut(reports in vec(report(), 1..4)) {
        let mut out = Vec::new();
        reports.iter().for_each(|report| report.put(&mut out));
        let given = shown(&read(&out, 0, ToServer::take));
        prop_assert_eq!(given.len(), reports.len());
        for cut in 0..=out.len() {
            prop_assert_eq!(&shown(&read(&out, cut, ToServer::take)), &given);
        }
        let mut again = Vec::new();
        read(&out, 0, ToServer::take).iter().for_each(|report| report.put(&mut again));
        prop_assert_eq!(again, out);
    }

    #[test]
    fn any_octets_are_frames_or_are_refused(octets in vec(any::<u8>(), 0..200)) {
        check_orders(&octets);
        check_reports(&octets);
    }

    #[test]
    fn payloads_of_every_kind_are_frames_or_are_refused(kind in 0..80_u8, flags in 0..9_u8, payload in vec(0..4_u8, 0..40)) {
        let mut octets = Vec::new();
        frame(&mut octets, kind, flags, 7, &[&payload]);
        check_orders(&octets);
        check_reports(&octets);
    }
}

#[test]
fn a_frame_that_is_too_large_is_refused_before_all_of_it_has_come() {
    let mut octets = BytesMut::new();
    octets.extend_from_slice(&size(LARGEST + 1).to_le_bytes());
    octets.extend_from_slice(&[3; 12]);
    assert!(ToWorker::take(&mut octets).is_err());
    assert!(octets.capacity() < LARGEST);
}

#[test]
fn a_head_whose_parts_exceed_it_is_refused() {
    for payload in
        [&[200, 0, 255, 255, 1, 0, 0, 0][..], &[200, 0, 9, 0, b'o'], &[200, 0, 255, 255, 1, 0, 0, 0, 1, 0, 9, 0, 0, 0, b'a', b'b']]
    {
        let mut octets = Vec::new();
        frame(&mut octets, 67, 0, 1, &[payload]);
        assert_eq!(ToServer::take(&mut BytesMut::from(&octets[..])).err(), Some(SHORT), "{payload:?}");
    }
}

#[test]
fn the_length_of_a_response_is_read_from_its_head() {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(5));
    let head = ResponseHead { status: StatusCode::OK, reason: None, headers, length: Some(5), thread: None };
    let mut octets = Vec::new();
    put_response_head(&mut octets, 1, None, &EncodedHead::from(&head));
    let Ok(Some(ToServer::Head(1, head))) = ToServer::take(&mut BytesMut::from(&octets[..])) else { panic!("no head") };
    assert_eq!(head.length, Some(5));
}
