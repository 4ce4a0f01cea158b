//! `basic_auth` over htpasswd files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::{join, join_all};
use http::Method;
use tempfile::NamedTempFile;
use ziggurat_middleware::basic_auth::BasicAuth;
use ziggurat_middleware::{Body, ConnectionInfo, RemoteUser, Request, Response, TestResponse, TestStack, request};

/// The password of each is `open sesame`.
const USERS: &str = "
# comment
bcrypt:$2y$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy
apr1:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.:with a comment
argon2:$argon2id$v=19$m=256,t=2,p=2$c2FsdHNhbHRzYWx0c2FsdA$20aI6iPfDaEq9Dl2nJC0GZWythdc54PxX2buZ8oJ0+w\r
j\u{fc}rgen:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.
";

fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// Over an app that answers with the user and the header it was given.
fn stack(file: &NamedTempFile, realm: &str) -> TestStack {
    let options = serde_json::json!({ "users": file.path(), "realm": realm }).to_string();
    TestStack::of::<BasicAuth>(&options).over(async |request: Request| {
        let user = request.extensions().get::<RemoteUser>().map(|user| format!("{} by {}", user.user, user.auth_type));
        let passed_on = request.headers().contains_key("authorization");
        Response::new(Body::from(format!("{} {passed_on}", user.unwrap_or_default())))
    })
}

fn with_header(value: &str) -> Request {
    let mut request = request(Method::GET, "/", Body::empty());
    request.headers_mut().append("authorization", value.parse().unwrap());
    request
}

