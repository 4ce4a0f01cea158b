//! A call that a worker has, as the server knows it.

use std::sync::Weak;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use ziggurat_middleware::timing::RequestClock;
use ziggurat_middleware::{BoxError, Problem};

use super::ByNumber;
use super::frame::ToWorker;
use super::server_end::ServerEnd;
use super::upload::UploadHandle;
use crate::call::head::Head;
use crate::call::hints::HintSender;
use crate::call::pipe::{RemoteWriter, Writer};
use crate::call::responder::Responder;
use crate::call::{Call, CallSignal, ReplyBody, RequestBody, ResponseHead};
use crate::worker::admission::{Backend, Permit};

/// The state of a call until it is over.
pub(crate) struct InFlight {
    pub(crate) number: u64,
    /// Its position among the calls that this worker was given.
    pub(crate) sequence: u64,
    /// Whether it was sent, and not only kept because the link had ended.
    pub(crate) is_sent: bool,
    pub(crate) head: Head,
    /// The body, if the server has received all of it. The call can then be run again.
    pub(crate) body: Option<RequestBody>,
    /// Where the response goes, until the response begins.
    pub(crate) responder: Option<Responder>,
    pub(crate) hints: Option<HintSender>,
    /// Where the response's body goes.
    pub(crate) sender: Option<Writer<BoxError>>,
    /// The rest of the request's body on its way to the worker.
    pub(crate) upload: Option<UploadHandle>,
    /// Whether it is a WebSocket, which takes up none of the worker's threads and cannot be run again.
    pub(crate) is_websocket: bool,
    pub(crate) class: u32,
    pub(crate) permit: Permit,
    pub(crate) since: Instant,
    pub(crate) clock: Option<RequestClock>,
}

impl InFlight {
    /// Sends a whole response.
    pub(crate) fn respond(&mut self, head: ResponseHead, body: Bytes) {
        if let Some(responder) = self.begin_response(&head) {
            responder.forward(head, ReplyBody::Whole(body));
        }
    }

    /// Takes where the response goes that begins with this head.
    pub(crate) fn begin_response(&mut self, head: &ResponseHead) -> Option<Responder> {
        if let (Some(clock), Some(time)) = (&self.clock, head.thread) {
            clock.end_thread(time);
        }
        self.responder.take()
    }

    /// Answers for a worker that is gone.
    pub(crate) fn fail(self, how: &str) {
        if let Some(responder) = self.responder {
            let problem = Problem::new(StatusCode::BAD_GATEWAY).detail("the app's worker ended before it answered");
            responder.fail(problem.because(how.to_owned()));
        }
        if let Some(sender) = self.sender {
            sender.fail(format!("the app's worker ended in the middle of its response: {how}").into());
        }
    }

    /// The call as it was before it was handed over, if it can be run again.
    #[allow(clippy::result_large_err)]
    pub(crate) fn into_call(self) -> Result<(Call, Permit), Self> {
        match self {
            Self { number, head, body: Some(body), responder: Some(responder), hints, class, permit, since, clock, .. } => {
                Ok((Call { number, head, body, responder, hints, class, since, clock }, permit))
            }
            other => Err(other),
        }
    }
}

/// Splits the calls of a dead worker into those that the app may have begun and those to run again.
///
/// A worker begins calls in order, in `threads` threads: the oldest `threads` unanswered calls may have begun. The others have not, or their
/// responses were lost in the full socket, so only idempotent ones (RFC 9110 section 9.2.2) are run again.
pub(crate) fn split_by_begun(calls: ByNumber<InFlight>, threads: usize) -> (Vec<InFlight>, Vec<(Call, Permit)>) {
    let mut calls: Vec<_> = calls.into_values().collect();
    calls.sort_by_key(|call| call.sequence);
    let mut unanswered = 0;
    let (mut begun, mut not_begun) = (Vec::new(), Vec::new());
    for call in calls {
        if call.responder.is_some() && call.is_sent && !call.is_websocket {
            unanswered += 1;
        }
        if call.responder.is_none() || (call.is_sent && (unanswered <= threads || !is_idempotent(call.head.view().method()))) {
            begun.push(call);
        } else {
            match call.into_call() {
                Ok(call) => not_begun.push(call),
                Err(call) => begun.push(call),
            }
        }
    }
    (begun, not_begun)
}

