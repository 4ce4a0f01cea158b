//! HTTP-01: answers `/.well-known/acme-challenge/TOKEN` before the stack.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response as HttpResponse};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use ziggurat_middleware::{Body, ConnectionInfo, IntoStage, Next, Place, Request, Response, Scheme, from_fn};

use super::Challenge;
use crate::acme::store::Store;

const PREFIX: &str = "/.well-known/acme-challenge/";

/// The most tokens that are looked up at once. Requests beyond wait.
const MOST_LOOKUPS: usize = 16;

/// The stack, with answers to challenges in front of it. A token that is in no store is the stack's to answer.
pub(crate) fn answer_http01(stack: Next, stores: Vec<Store>) -> Next {
    let stores: Arc<[Store]> = stores.into();
    let lookups = Arc::new(Semaphore::new(MOST_LOOKUPS));
    let stage = from_fn((stores, lookups), async |(stores, lookups): (Arc<[Store]>, Arc<Semaphore>), request: Request, next: Next| {
        if let Some(token) = token(&request).map(str::to_owned)
            && let Some(answer) = look_up(token, stores, &lookups).await
        {
            return response(answer);
        }
        next.run(request).await
    });
    stage.stage(&Place::new("acme"), stack)
}

/// The token that a request asks for (RFC 8555 section 8.3): unpadded base64url, over clear text.
fn token(request: &Request) -> Option<&str> {
    let is_plain = request.extensions().get::<ConnectionInfo>().is_none_or(|connection| connection.scheme == Scheme::Http);
    if !is_plain || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    request.uri().path().strip_prefix(PREFIX).filter(|token| is_token(token))
}

pub(in crate::acme) fn is_token(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
}

async fn look_up(token: String, stores: Arc<[Store]>, lookups: &Semaphore) -> Option<String> {
    let _permit = lookups.acquire().await.ok()?;
    let find = move || stores.iter().find_map(|store| store.challenge(Challenge::Http01, &token));
    spawn_blocking(find).await.ok()?.map(|record| record.answer)
}

fn response(key_authorization: String) -> Response {
    let mut response = HttpResponse::new(Body::from(key_authorization));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt;
    use proptest::prelude::*;
    use tower::{Service, service_fn};
    use ziggurat_middleware::IntoApp;

    use super::*;
    use crate::acme::store::ChallengeRecord;

    async fn ask(stack: &Next, path: &str) -> (u16, String) {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        let response = stack.clone().call(request).await.unwrap();
        let status = response.status().as_u16();
        (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    fn stack_of(store: &Store) -> Next {
        let app = service_fn(async |_: Request| Ok::<_, Infallible>(Response::new(Body::from("the app"))));
        answer_http01(app.into_next(&Place::new("app")), vec![Store::new("/nonexistent"), store.clone()])
    }

    #[tokio::test]
    async fn a_token_of_any_store_is_answered_and_everything_else_reaches_the_stack() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let record = ChallengeRecord {
            challenge: Challenge::Http01,
            name: "a.test".to_owned(),
            token: "to-ken_1".to_owned(),
            answer: "to-ken_1.thumb".to_owned(),
        };
        let stack = stack_of(&store);
        assert_eq!(ask(&stack, "/.well-known/acme-challenge/to-ken_1").await.1, "the app");
        store.put_challenge(&record).unwrap();
        assert_eq!(ask(&stack, "/.well-known/acme-challenge/to-ken_1").await, (200, "to-ken_1.thumb".to_owned()));
        for path in
            ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/other", "/.well-known/acme-challenge/../http-01/to-ken_1"]
        {
            assert_eq!(ask(&stack, path).await.1, "the app", "{path}");
        }
        store.remove_challenge(&record);
        assert_eq!(ask(&stack, "/.well-known/acme-challenge/to-ken_1").await.1, "the app");
    }

    proptest! {
        #[test]
        fn no_token_leaves_its_folder(text: String) {
            if is_token(&text) {
                prop_assert!(!text.contains(['/', '.', '\0']) && text.len() <= 128);
            }
        }
    }
}
