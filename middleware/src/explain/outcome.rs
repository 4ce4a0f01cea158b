//! What a layer or an app has said of a request, and what it says of the response.

use std::fmt;

use http::StatusCode;

use crate::{Body, Request, Response};

/// What a layer or an app says of a request ([`Explain`](crate::Explain)).
#[non_exhaustive]
pub struct Explained {
    /// The request as the layers below see it.
    pub request: Request,
    /// What is done with the request, and why.
    pub notes: Vec<String>,
    /// What may be answered here, depending on the running stack.
    pub possible: Vec<PossibleAnswer>,
    /// The response, if the request is answered here.
    pub answer: Option<Response>,
    /// Whether only the running layer or app can tell what becomes of the request and of the response.
    pub is_vague: bool,
    pub(crate) on_response: Vec<ResponseHook>,
}

pub(crate) type ResponseHook = Box<dyn FnOnce(&mut ExplainResponse<'_>)>;

/// A response that depends on the running stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PossibleAnswer {
    /// The status.
    pub status: StatusCode,
    /// When: "if the bucket is empty".
    pub condition: String,
}

/// A response on its way back through a layer that explains what it does with it.
#[derive(Debug)]
pub struct ExplainResponse<'a> {
    response: Option<&'a mut Response>,
    notes: Vec<String>,
}

impl Explained {
    /// Brings the response of the layers below back through the layer: `None` if only the running app knows it. Returns what is said of it.
    pub fn respond(&mut self, response: Option<&mut Response>) -> Vec<String> {
        let mut explain = ExplainResponse { response, notes: Vec::new() };
        for hook in self.on_response.drain(..) {
            hook(&mut explain);
        }
        explain.notes
    }
}

impl ExplainResponse<'_> {
    /// The response, to be changed as the layer changes it; `None` if only the running app knows it. Its body is there as far as the explanation knows
    /// it; it must not be read.
    pub fn known(&mut self) -> Option<&mut Response> {
        self.response.as_deref_mut()
    }

    /// Changes the response, if it is known.
    pub fn change(&mut self, up: impl FnOnce(Response) -> Response) {
        if let Some(response) = self.known() {
            *response = up(std::mem::replace(response, Response::new(Body::empty())));
        }
    }

    /// Says what is done with the response, and why.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }
}

impl fmt::Debug for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explained")
            .field("notes", &self.notes)
            .field("possible", &self.possible)
            .field("answer", &self.answer.as_ref().map(Response::status))
            .field("is_vague", &self.is_vague)
            .finish_non_exhaustive()
    }
}