fn is_idempotent(method: &[u8]) -> bool {
    http::Method::from_bytes(method).is_ok_and(|method| method.is_idempotent())
}

/// The worker as the sender of a response's body.
pub(crate) struct FromWorker {
    pub(crate) link: Weak<ServerEnd>,
    pub(crate) number: u64,
}

impl RemoteWriter for FromWorker {
    fn grant(&self, octets: usize) {
        if let Some(link) = self.link.upgrade() {
            link.send(&ToWorker::Credit(self.number, u32::try_from(octets).unwrap_or(u32::MAX)));
        }
    }

    fn abandon(&self) {
        if let Some(link) = self.link.upgrade() {
            link.signal(self.number, CallSignal::Cancel);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use ziggurat_middleware::{Body, request};

    use super::*;

    fn call(sequence: u64, is_answered: bool) -> (u64, InFlight) {
        call_by(http::Method::GET, sequence, is_answered)
    }

    fn call_by(method: http::Method, sequence: u64, is_answered: bool) -> (u64, InFlight) {
        let (parts, _) = request(method, "/", Body::empty()).into_parts();
        let responder = (!is_answered).then(|| Responder::Task(oneshot::channel().0));
        let call = InFlight {
            number: sequence,
            sequence,
            is_sent: true,
            head: Head::new(&parts, None),
            body: Some(RequestBody::Whole(Bytes::new())),
            responder,
            hints: None,
            sender: None,
            upload: None,
            is_websocket: false,
            class: 0,
            permit: Permit::unbound(),
            since: Instant::now(),
            clock: None,
        };
        (sequence, call)
    }

    fn divided(calls: impl IntoIterator<Item = (u64, InFlight)>, threads: usize) -> (Vec<u64>, Vec<u64>) {
        let (begun, not_begun) = split_by_begun(calls.into_iter().collect(), threads);
        (begun.iter().map(|call| call.number).collect(), not_begun.iter().map(|(call, _)| call.number).collect())
    }

    #[test]
    fn the_oldest_unanswered_calls_may_have_begun_one_per_thread() {
        assert_eq!(divided((1..=5).map(|sequence| call(sequence, false)), 2), (vec![1, 2], vec![3, 4, 5]));
        assert_eq!(divided([call(1, true), call(2, false), call(3, false)], 1), (vec![1, 2], vec![3]));
    }

    #[test]
    fn streamed_calls_are_not_run_again() {
        let (sequence, mut streamed) = call(2, false);
        streamed.body = None;
        assert_eq!(divided([call(1, false), (sequence, streamed), call(3, false)], 1), (vec![1, 2], vec![3]));
    }

    #[test]
    fn websockets_take_up_no_thread_and_are_not_run_again() {
        let (sequence, mut websocket) = call(1, false);
        (websocket.body, websocket.is_websocket) = (None, true);
        assert_eq!(divided([(sequence, websocket), call(2, false), call(3, false)], 1), (vec![1, 2], vec![3]));
    }

    #[test]
    fn calls_that_are_not_idempotent_are_not_run_again() {
        let by = [(1, http::Method::GET), (2, http::Method::POST), (3, http::Method::PUT), (4, http::Method::PATCH)];
        assert_eq!(divided(by.map(|(sequence, method)| call_by(method, sequence, false)), 1), (vec![1, 2, 4], vec![3]));
    }

    #[test]
    fn calls_that_were_not_sent_have_not_begun() {
        let (sequence, mut unsent) = call(1, false);
        unsent.is_sent = false;
        assert_eq!(divided([(sequence, unsent)], 4), (vec![], vec![1]));
    }
}
