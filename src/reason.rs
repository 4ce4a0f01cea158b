//! The reason phrases that apps and upstream servers state beside a status.

use http::StatusCode;
use hyper::ext::ReasonPhrase;
use ziggurat_middleware::Response;

/// The status that the phrase of a response was stated for. A layer may give the response another one, to which the phrase does not belong.
#[derive(Clone, Copy)]
struct StatedFor(StatusCode);

/// Notes the phrase of a response.
pub(crate) fn state(response: &mut Response, phrase: ReasonPhrase) {
    let status = response.status();
    response.extensions_mut().insert(StatedFor(status));
    response.extensions_mut().insert(phrase);
}

/// The phrase of a response, if it belongs to its status.
pub(crate) fn of(response: &Response) -> Option<&ReasonPhrase> {
    let is_foreign = response.extensions().get::<StatedFor>().is_some_and(|stated| stated.0 != response.status());
    response.extensions().get().filter(|_| !is_foreign)
}

/// Removes a phrase that does not belong to the status of the response.
pub(crate) fn check(response: &mut Response) {
    if of(response).is_none() {
        response.extensions_mut().remove::<ReasonPhrase>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_goes_with_the_status_that_it_was_stated_for() {
        let mut response = Response::default();
        state(&mut response, ReasonPhrase::from_static(b"Fine"));
        check(&mut response);
        assert_eq!(of(&response).unwrap().as_bytes(), b"Fine");
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        assert!(of(&response).is_none());
        check(&mut response);
        assert!(response.extensions().get::<ReasonPhrase>().is_none());
        // A service of the program may set one by itself.
        response.extensions_mut().remove::<StatedFor>();
        response.extensions_mut().insert(ReasonPhrase::from_static(b"Own"));
        check(&mut response);
        assert!(of(&response).is_some());
    }
}
