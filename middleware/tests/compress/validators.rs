//! Entity tags and preconditions through `compress`.

use http::{Method, StatusCode};
use ziggurat_middleware::compress::Compress;
use ziggurat_middleware::{Body, Request, Response, TestStack, request};

use super::text;

/// An app that compares tags by `==`, as many do: 304, 412, or 206 for `If-Range`.
fn comparing(tag: &'static str) -> TestStack {
    TestStack::of::<Compress>("{}").over(move |request: Request| {
        let asked = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let mut response = Response::new(text().into());
        if asked("if-match").is_some_and(|asked| asked != tag) {
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
        } else if asked("if-none-match").is_some_and(|asked| asked == tag) {
            response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if asked("range").is_some() && asked("if-range").is_none_or(|asked| asked == tag) {
            response = Response::new(text()[7..].to_owned().into());
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response.headers_mut().insert("content-range", "bytes 7-4299/4300".parse().unwrap());
        }
        response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
        if response.status() == StatusCode::NOT_MODIFIED {
            response.headers_mut().remove("content-type");
        }
        response.headers_mut().insert("etag", tag.parse().unwrap());
        async move { response }
    })
}

async fn ask(stack: &TestStack, method: Method, headers: &[(&'static str, &str)]) -> Response {
    let mut request = request(method, "/", Body::empty());
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    stack.call(request).await
}

#[tokio::test]
async fn an_app_finds_its_strong_tag_in_later_requests() {
    let stack = comparing("\"v1\"");
    for encoding in ["zstd", "br", "gzip"] {
        let first = ask(&stack, Method::GET, &[("accept-encoding", encoding)]).await;
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(tag, format!("\"v1;{encoding}\""));
        for known in [tag.clone(), format!("W/{tag}")] {
            let again = ask(&stack, Method::GET, &[("accept-encoding", encoding), ("if-none-match", &known)]).await;
            assert_eq!((again.status().as_u16(), again.headers()["etag"].to_str().unwrap()), (304, &*tag), "{known}");
            assert_eq!(again.headers()["vary"], first.headers()["vary"]);
        }
        assert_eq!(ask(&stack, Method::PUT, &[("if-match", &tag)]).await.status(), 200);
        // A strong comparison fails for a weak tag.
        assert_eq!(ask(&stack, Method::PUT, &[("if-match", &format!("W/{tag}"))]).await.status(), 412);
        assert_eq!(ask(&stack, Method::PUT, &[("if-match", &format!("\"v2;{encoding}\""))]).await.status(), 412);
    }
    let plain = ask(&stack, Method::GET, &[]).await;
    assert_eq!(plain.headers()["etag"], "\"v1\"");
    let again = ask(&stack, Method::GET, &[("if-none-match", "\"v1\"")]).await;
    assert_eq!(
        (again.status().as_u16(), &again.headers()["etag"], &again.headers()["vary"]),
        (304, &plain.headers()["etag"], &plain.headers()["vary"])
    );
}

#[tokio::test]
async fn parts_of_the_uncompressed_octets_are_never_added_to_compressed_ones() {
    let stack = comparing("\"v1\"");
    let part = async |precondition, tag| {
        ask(&stack, Method::GET, &[("accept-encoding", "gzip"), ("range", "bytes=7-"), (precondition, tag)]).await
    };
    let whole = part("if-range", "\"v1;gzip\"").await;
    assert_eq!((whole.status().as_u16(), &whole.headers()["content-encoding"]), (200, &"gzip".parse().unwrap()));
    assert_eq!(part("if-match", "\"v1;gzip\"").await.status(), 412);
    let same = part("if-range", "\"v1\"").await;
    assert_eq!((same.status().as_u16(), &same.headers()["etag"]), (206, &"\"v1\"".parse().unwrap()));
    assert_eq!(ask(&stack, Method::GET, &[("range", "bytes=7-")]).await.status(), 206);
}

#[tokio::test]
async fn a_client_is_never_sent_back_to_a_variant_that_it_cannot_decode() {
    let stack = comparing("\"v1\"");
    for (accept, expected) in [("gzip", 304), ("br, gzip;q=0.5", 304), ("br", 200), ("identity", 200), ("gzip;q=0", 200)] {
        let response = ask(&stack, Method::GET, &[("accept-encoding", accept), ("if-none-match", "\"v1;gzip\"")]).await;
        assert_eq!(response.status(), expected, "{accept}");
    }
}

#[tokio::test]
async fn other_tags_pass_as_they_are() {
    for tag in ["W/\"v1\"", "\"v1-gzip\"", "\"v1;deflate\"", "\"a, b\"", "\"\""] {
        let stack = TestStack::of::<Compress>("{}").over(|request: Request| async move {
            let mut response = Response::new(Body::empty());
            for name in ["if-match", "if-none-match", "if-range"] {
                for value in request.headers().get_all(name) {
                    response.headers_mut().append(name, value.clone());
                }
            }
            response
        });
        for name in ["if-match", "if-none-match", "if-range"] {
            assert_eq!(ask(&stack, Method::GET, &[(name, tag)]).await.headers()[name], tag, "{name}");
        }
        let listed = format!("\"v0\" ,{tag}, \"v2;br\", W/\"v3\"");
        let seen = ask(&stack, Method::GET, &[("if-none-match", &listed), ("if-none-match", "\"v4;gzip\"")]).await;
        let seen: Vec<_> = seen.headers().get_all("if-none-match").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(seen, [&*format!("\"v0\", {tag}, \"v2\", W/\"v3\""), "\"v4\""]);
        let weak = ask(&comparing("W/\"v1\""), Method::GET, &[("accept-encoding", "gzip")]).await;
        assert_eq!(weak.headers()["etag"], "W/\"v1\"");
    }
}
