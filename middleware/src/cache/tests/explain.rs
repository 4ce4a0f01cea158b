//! What the layer says of a request.

use http::Method;

use crate::cache::Cache;
use crate::{Body, Response, TestStack, request};

type Headers = [(&'static str, &'static str)];

fn notes(method: Method, headers: &Headers, response: Option<&Headers>) -> Vec<String> {
    let mut asked = request(method, "/shop?a=1", Body::empty());
    for (name, value) in headers {
        asked.headers_mut().insert(*name, value.parse().unwrap());
    }
    let mut explained = TestStack::explain::<Cache>("{}", asked);
    let mut known = response.map(|headers| {
        let mut response = Response::new(Body::from("page"));
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        response
    });
    let mut notes = std::mem::take(&mut explained.notes);
    notes.extend(explained.respond(known.as_mut()));
    notes
}

#[test]
fn it_says_what_it_looks_up_and_whether_the_response_is_stored() {
    let cases: &[(Option<&Headers>, &str)] = &[
        (None, "stores the response if it says how long it is fresh, and is not `private`, `no-store` or with a cookie"),
        (Some(&[("cache-control", "max-age=60")]), "stores the response"),
        (Some(&[("cache-control", "private")]), "not stored: the response is `private`"),
        (Some(&[("cache-control", "max-age=60"), ("set-cookie", "a=1")]), "not stored: the response sets a cookie"),
        (Some(&[]), "not stored: the response does not say how long it is fresh"),
        (Some(&[("cache-control", "max-age=0")]), "not stored: the response is never fresh"),
    ];
    for (response, expected) in cases {
        assert_eq!(notes(Method::GET, &[], *response), ["looks up http://test/shop?a=1", expected]);
    }
}

#[test]
fn it_says_what_is_no_business_of_caches() {
    assert_eq!(notes(Method::OPTIONS, &[], None), ["passes: caches do not answer such a request"]);
    assert_eq!(notes(Method::POST, &[], None), ["passes; a response without an error removes what is stored of http://test/shop?a=1"]);
    assert_eq!(
        notes(Method::GET, &[("range", "bytes=0-1")], None)[1],
        "if it is not stored, the request passes, and nothing is stored of the response"
    );
}

#[tokio::test(start_paused = true)]
async fn the_running_layer_says_what_is_stored_and_how_old_it_is() {
    let stack = TestStack::of::<Cache>("{}").over(async |_| {
        let mut response = Response::new(Body::from("page"));
        response.headers_mut().insert("cache-control", "max-age=60".parse().unwrap());
        response
    });
    let now = |stack: &TestStack| stack.lifecycle().explain(&"cache".into(), &request(Method::GET, "/", Body::empty()));
    assert_eq!(now(&stack), ["not stored"]);
    stack.get("/").await;
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    assert_eq!(now(&stack), ["stored 200 of 4 octets, 10 s old: fresh for another 50 s"]);
    tokio::time::advance(std::time::Duration::from_secs(50)).await;
    assert_eq!(now(&stack), ["stored 200 of 4 octets, 60 s old: not used before the app has validated it"]);
}
