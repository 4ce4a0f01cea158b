//! Raw requests from the files in `refused/` and `accepted/`.
//!
//! A case begins with `### title` (in `refused/`: `### status title`). Its lines are sent unchanged, each with CR LF, or without if the line ends in a
//! backslash. `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` stand for octets. In `accepted/` the lines after `---` must be what reached the
//! app: request line, headers with lower-case names, an empty line, body.

use std::path::Path;

use crate::support::{Record, Server};

struct Case {
    title: String,
    octets: Vec<u8>,
    expected: Vec<Vec<u8>>,
}

fn cases(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http").join(folder);
    let mut cases = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for case in text.split("### ").skip(1) {
            let (title, lines) = case.split_once('\n').unwrap();
            let (request, expected) = lines.split_once("---\n").unwrap_or((lines, ""));
            let octets = request.split_inclusive('\n').flat_map(|line| octets_of(line, b"\r\n")).collect();
            let expected = expected.lines().map(|line| octets_of(line, b"")).collect();
            let title = format!("{}: {title}", path.file_stem().unwrap().display());
            cases.push(Case { title, octets, expected });
        }
    }
    cases
}

fn octets_of(line: &str, end: &[u8]) -> Vec<u8> {
    let line = line.trim_end_matches('\n');
    let (line, end) = match line.strip_suffix('\\') {
        Some(shorter) if !shorter.ends_with('\\') => (shorter, &b""[..]),
        _ => (line, end),
    };
    let mut octets = Vec::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let octet = match character {
            '\\' => match characters.next().unwrap() {
                'r' => b'\r',
                'n' => b'\n',
                't' => b'\t',
                '0' => 0,
                '\\' => b'\\',
                'x' => {
                    let digits: String = characters.by_ref().take(2).collect();
                    u8::from_str_radix(&digits, 16).unwrap()
                }
                other => panic!("`\\{other}` in {line:?}"),
            },
            character => u8::try_from(character).unwrap(),
        };
        octets.push(octet);
    }
    octets.extend_from_slice(end);
    octets
}

const GOOD: &[u8] = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends the octets in pieces of this size and reads until the server closes.
async fn exchange(server: &Server, octets: &[u8], size: usize) -> String {
    let mut client = server.connect().await;
    client.0.set_nodelay(true).unwrap();
    for piece in octets.chunks(size) {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    client.read_to_end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_refused_and_nothing_behind_them_is_served() {
    let cases = cases("refused");
    assert!(cases.len() >= 200, "{} cases", cases.len());
    for case in cases {
        let status = case.title.split_once(": ").unwrap().1.split(' ').next().unwrap().to_owned();
        for size in [usize::MAX, 1] {
            let record = Record::default();
            let server = Server::start("{}", record.app());
            let answer = exchange(&server, &[&case.octets, GOOD].concat(), size).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{}, pieces of {size}: {answer}", case.title);
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{}, pieces of {size}: {answer}", case.title);
            assert_eq!(record.requests(), [""; 0], "{}, pieces of {size}", case.title);
        }
    }
}

#[tokio::test]
async fn malformed_requests_are_refused_after_earlier_responses() {
    for case in cases("refused") {
        let record = Record::default();
        let server = Server::start("{}", record.app());
        let answer = exchange(&server, &[GOOD, &case.octets, GOOD].concat(), usize::MAX).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{}: {answer}", case.title);
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{}: {answer}", case.title);
        assert!(answer.contains("\r\nconnection: close\r\n"), "{}: {answer}", case.title);
        assert_eq!(record.requests().len(), 1, "{}", case.title);
    }
}

#[tokio::test]
async fn unusual_requests_reach_the_app_as_they_should() {
    for case in cases("accepted") {
        for size in [usize::MAX, 1] {
            let record = Record::default();
            let server = Server::start("{}", record.app());
            let closing = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            let answer = exchange(&server, &[&case.octets, &closing[..]].concat(), size).await;
            assert!(answer.contains("HTTP/1.1 200 ") || answer.contains("HTTP/1.0 200 "), "{}: {answer}", case.title);
            let requests = record.requests();
            let keeps_alive = !requests[0].contains("HTTP/1.0");
            assert_eq!(requests.len(), 1 + usize::from(keeps_alive), "{}: {requests:?}", case.title);
            for line in &case.expected {
                let line = String::from_utf8_lossy(line);
                let (line, wanted) =
                    line.strip_prefix('!').filter(|rest| !rest.starts_with('#')).map_or((&*line, true), |line| (line, false));
                assert_eq!(requests[0].split('\n').any(|seen| seen == line), wanted, "{}: `{line}` in {:?}", case.title, requests[0]);
            }
        }
    }
}
