//! `Range` and `If-Range` (RFC 9110 sections 13.1.5 and 14).

use http::Method;
use http_body_util::BodyExt;

use crate::site::{AFTER, BEFORE, MODIFIED, Site, get, stack, summary, with};

/// `Range`, then status and body, then `Content-Range`.
const CASES: &[(&str, &str, &str)] = &[
    ("bytes=0-4", "206 01234", "bytes 0-4/10"),
    ("bytes=0-0", "206 0", "bytes 0-0/10"),
    ("bytes=9-9", "206 9", "bytes 9-9/10"),
    ("bytes=0-", "206 0123456789", "bytes 0-9/10"),
    ("bytes=7-", "206 789", "bytes 7-9/10"),
    ("bytes=7-70", "206 789", "bytes 7-9/10"),
    ("bytes=-3", "206 789", "bytes 7-9/10"),
    ("bytes=-30", "206 0123456789", "bytes 0-9/10"),
    ("bytes=0-1,70-80", "206 01", "bytes 0-1/10"),
    ("BYTES=0-4", "206 01234", "bytes 0-4/10"),
    ("bytes=10-", "416 416 Range Not Satisfiable\n", "bytes */10"),
    ("bytes=-0", "416 416 Range Not Satisfiable\n", "bytes */10"),
    ("bytes=99999999999999999999-", "416 416 Range Not Satisfiable\n", "bytes */10"),
    ("bytes=4-3", "200 0123456789", ""),
    ("bytes=0-4,2-6", "200 0123456789", ""),
    ("bytes=x", "200 0123456789", ""),
    ("bytes=", "200 0123456789", ""),
    ("seconds=0-4", "200 0123456789", ""),
];

#[tokio::test]
async fn a_range_gives_its_part_of_the_file() {
    let site = Site::new().file("a.txt", "0123456789");
    let stack = stack(site.app("{}"));
    for (range, expected, content_range) in CASES {
        let response = stack.send(get("/a.txt", &[("range", range)])).await;
        assert_eq!((summary(&response).as_str(), response.header("content-range")), (*expected, *content_range), "{range}");
        if response.status() != 416 {
            assert_eq!(response.header("content-length"), response.body().len().to_string(), "{range}");
            assert_eq!(response.header("accept-ranges"), "bytes", "{range}");
        }
    }
    let twice = stack.send(get("/a.txt", &[("range", "bytes=0-1"), ("range", "bytes=2-3")])).await;
    assert_eq!(summary(&twice), "200 0123456789");
}

#[tokio::test]
async fn head_ignores_ranges() {
    let site = Site::new().file("a.txt", "0123456789");
    let stack = stack(site.app("{}"));
    for range in ["bytes=0-4", "bytes=90-"] {
        let response = stack.send(with(Method::HEAD, "/a.txt", &[("range", range)])).await;
        assert_eq!((summary(&response).as_str(), response.header("content-length")), ("200 ", "10"), "{range}");
    }
}

#[tokio::test]
async fn a_range_is_honoured_only_for_the_state_that_if_range_names() {
    let site = Site::new().file("a.txt", "0123456789");
    let stack = stack(site.app("{}"));
    let tag = stack.get("/a.txt").await.header("etag").to_owned();
    let weak = format!("W/{tag}");
    for (if_range, expected) in [
        (tag.as_str(), "206 01"),
        (MODIFIED, "206 01"),
        (weak.as_str(), "200 0123456789"),
        ("\"stale\"", "200 0123456789"),
        (BEFORE, "200 0123456789"),
        (AFTER, "200 0123456789"),
        ("nonsense", "200 0123456789"),
        ("*", "200 0123456789"),
    ] {
        let response = stack.send(get("/a.txt", &[("range", "bytes=0-1"), ("if-range", if_range)])).await;
        assert_eq!(summary(&response), expected, "{if_range}");
    }
    let unsatisfiable = stack.send(get("/a.txt", &[("range", "bytes=90-"), ("if-range", "\"stale\"")])).await;
    assert_eq!(unsatisfiable.status(), 200);
}

#[tokio::test]
async fn several_ranges_come_as_parts_in_the_order_asked() {
    let site = Site::new().file("a.txt", "0123456789");
    let stack = stack(site.app("{}"));
    let response = stack.send(get("/a.txt", &[("range", "bytes=7-8, 0-1, -1")])).await;
    assert_eq!(response.status(), 206);
    let boundary = response.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    let part = |range: &str, body: &str| {
        format!("\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes {range}/10\r\n\r\n{body}")
    };
    let expected = [part("7-8", "78"), part("0-1", "01"), part("9-9", "9"), format!("\r\n--{boundary}--\r\n")].concat();
    assert_eq!(response.text(), expected);
    assert_eq!(response.header("content-length"), expected.len().to_string());
    assert_eq!(response.header("content-range"), "");
}

#[tokio::test]
async fn many_ranges_are_answered_with_the_whole_file() {
    let site = Site::new().file("a.txt", "0123456789");
    let stack = stack(site.app("{}"));
    let many = format!("bytes={}", vec!["0-0"; 17].join(","));
    assert_eq!(stack.send(get("/a.txt", &[("range", &many)])).await.status(), 200);
}

#[tokio::test]
async fn an_empty_file_has_no_ranges() {
    let site = Site::new().file("empty", "");
    let stack = stack(site.app("{}"));
    assert_eq!(stack.get("/empty").await.header("content-length"), "0");
    assert_eq!(stack.send(get("/empty", &[("range", "bytes=0-")])).await.header("content-range"), "bytes */0");
    assert_eq!(stack.send(get("/empty", &[("range", "bytes=-5")])).await.status(), 200);
}

#[tokio::test]
async fn a_large_file_streams_whole_and_in_parts() {
    let content: Vec<u8> = (0..1_000_003u32).map(|n| (n % 251) as u8).collect();
    let site = Site::new().file("big", &content);
    let stack = stack(site.app("{}"));
    let whole = stack.get("/big").await;
    assert_eq!(whole.header("content-length"), "1000003");
    assert!(whole.body() == &content);
    for range in [0..70_000, 1..999_999, 999_000..1_000_003, 131_071..131_073, 65_535..262_145] {
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        assert!(stack.send(get("/big", &[("range", &header)])).await.body() == &content[range], "{header}");
    }
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_breaks_the_answer_off() {
    let site = Site::new().file("big", vec![1; 1_000_000]);
    let response = stack(site.app("{}")).call(get("/big", &[])).await;
    std::fs::File::options().write(true).open(site.path("big")).unwrap().set_len(500_000).unwrap();
    let error = response.into_body().collect().await.expect_err("an error, not a short body");
    assert!(error.to_string().contains("became shorter"), "{error}");
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_sent_ends_where_it_was_said_to() {
    use std::io::Write;
    let site = Site::new().file("big", vec![1; 1_000_000]);
    let response = stack(site.app("{}")).call(get("/big", &[])).await;
    std::fs::File::options().append(true).open(site.path("big")).unwrap().write_all(&[2; 500_000]).unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body == vec![1; 1_000_000]);
}
