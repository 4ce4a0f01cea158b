//! Checks of octets as frames, for tests and the fuzzer.

use bytes::BytesMut;

use super::{Malformed, ToServer, ToWorker};

/// Parses octets in one and in two parts. Both have to give the same frames, and writing these has to give frames that parse as the same.
fn check<T>(octets: &[u8], take: fn(&mut BytesMut) -> Result<Option<T>, Malformed>, put: fn(&T, &mut Vec<u8>)) {
    let all_of = |parts: [&[u8]; 2]| {
        let (mut waiting, mut read) = (BytesMut::new(), Vec::new());
        for part in parts {
            waiting.extend_from_slice(part);
            loop {
                match take(&mut waiting) {
                    Ok(Some(frame)) => put(&frame, &mut read),
                    Ok(None) => break,
                    Err(malformed) => return (read, Some(malformed)),
                }
            }
        }
        (read, None)
    };
    let (read, verdict) = all_of([octets, &[]]);
    let cut = octets.first().map_or(0, |first| usize::from(*first) % octets.len());
    assert_eq!(all_of([&octets[..cut], &octets[cut..]]), (read.clone(), verdict), "cut at {cut}");
    assert_eq!(all_of([&read, &[]]), (read.clone(), None), "what was read is not what was written");
}

/// Checks octets as frames from a server, for the fuzzer.
pub(crate) fn check_orders(octets: &[u8]) {
    check(octets, ToWorker::take, ToWorker::put);
}

/// Checks octets as frames from a worker, for the fuzzer.
pub(crate) fn check_reports(octets: &[u8]) {
    check(octets, ToServer::take, ToServer::put);
}