fn with(user: &str, password: &str) -> Request {
    with_header(&format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
}

async fn status(stack: &TestStack, user: &str, password: &str) -> u16 {
    stack.send(with(user, password)).await.status().as_u16()
}

fn user_of(response: &TestResponse) -> Option<&str> {
    response.head().extensions().get::<RemoteUser>().map(|user| &*user.user)
}

#[tokio::test]
async fn each_kind_of_hash_lets_its_user_in_and_tells_the_app() {
    let file = file(USERS);
    let stack = stack(&file, "x");
    for user in ["bcrypt", "apr1", "argon2", "j\u{fc}rgen"] {
        // The second time from memory.
        for _ in 0..2 {
            let response = stack.send(with(user, "open sesame")).await;
            assert_eq!(response.text(), format!("{user} by Basic true"));
            assert_eq!(user_of(&response), Some(user));
        }
        assert_eq!(status(&stack, user, "open sesam").await, 401, "{user}");
        assert_eq!(status(&stack, user, "").await, 401, "{user}");
    }
}

#[tokio::test]
async fn anything_else_is_refused_with_a_challenge() {
    let file = file(USERS);
    let stack = stack(&file, "the \"inner\" \\ circle");
    let right = BASE64_STANDARD.encode("apr1:open sesame");
    let mut twice = with("apr1", "open sesame");
    twice.headers_mut().append("authorization", format!("Basic {right}").parse().unwrap());
    let requests = [
        request(Method::GET, "/", Body::empty()),
        with("nobody", "open sesame"),
        with("APR1", "open sesame"),
        with("apr1 ", "open sesame"),
        with("", ""),
        with("# comment", ""),
        with("apr1", "$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ."),
        with_header(&format!("Bearer {right}")),
        with_header(&format!("Basic{right}")),
        with_header(&format!("Basic {right}!")),
        with_header("Basic"),
        with_header("Basic \u{fc}"),
        twice,
    ];
    for request in requests {
        let shown = format!("{:?}", request.headers().get("authorization"));
        let response = stack.send(request).await;
        assert_eq!(response.status(), 401, "{shown}");
        assert_eq!(response.header("www-authenticate"), r#"Basic realm="the \"inner\" \\ circle", charset="UTF-8""#);
        assert_eq!(user_of(&response), None);
    }
    assert_eq!(stack.send(with_header(&format!("bAsIc  {right}"))).await.status(), 200);
}

#[tokio::test]
async fn a_password_may_hold_colons() {
    // `openssl passwd -apr1 -salt s 'a:b'`
    let file = file("u:$apr1$s$NsJuh6neujjyZhFYckZ7c/");
    let stack = stack(&file, "x");
    assert_eq!(status(&stack, "u", "a:b").await, 200);
    assert_eq!(status(&stack, "u", "a").await, 401);
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_counts_after_a_second() {
    let file = file("a:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.");
    let stack = stack(&file, "x");
    assert_eq!((status(&stack, "a", "open sesame").await, status(&stack, "b", "open sesame").await), (200, 401));

    std::fs::write(file.path(), "b:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.\n").unwrap();
    tokio::time::advance(Duration::from_millis(1_001)).await;
    // What was remembered of `a` is forgotten.
    assert_eq!((status(&stack, "a", "open sesame").await, status(&stack, "b", "open sesame").await), (401, 200));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_no_longer_in_the_file_is_out_whatever_else_is_wrong_with_it() {
    const HASH: &str = "$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.";
    let file = file(&format!("a:{HASH}\nb:{HASH}\nc:{HASH}\n"));
    let stack = stack(&file, "x");
    let statuses = async || {
        tokio::time::advance(Duration::from_millis(1_001)).await;
        let mut statuses = Vec::new();
        for user in ["a", "b", "c", "new"] {
            statuses.push(status(&stack, user, "open sesame").await);
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 200, 200, 401]);
    let write = |text: &str| std::fs::write(file.path(), text.replace('#', HASH)).unwrap();

    write("a:#\nb:#\nbroken\nnew:#\n");
    assert_eq!(statuses().await, [200, 200, 401, 401], "a broken line");
    write("a:#\nb:#\na:#\n");
    assert_eq!(statuses().await, [401, 200, 401, 401], "a name twice");
    write("");
    assert_eq!(statuses().await, [401; 4], "an empty file");
    write("a:#\nb:#\nc:#\nnew:#\n");
    assert_eq!(statuses().await, [200; 4], "a valid file");
    std::fs::remove_file(file.path()).unwrap();
    assert_eq!(statuses().await, [503; 4], "no file");
    write("a:#\nbroken\nnew:#\n");
    assert_eq!(statuses().await, [200, 401, 401, 200], "a broken line in a new file");
    std::fs::write(file.path(), [0xff, b'\n']).unwrap();
    assert_eq!(statuses().await, [503; 4], "no text");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_leaves_length_and_time_as_they_were_is_seen() {
    let file = file("a:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.\n");
    let stack = stack(&file, "x");
    assert_eq!(status(&stack, "a", "open sesame").await, 200);
    let time = std::fs::metadata(file.path()).unwrap().modified().unwrap();
    std::fs::write(file.path(), "b:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.\n").unwrap();
    std::fs::File::options().write(true).open(file.path()).unwrap().set_modified(time).unwrap();
    tokio::time::advance(Duration::from_millis(1_001)).await;
    assert_eq!((status(&stack, "a", "open sesame").await, status(&stack, "b", "open sesame").await), (401, 200));
}

#[tokio::test]
async fn a_client_that_guesses_does_not_keep_others_out() {
    let file = file("u:$2y$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy");
    let stack = stack(&file, "x");
    let many = 64 * std::thread::available_parallelism().unwrap().get().div_ceil(2) + 10;
    let guesses = join_all((0..many).map(|n| stack.send(with("nobody", &n.to_string()))));
    let mut other = with("u", "open sesame");
    other.extensions_mut().get_mut::<ConnectionInfo>().unwrap().client = Some([198, 51, 100, 1].into());
    let (guesses, other) = join(guesses, stack.send(other)).await;
    assert!(guesses.iter().any(|guess| guess.status() == 503));
    assert_eq!(other.status(), 200);
}

#[tokio::test]
async fn too_many_at_once_are_told_to_come_back_and_the_rest_is_answered() {
    let file = file("u:$2y$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy");
    let stack = stack(&file, "x");
    let many = 64 * std::thread::available_parallelism().unwrap().get().div_ceil(2) + 10;
    let answers = join_all((0..many).map(|n| stack.send(with("nobody", &n.to_string())))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status() == 503).collect();
    assert!(!refused.is_empty() && refused.len() <= 10, "{}", refused.len());
    assert!(refused.iter().all(|answer| answer.header("retry-after") == "1"));
    assert_eq!(answers.iter().filter(|answer| answer.status() == 401).count(), many - refused.len());
}

#[test]
fn a_wrong_file_is_refused_with_every_line_and_no_hash() {
    let file = file("a:secret\n\nb:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\nno colon\n:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.\nc:$5$x$y\nd:\n");
    let options = serde_json::json!({ "users": file.path() }).to_string();
    let said = TestStack::refusal::<BasicAuth>(&options).join("");
    for expected in [
        "line 1: this is no password hash but plain text",
        "line 3: SHA-1 without a salt is not safe",
        "line 4: there is no `:`",
        "line 5: the name is empty",
        "line 6: the SHA-crypt hash is malformed",
        "line 7: the hash is missing",
        "htpasswd -nB",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    for secret in ["secret", "W6ph", "HIDX", "$5$"] {
        assert!(!said.contains(secret), "{said}");
    }
    let twice = self::file("a:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.\na:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.\n");
    let options = serde_json::json!(twice.path()).to_string();
    assert!(TestStack::refusal::<BasicAuth>(&options).join("").contains("line 2: the name is used by a line above"));
    let empty = self::file("# nobody\n");
    assert!(TestStack::refusal::<BasicAuth>(&serde_json::json!(empty.path()).to_string()).join("").contains("it has no user"));
    assert!(TestStack::refusal::<BasicAuth>(r#""/nowhere/.htpasswd""#).join("").contains("cannot read `/nowhere/.htpasswd`"));
}
