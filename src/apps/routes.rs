//! `routes`: chooses the app by the request. The first route whose condition holds takes it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use tower::util::Oneshot;
use tower::{Service, ServiceExt};
use ziggurat_middleware::{Deadline, Mount, Next, Problem, Request, ReserveClass, Response};

use super::matching::{Match, Prefix, View};

/// The service over a table of routes.
#[derive(Clone, Debug)]
pub(crate) struct Routes(Arc<[Arm]>);

/// One route, built.
#[derive(Debug)]
pub(crate) struct Arm {
    pub(crate) condition: Option<Match>,
    pub(crate) mount: Option<Prefix>,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) reserve: Option<ReserveClass>,
    pub(crate) next: Next,
}

impl Routes {
    pub(crate) fn new(arms: Vec<Arm>) -> Self {
        Self(arms.into())
    }
}

impl Service<Request> for Routes {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Oneshot<Next, Request>, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Which app must be ready is known with the request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let refuse = |problem: Problem| Either::Right(ready(Ok(problem.into_response())));
        let view = View::new(&request);
        if has_dot_segment(view.path()) {
            // `/a/../b` is below `/a` for one app and is `/b` for another: no condition could be relied upon.
            return refuse(Problem::new(StatusCode::BAD_REQUEST).detail("the path holds a `.` or `..` segment"));
        }
        let arm = self.0.iter().find(|arm| {
            arm.mount.as_ref().is_none_or(|mount| mount.holds(view.path()))
                && arm.condition.as_ref().is_none_or(|condition| condition.holds(&view))
        });
        let Some(arm) = arm else { return refuse(Problem::new(StatusCode::NOT_FOUND)) };
        if let Some(prefix) = &arm.mount
            && enter(&mut request, prefix).is_none()
        {
            return refuse(Problem::new(StatusCode::BAD_REQUEST));
        }
        // Where an outer route said something else, the inner one stands.
        if let Some(deadline) = arm.deadline {
            request.extensions_mut().insert(deadline);
        }
        if let Some(class) = arm.reserve {
            request.extensions_mut().insert(class);
        }
        Either::Left(arm.next.clone().oneshot(request))
    }
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|octet| matches!(octet, b'/' | b'\\')).any(|segment| matches!(segment, b"." | b".."))
}

/// Moves `prefix` from the path to the [`Mount`] fact.
///
/// The path that is left begins with `/`: a URI cannot say "nothing". Whether the client asked for the mount point with or without a slash
/// at its end is seen by comparing the fact's `target` with its `prefix`.
fn enter(request: &mut Request, prefix: &Prefix) -> Option<()> {
    let uri = request.uri();
    let (taken, rest) = uri.path().split_at(encoded_length(uri.path(), prefix.as_str())?);
    // The slash after the prefix may itself be percent-encoded.
    let below = match rest.get(..3) {
        Some(slash) if slash.eq_ignore_ascii_case("%2f") => &rest[3..],
        _ => rest.strip_prefix('/').unwrap_or(rest),
    };
    let rest = format!("/{below}");
    let path = match uri.query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest,
    };
    let mount = match request.extensions().get::<Mount>() {
        Some(outer) => Mount { prefix: format!("{}{taken}", outer.prefix).into(), target: outer.target.clone() },
        None => Mount { prefix: taken.into(), target: uri.clone() },
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    request.extensions_mut().insert(mount);
    Some(())
}

/// How many octets of `path` make up `prefix` once their percent-encoding is undone.
fn encoded_length(path: &str, prefix: &str) -> Option<usize> {
    let octets = path.as_bytes();
    let mut at = 0;
    for _ in prefix.bytes() {
        let hex = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_hexdigit);
        let encoded = *octets.get(at)? == b'%' && hex(octets.get(at + 1)) && hex(octets.get(at + 2));
        at += if encoded { 3 } else { 1 };
    }
    path.is_char_boundary(at).then_some(at)
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use ziggurat_middleware::{Body, request};

    use super::*;

    /// The path that is left and the mount's prefix.
    fn entered(target: &str, prefix: &str) -> (String, String) {
        let mut request = request(http::Method::GET, target, Body::empty());
        enter(&mut request, &prefix.parse().unwrap()).unwrap();
        let mount = request.extensions().get::<Mount>().unwrap();
        assert_eq!(mount.target, *target);
        (request.uri().to_string(), mount.prefix.to_string())
    }

    #[test]
    fn a_mount_moves_its_prefix_as_the_client_wrote_it() {
        for (target, left, prefix) in [
            ("/blog", "/", "/blog"),
            ("/blog/", "/", "/blog"),
            ("/blog/x?y=/blog", "/x?y=/blog", "/blog"),
            ("/blog?y", "/?y", "/blog"),
            ("/%62log/%78", "/%78", "/%62log"),
            ("/blog%2Fx", "/x", "/blog"),
            ("/blog%2f", "/", "/blog"),
            ("/blog//x", "//x", "/blog"),
            ("http://h/blog/x", "http://h/x", "/blog"),
        ] {
            assert_eq!(entered(target, "/blog"), (left.to_owned(), prefix.to_owned()), "{target}");
        }
    }

    #[test]
    fn mounts_add_up() {
        let mut request = request(http::Method::GET, "/a/b/c", Body::empty());
        enter(&mut request, &"/a".parse().unwrap()).unwrap();
        enter(&mut request, &"/b".parse().unwrap()).unwrap();
        let mount = request.extensions().get::<Mount>().unwrap();
        assert_eq!((&*mount.prefix, mount.target.path(), request.uri().path()), ("/a/b", "/a/b/c", "/c"));
    }

    proptest! {
        /// What WSGI calls SCRIPT_NAME and PATH_INFO is the decoded path, cut after the prefix, however the client encoded it.
        #[test]
        fn prefix_and_rest_make_up_the_path(octets in proptest::collection::vec((any::<u8>(), any::<bool>()), 0..12), encode in any::<[bool; 2]>()) {
            let mut target = String::from(if encode[0] { "/%61" } else { "/a" });
            if !octets.is_empty() {
                target.push_str(if encode[1] { "%2f" } else { "/" });
            }
            for (octet, encoded) in octets {
                if encoded || !octet.is_ascii_alphanumeric() {
                    target.push_str(&format!("%{octet:02X}"));
                } else {
                    target.push(octet.into());
                }
            }
            let (left, prefix) = entered(&target, "/a");
            let whole: Vec<u8> = percent_decode_str(&target).collect();
            let mut joined: Vec<u8> = percent_decode_str(&prefix).chain(percent_decode_str(&left)).collect();
            if whole.len() == 2 {
                prop_assert_eq!(joined.pop(), Some(b'/'));
            }
            prop_assert_eq!(joined, whole);
        }
    }
}
