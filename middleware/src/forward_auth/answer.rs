//! What the answer of the server that decides means.

use http::header::{CACHE_CONTROL, HeaderName, HeaderValue, SET_COOKIE};
use http::{HeaderMap, StatusCode};

use crate::units::HeaderKey;
use crate::{Authenticated, RemoteUser, Request, Response, hop_by_hop};

/// The request passes.
#[derive(Clone, Default)]
pub(super) struct Pass {
    /// Headers for the app.
    headers: Vec<(HeaderName, HeaderValue)>,
    user: Option<RemoteUser>,
    /// The server has said so. Without a decision, nothing is known of the client.
    is_decided: bool,
    /// Cookies for the client.
    cookies: Vec<HeaderValue>,
}

/// The verdict of an answer.
pub(super) enum Verdict {
    /// The request passes. The flag tells whether further requests may, without asking again.
    Pass(Pass, bool),
    /// The client gets this response.
    Refuse(Response),
    /// The status is no decision.
    Unclear(StatusCode),
}

/// What is read from answers.
pub(super) struct Reader {
    /// The headers that the app gets.
    pub(super) headers: Vec<HeaderKey>,
    /// The header that names the user.
    pub(super) user: Option<HeaderKey>,
}

impl Reader {
    pub(super) fn read(&self, mut answer: Response) -> Verdict {
        match answer.status() {
            status if status.is_success() => {
                let headers = answer.headers();
                Verdict::Pass(self.pass(headers), !headers.contains_key(SET_COOKIE) && !is_no_store(headers))
            }
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                hop_by_hop::remove_all(answer.headers_mut());
                Verdict::Refuse(answer)
            }
            status => Verdict::Unclear(status),
        }
    }

    fn pass(&self, answer: &HeaderMap) -> Pass {
        let taken = self.headers.iter().flat_map(|name| answer.get_all(&name.0).iter().map(|value| (name.0.clone(), value.clone())));
        let user = self.user.as_ref().and_then(|name| answer.get(&name.0)).and_then(|user| std::str::from_utf8(user.as_bytes()).ok());
        let user = user.filter(|user| !user.is_empty());
        Pass {
            headers: taken.collect(),
            user: user.map(|user| RemoteUser { user: user.into(), auth_type: SCHEME.into() }),
            is_decided: true,
            cookies: answer.get_all(SET_COOKIE).iter().cloned().collect(),
        }
    }

    /// Removes the headers that only the server that decides may set.
    pub(super) fn strip(&self, request: &mut Request) {
        for name in self.headers.iter().chain(&self.user) {
            request.headers_mut().remove(&name.0);
        }
    }
}

impl Pass {
    /// Tells the layers below and the app who it is.
    pub(super) fn apply(&self, request: &mut Request) {
        for (name, value) in &self.headers {
            request.headers_mut().append(name.clone(), value.clone());
        }
        if let Some(user) = &self.user {
            request.extensions_mut().insert(user.clone());
        } else if self.is_decided {
            request.extensions_mut().insert(authenticated());
        }
    }

    /// Tells the client and the layers above.
    pub(super) fn apply_to_response(self, response: &mut Response) {
        for cookie in self.cookies {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        if let Some(user) = self.user {
            response.extensions_mut().insert(user);
        }
    }

    /// The octets that it holds, without cookies, which are never cached.
    pub(super) fn size(&self) -> usize {
        let user = self.user.as_ref().map_or(0, |user| user.user.len());
        self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() + user
    }
}

/// `AUTH_TYPE`.
const SCHEME: &str = "ForwardAuth";

/// What a request has that passes without the name of its user.
pub(super) fn authenticated() -> Authenticated {
    Authenticated { auth_type: SCHEME.into() }
}

fn is_no_store(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-store"))
}
