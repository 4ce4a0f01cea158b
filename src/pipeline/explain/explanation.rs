//! What is found out about the way of a request: data, for people and for programs.

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use ziggurat_middleware::{PossibleAnswer, Response};

/// The way of a request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// Method and URL.
    pub(crate) request: String,
    /// The client.
    pub(crate) from: String,
    /// On the way in, outermost first.
    pub(crate) hops: Vec<Hop>,
    /// The status that the client gets, where it is known without running anything.
    pub(crate) status: Option<u16>,
    /// The headers of the response that are known.
    pub(crate) headers: Vec<(String, String)>,
}

/// A part of the pipeline that the request meets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hop {
    pub(crate) role: Role,
    /// The identity in the pipeline, or the address of a listener.
    pub(crate) place: String,
    /// The kind of a layer or an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// The line of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    /// What is done with the request, and why.
    pub(crate) notes: Vec<String>,
    /// What may be answered here, depending on the running stack.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) may_answer: Vec<Possibility>,
    /// The routes that were tried, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<TriedRoute>,
    /// Whether the request ends here.
    pub(crate) answers: bool,
    /// The status that is answered here, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// What is done with the response on its way back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) back: Vec<String>,
    /// What the running server says of it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) live: Vec<String>,
}

/// What a hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    Listener,
    Server,
    Layer,
    Routes,
    /// An entry of `apps`.
    Named,
    App,
}

/// As [`PossibleAnswer`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Possibility {
    pub(crate) status: u16,
    pub(crate) when: String,
}

/// A route of a table that was tried.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TriedRoute {
    /// Its number in the table, from 1.
    pub(crate) number: usize,
    /// The name that the file gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The condition in words.
    pub(crate) condition: String,
    pub(crate) line: usize,
    /// Why it does not take the request; `None` for the one that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) passed: Option<String>,
}

impl Explanation {
    pub(super) fn new(request: String, from: String, hops: Vec<Hop>, response: Option<&Response>) -> Self {
        let headers = response.map(|response| pairs(response.headers())).unwrap_or_default();
        Self { request, from, hops, status: response.map(|response| response.status().as_u16()), headers }
    }

    /// The hop at which the request ends.
    pub(crate) fn answered_by(&self) -> Option<&Hop> {
        self.hops.iter().rfind(|hop| hop.answers)
    }
}

impl Hop {
    pub(super) fn new(role: Role, place: impl Into<String>) -> Self {
        Self {
            role,
            place: place.into(),
            kind: None,
            line: None,
            notes: Vec::new(),
            may_answer: Vec::new(),
            routes: Vec::new(),
            answers: false,
            status: None,
            back: Vec::new(),
            live: Vec::new(),
        }
    }
}

impl From<PossibleAnswer> for Possibility {
    fn from(possible: PossibleAnswer) -> Self {
        Self { status: possible.status.as_u16(), when: possible.condition }
    }
}

/// The headers as text.
pub(super) fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}
