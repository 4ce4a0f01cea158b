//! What upstreams answer, sound and not (RFC 9112 sections 4 to 8): what may not be passed on is 502, what breaks off is broken off for the client, and neither connection is used again.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::support::{Proxy, Upstream};

/// What the client gets.
#[derive(Clone, Copy, Debug)]
enum Got {
    /// This status and this body, whole.
    Whole(u16, &'static str),
    /// 502 of our own.
    Bad,
    /// This status, and a body that begins so and breaks off.
    Cut(u16, &'static str),
}
use Got::{Bad, Cut, Whole};

/// What the upstream does after its octets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Keep,
    Close,
    Reset,
}
use Then::{Close, Keep, Reset};

/// A case: its name, the octets, what the upstream does then, what the client gets, and whether the connection may carry the next request.
type Case = (&'static str, &'static str, Then, Got, bool);

const CASES: &[Case] = &[
    // Sound answers.
    ("a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Keep, Whole(200, "hello"), true),
    ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Keep, Whole(200, "hello"), true),
    (
        "chunks with an extension",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
        Keep,
        Whole(200, "hello"),
        true,
    ),
    ("chunks in capitals", "HTTP/1.1 200 OK\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Keep, Whole(200, "hello"), true),
    (
        "a hexadecimal chunk",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        Keep,
        Whole(200, "0123456789"),
        true,
    ),
    ("the end as the end", "HTTP/1.1 200 OK\r\n\r\nhello", Close, Whole(200, "hello"), false),
    ("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", Close, Whole(200, "hello"), false),
    ("HTTP/1.0 with a length", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", Keep, Whole(200, "hello"), false),
    ("HTTP/1.0 that stays", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", Keep, Whole(200, "hello"), true),
    ("no body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Keep, Whole(200, ""), true),
    ("204", "HTTP/1.1 204 No Content\r\n\r\n", Keep, Whole(204, ""), true),
    ("304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Keep, Whole(304, ""), true),
    ("404", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", Keep, Whole(404, "no"), true),
    ("500", "HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", Keep, Whole(500, "no"), true),
    ("503", "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno", Keep, Whole(503, "no"), true),
    ("an unknown status", "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok", Keep, Whole(299, "ok"), true),
    ("no reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", Keep, Whole(200, "ok"), true),
    ("no space before no reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", Keep, Whole(200, "ok"), true),
    ("a close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", Keep, Whole(200, "hello"), false),
    (
        "a close among others",
        "HTTP/1.1 200 OK\r\nConnection: x-a, Close\r\nContent-Length: 5\r\n\r\nhello",
        Keep,
        Whole(200, "hello"),
        false,
    ),
    (
        "a close in the second line",
        "HTTP/1.1 200 OK\r\nConnection: x-a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        Keep,
        Whole(200, "hello"),
        false,
    ),
    ("100 unasked", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Keep, Whole(200, "ok"), true),
    ("102", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Keep, Whole(200, "ok"), true),
    ("103", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Keep, Whole(200, "ok"), true),
    ("an unknown 1xx", "HTTP/1.1 142 Odd\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Keep, Whole(200, "ok"), true),
    (
        "trailers",
        "HTTP/1.1 200 OK\r\nTrailer: x-t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n",
        Keep,
        Whole(200, "ok"),
        true,
    ),
    (
        "trailers without a word",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n",
        Keep,
        Whole(200, "ok"),
        true,
    ),
    ("octets from 128 on in a value", "HTTP/1.1 200 OK\r\nX-A: \u{e9}\r\nContent-Length: 2\r\n\r\nok", Keep, Whole(200, "ok"), true),
    // What breaks off.
    ("nothing at all", "", Close, Bad, false),
    ("a reset", "", Reset, Bad, false),
    ("half a status line", "HTTP/1.1 2", Close, Bad, false),
    ("half a head", "HTTP/1.1 200 OK\r\nContent-Le", Close, Bad, false),
    ("a head without its last line", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", Close, Bad, false),
    ("a reset in the head", "HTTP/1.1 200 OK\r\nContent-Le", Reset, Bad, false),
    ("100 and the end", "HTTP/1.1 100 Continue\r\n\r\n", Close, Bad, false),
    ("half a body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", Close, Cut(200, "hello"), false),
    ("a reset in the body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", Reset, Cut(200, ""), false),
    (
        "a chunked body without its last chunk",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        Close,
        Cut(200, "hello"),
        false,
    ),
    ("half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhello", Close, Cut(200, "hello"), false),
    ("half the size of a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5", Close, Cut(200, "hello"), false),
    ("half the last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", Close, Cut(200, "hello"), false),
    ("half a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t", Close, Cut(200, "hello"), false),
    // Framing that can be read two ways (RFC 9112 section 6.3).
    ("two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", Keep, Bad, false),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", Keep, Bad, false),
    ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", Keep, Bad, false),
    (
        "a length and chunks",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Keep,
        Bad,
        false,
    ),
    (
        "chunks and a length",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Keep,
        Bad,
        false,
    ),
    ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", Keep, Bad, false),
    ("a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", Keep, Bad, false),
    ("a hexadecimal length", "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", Keep, Bad, false),
    ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello", Close, Bad, false),
    ("a length beyond all bounds", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello", Keep, Bad, false),
    ("a length of words", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello", Keep, Bad, false),
    ("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", Close, Bad, false),
    ("two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Keep, Bad, false),
    ("chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Keep, Bad, false),
    (
        "chunked in two lines",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Keep,
        Bad,
        false,
    ),
    (
        "chunked that is not last",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Close,
        Bad,
        false,
    ),
    ("chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Close, Bad, false),
    (
        "a coding with a vertical tab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Close,
        Bad,
        false,
    ),
    // Chunks that are none.
    ("a size that is no number", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n", Keep, Cut(200, ""), false),
    ("a negative size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", Keep, Cut(200, ""), false),
    ("a size with 0x", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", Keep, Cut(200, ""), false),
    (
        "a size beyond all bounds",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello",
        Keep,
        Cut(200, ""),
        false,
    ),
    ("no size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n", Keep, Cut(200, ""), false),
    (
        "a chunk that is too long",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
        Keep,
        Cut(200, "hel"),
        false,
    ),
    ("a bare LF after a size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", Keep, Cut(200, ""), false),
    (
        "a bare LF after a chunk",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
        Keep,
        Cut(200, "hello"),
        false,
    ),
    (
        "a bare CR in an extension",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n",
        Keep,
        Cut(200, ""),
        false,
    ),
    // Heads that are none (RFC 9112 sections 4 and 5).
    ("no HTTP", "hello\r\n\r\n", Keep, Bad, false),
    ("SSH", "SSH-2.0-OpenSSH_9.2\r\n", Keep, Bad, false),
    ("SMTP", "220 mail ESMTP\r\n", Keep, Bad, false),
    ("TLS", "\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}\u{46}", Keep, Bad, false),
    ("HTTP/0.9", "<html>hello</html>", Close, Bad, false),
    ("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a small http", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a status of letters", "HTTP/1.1 2xx OK\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("status 0", "HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("status 099", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("status 600", "HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("status 999", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a NUL in a value", "HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a NUL in a name", "HTTP/1.1 200 OK\r\nX-\0A: b\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a NUL in the reason", "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a bare CR in a value", "HTTP/1.1 200 OK\r\nX-A: a\rX-B: b\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a control character in a value", "HTTP/1.1 200 OK\r\nX-A: a\u{1}b\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", Keep, Bad, false),
    ("a space in a name", "HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a folded line", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a space before the first header", "HTTP/1.1 200 OK\r\n X-A: b\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a line without a colon", "HTTP/1.1 200 OK\r\nhello\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("no name", "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    ("a name with brackets", "HTTP/1.1 200 OK\r\nX(A): b\r\nContent-Length: 0\r\n\r\n", Keep, Bad, false),
    // Switches that nobody asked for, and finals that are none.
    ("101 unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", Keep, Bad, false),
    ("101 after 100", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Keep, Bad, false),
    // Answers after the answer (RFC 9112 section 9.2): what nobody asked for is not the next one's answer.
    (
        "a second answer",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
        Keep,
        Whole(200, "ok"),
        false,
    ),
    ("octets after the answer", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!", Keep, Whole(200, "ok"), false),
    ("a body after 204", "HTTP/1.1 204 No Content\r\n\r\nhello", Keep, Whole(204, ""), false),
    ("a body after 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", Keep, Whole(304, ""), false),
    (
        "octets after the last chunk",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n!",
        Keep,
        Whole(200, "ok"),
        false,
    ),
];

#[tokio::test]
async fn what_upstreams_answer_reaches_the_client_whole_or_not_at_all() {
    let mut wrong = Vec::new();
    for case in CASES {
        if let Err(why) = Box::pin(check(case)).await {
            wrong.push(format!("{}: {why}", case.0));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

async fn check((name, octets, then, got, is_reused): &Case) -> Result<(), String> {
    let (octets, then) = (*octets, *then);
    let upstream = Upstream::start(move |mut connection| async move {
        while let Some(request) = connection.request().await {
            if request.line().contains("/next") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext").await;
                continue;
            }
            // As octets of Latin-1, so that any octet can be written down.
            connection.send(octets.chars().map(|c| c as u8).collect::<Vec<u8>>()).await;
            match then {
                Keep => {}
                Close => return,
                Reset => return connection.reset(),
            }
        }
    })
    .await;
    let proxy =
        Proxy::start(&format!(r#"{{ "to": "{}", "retry": false, "eject": false, "timeout": "5s", "idle": "2s" }}"#, upstream.url()));
    let answer = proxy.get("/case").await;
    let is_right = match *got {
        Whole(status, body) => answer.status == status && answer.body == body && !answer.is_cut,
        Bad => answer.status == 502 && answer.body.contains("gave no valid response") && !answer.is_cut,
        Cut(status, body) => answer.is_cut && answer.status == status && answer.body.starts_with(body),
    };
    if !is_right {
        return Err(format!("expected {got:?}, got {answer:?}"));
    }
    if !matches!(got, Whole(..)) && proxy.logged("WARN").is_empty() {
        return Err("no word in the log".to_owned());
    }
    let next = proxy.get("/next").await;
    if next.body != "next" {
        return Err(format!("the next request got {next:?}"));
    }
    let used: Vec<usize> = upstream.requests().iter().map(|request| request.connection).collect();
    if (used[0] == used[1]) != *is_reused {
        return Err(format!("connections {used:?}, expected reuse: {is_reused}"));
    }
    let _ = name;
    Ok(())
}

#[tokio::test]
async fn floods_of_informational_responses_and_endless_heads_are_cut_off() {
    let flood = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(10_000);
    let large = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "a".repeat(1_000_000));
    let value = format!("HTTP/1.1 200 OK\r\nX-A: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(1_000_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X-A: a\r\n".repeat(10_000));
    let reason = format!("HTTP/1.1 200 {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(1_000_000));
    let endless = format!("HTTP/1.1 200 OK\r\nX-A: {}", "a".repeat(1_000_000));
    for (name, octets) in
        [("103s", flood), ("a 103", large), ("a value", value), ("headers", many), ("a reason", reason), ("no end", endless)]
    {
        let upstream = Upstream::answering(octets).await;
        let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "retry": false }}"#, upstream.url()));
        let answer = proxy.get("/").await;
        assert_eq!((answer.status, answer.is_cut), (502, false), "{name}");
        assert_eq!(proxy.logged("malformed").len(), 1, "{name}: {:?}", proxy.stack.log());
    }
}

#[tokio::test]
async fn hints_of_an_upstream_arrive_before_its_response_where_a_layer_lets_them_pass() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let upstream = Upstream::start(move |mut connection| {
        let gate = Arc::clone(&opened);
        async move {
            while connection.request().await.is_some() {
                connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nSet-Cookie: a=1\r\nX-Powered-By: b\r\n\r\n").await;
                connection.send("HTTP/1.1 102 Processing\r\nLink: </b>\r\n\r\n").await;
                gate.acquire().await.unwrap().forget();
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage").await;
            }
        }
    })
    .await;
    let app = format!(r#"{{ "proxy": {{ "to": "{}", "retry": false }} }}"#, upstream.url());
    let proxy = Proxy::pipeline(&format!(r#"{{ "layers": [{{ "early_hints": {{ "http1": true }} }}], "app": {app} }}"#));
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nSec-Fetch-Mode: navigate\r\n\r\n").await;
    assert_eq!(client.read_until("\r\n\r\n").await, "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n");
    gate.add_permits(2);
    assert!(client.read_until("page").await.starts_with("HTTP/1.1 200 OK\r\n"));
    // To a client that gets none, the response alone goes.
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert!(client.read_until("page").await.starts_with("HTTP/1.1 200 OK\r\n"));
}
