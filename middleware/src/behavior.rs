//! What layers and apps say of themselves, as data: checks and the guide's table of the order come from it.

/// What a layer does to requests and responses: [`Middleware::BEHAVIOR`](crate::Middleware::BEHAVIOR) and [`App::BEHAVIOR`](crate::App::BEHAVIOR) list it.
///
/// The variants are in the order of a stack, outermost first: a layer that assigns the request id stands above one that logs requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Behavior {
    /// Gives each request its id.
    AssignsRequestId,
    /// Believes what trusted proxies say about the client, and corrects [`ConnectionInfo`](crate::ConnectionInfo).
    TrustsProxies,
    /// Acts on the client's address, on the scheme or on the host.
    NeedsConnectionInfo,
    /// Writes a line about each request.
    LogsRequests,
    /// Answers errors with pages of its own.
    ReplacesErrors,
    /// Sets headers of responses.
    SetsResponseHeaders,
    /// Ends requests that take too long.
    BoundsTime,
    /// Finds out who the client is and sets [`RemoteUser`](crate::RemoteUser).
    Authenticates,
    /// Answers some requests without passing them on, for instance with a refusal.
    AnswersEarly,
    /// Sends informational responses before the response.
    SendsHints,
    /// Changes the path of requests.
    RewritesPath,
    /// Stores responses, and answers other requests with them.
    StoresResponses,
    /// Compresses response bodies, or encodes them otherwise.
    EncodesResponseBody,
    /// Answers with files.
    ServesFiles,
    /// Reads or changes the content of response bodies.
    ChangesResponseBody,
    /// Bounds the size of request bodies.
    LimitsRequestBody,
    /// Sends copies of requests elsewhere.
    CopiesRequests,
    /// Takes in request bodies before the layers below see them.
    BuffersRequestBody,
    /// Upgrades connections to another protocol, such as WebSocket (RFC 9110 section 7.8).
    Upgrades,
    /// Has the Python callables below checked.
    ChecksPython,
    /// Runs Python, on a thread that native code cannot interrupt.
    RunsPython,
}

impl Behavior {
    /// All of them, in the order of a stack.
    pub const ALL: &'static [Self] = &[
        Self::AssignsRequestId,
        Self::TrustsProxies,
        Self::NeedsConnectionInfo,
        Self::LogsRequests,
        Self::ReplacesErrors,
        Self::SetsResponseHeaders,
        Self::BoundsTime,
        Self::Authenticates,
        Self::AnswersEarly,
        Self::SendsHints,
        Self::RewritesPath,
        Self::StoresResponses,
        Self::EncodesResponseBody,
        Self::ServesFiles,
        Self::ChangesResponseBody,
        Self::LimitsRequestBody,
        Self::CopiesRequests,
        Self::BuffersRequestBody,
        Self::Upgrades,
        Self::ChecksPython,
        Self::RunsPython,
    ];

    /// What the layer does, as the end of a sentence: "logs requests".
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::AssignsRequestId => "assigns the request id",
            Self::TrustsProxies => "trusts proxies",
            Self::NeedsConnectionInfo => "needs the client's address, the scheme or the host",
            Self::LogsRequests => "logs requests",
            Self::ReplacesErrors => "replaces error responses",
            Self::SetsResponseHeaders => "sets response headers",
            Self::BoundsTime => "bounds time",
            Self::Authenticates => "authenticates the client",
            Self::AnswersEarly => "answers some requests itself",
            Self::SendsHints => "sends early hints",
            Self::RewritesPath => "changes the path",
            Self::StoresResponses => "stores responses for other requests",
            Self::EncodesResponseBody => "encodes response bodies",
            Self::ServesFiles => "serves files",
            Self::ChangesResponseBody => "reads or changes response bodies",
            Self::LimitsRequestBody => "limits request bodies",
            Self::CopiesRequests => "sends copies of requests elsewhere",
            Self::BuffersRequestBody => "buffers request bodies",
            Self::Upgrades => "upgrades connections",
            Self::ChecksPython => "checks Python callables",
            Self::RunsPython => "runs Python",
        }
    }

    /// Where such a layer stands in a stack, and why.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::AssignsRequestId => "at the top: the log lines of all layers below have the id",
            Self::TrustsProxies => "above everything that needs the client's address, the scheme or the host",
            Self::NeedsConnectionInfo => "below the layer that trusts proxies: above it, the client is the proxy",
            Self::LogsRequests => "above everything that answers: it sees only the responses of the layers below",
            Self::ReplacesErrors => "above everything that answers: it sees only the responses of the layers below",
            Self::SetsResponseHeaders => "above everything that answers: refusals have the headers, too",
            Self::BoundsTime => "above what it bounds",
            Self::Authenticates => "above everything that only known users may reach",
            Self::AnswersEarly => "above what costs time: what it answers itself, the layers below never see",
            Self::SendsHints => "below what decides who may see a page: hints are sent before the layers below decide",
            Self::RewritesPath => "below what judges the path that the client sent, above what serves the new one",
            Self::StoresResponses => "below what decides who may see a page, above what encodes bodies: encoded ones are stored",
            Self::EncodesResponseBody => "above everything that reads, changes or serves bodies",
            Self::ServesFiles => "below what encodes bodies, above the app",
            Self::ChangesResponseBody => "below what encodes bodies: above it, the body is compressed",
            Self::LimitsRequestBody => "above what reads request bodies",
            Self::CopiesRequests => "below everything that refuses requests: what the site does not take is not copied",
            Self::BuffersRequestBody => "below everything that refuses requests, above the app: what it takes in costs memory and disk",
            Self::Upgrades => "below native layers alone: a Python layer cannot pass an upgraded connection on",
            Self::ChecksPython => "above the Python layers and apps that it checks",
            Self::RunsPython => "at the bottom: each change between native layers and Python costs time",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_listed_in_their_order() {
        assert!(Behavior::ALL.is_sorted_by(|one, next| one < next));
        assert_eq!(Behavior::ALL.last(), Some(&Behavior::RunsPython));
        assert_eq!(Behavior::ALL.len(), Behavior::RunsPython as usize + 1);
    }
}
