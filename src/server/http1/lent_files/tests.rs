//! Files through hyper and the guard, octet for octet, whatever the stream takes at once.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use proptest::prelude::*;
use rustix::io::{ReadWriteFlags, pread, preadv2};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::service_fn;
use ziggurat_middleware::{Body, ConnectionInfo, FileBody, Next, Place, Request, Response, Scheme};

use super::*;
use crate::server::Options;
use crate::server::connection_table::ConnectionTable;
use crate::server::generation::{CurrentGeneration, Generation};
use crate::server::http;
use crate::server::io::{Connection, Io, Versions};
use crate::server::limits::Limits;

/// What a stream has got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sent {
    octets: Vec<u8>,
    /// How many of them came from files.
    from_files: usize,
}

/// A stream that holds requests, and takes as many octets of each write as it says in turn; 0 stands for a moment in which it takes none.
struct Client {
    requests: VecDeque<u8>,
    takes: Vec<usize>,
    turn: usize,
    sends_files: bool,
    sent: Arc<Mutex<Sent>>,
    /// Is cut to this length once a part of it was sent.
    cut: Option<(File, u64)>,
}

impl Client {
    fn take(&mut self, cx: &Context<'_>) -> Poll<usize> {
        self.turn += 1;
        match self.takes[self.turn % self.takes.len()] {
            0 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            room => Poll::Ready(room),
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.requests.len().min(buf.remaining());
        let octets: Vec<_> = self.requests.drain(..count).collect();
        buf.put_slice(&octets);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(octets)])
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let room = std::task::ready!(self.take(cx));
        let octets: Vec<_> = slices.iter().flat_map(|slice| slice.iter().copied()).take(room).collect();
        self.sent.lock().unwrap().octets.extend_from_slice(&octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Io for Client {
    fn has_unread(&self) -> bool {
        !self.requests.is_empty()
    }

    fn write_now(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn sends_files(&self) -> bool {
        self.sends_files
    }

    fn poll_send_file(&mut self, cx: &mut Context<'_>, part: &FilePart) -> Poll<io::Result<usize>> {
        let room = std::task::ready!(self.take(cx));
        let mut octets = vec![0; room.min(part.len)];
        let read = pread(&part.file, &mut octets[..], part.at)?;
        let mut sent = self.sent.lock().unwrap();
        sent.octets.extend_from_slice(&octets[..read]);
        sent.from_files += read;
        if let Some((file, length)) = self.cut.take() {
            file.set_len(length)?;
        }
        Poll::Ready(Ok(read))
    }

    fn sent(&self) -> u64 {
        self.sent.lock().unwrap().octets.len() as u64
    }

    fn abort_on_close(&self) {}
}

/// What the stack answers with.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Text(usize),
    /// A part of the file.
    File {
        at: u64,
        len: u64,
    },
    /// The same, with `Transfer-Encoding: chunked`.
    Chunked {
        at: u64,
        len: u64,
    },
    /// The same through a body that counts.
    Counted {
        at: u64,
        len: u64,
    },
    /// A file and a `Content-Length` that is shorter by one.
    Short {
        at: u64,
        len: u64,
    },
}

const LENGTH: u64 = 600_000;

/// More than is ever written.
const ALL: usize = 1 << 30;

/// A file without a zero, so that octets of a placeholder are seen.
fn file() -> File {
    let mut file = tempfile::tempfile().unwrap();
    let octets: Vec<u8> = (0..LENGTH).map(|at| u8::try_from(at * 31 % 255 + 1).unwrap()).collect();
    file.write_all(&octets).unwrap();
    file
}

/// Whether the file system says what is in the page cache.
fn tells_what_is_cached(file: &File) -> bool {
    preadv2(file, &mut [io::IoSliceMut::new(&mut [0])], 0, ReadWriteFlags::NOWAIT).is_ok()
}

fn response(answer: Answer, file: &File) -> Response {
    let part = |at, len| FileBody::new(file.try_clone().unwrap(), at..at + len);
    let response = ::http::Response::builder().header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    match answer {
        Answer::Text(len) => response.body(Body::from("t".repeat(len))),
        Answer::File { at, len } => response.body(Body::new(part(at, len))),
        Answer::Chunked { at, len } => response.header("transfer-encoding", "chunked").body(Body::new(part(at, len))),
        Answer::Counted { at, len } => response.body(Body::new(part(at, len).map_frame(|frame| {
            assert!(frame.data_ref().is_none_or(|data| !data.contains(&0)), "a layer has seen a placeholder");
            frame
        }))),
        Answer::Short { at, len } => response.header("content-length", len - 1).body(Body::new(part(at, len))),
    }
    .unwrap()
}

/// What the client gets for these requests, sent at once.
async fn serve(answers: &[(bool, Answer)], takes: &[usize], sends_files: bool, file: &File, cut: Option<u64>) -> Sent {
    let requests: String = answers
        .iter()
        .enumerate()
        .map(|(number, (head, _))| format!("{} /{number} HTTP/1.1\r\nHost: a\r\n\r\n", if *head { "HEAD" } else { "GET" }))
        .collect();
    let sent = Arc::new(Mutex::new(Sent::default()));
    let stream = Client {
        requests: requests.into_bytes().into(),
        takes: takes.to_vec(),
        turn: 0,
        sends_files,
        sent: Arc::clone(&sent),
        cut: cut.map(|length| (file.try_clone().unwrap(), length)),
    };
    let (answers, file) = (answers.to_vec(), Arc::new(file.try_clone().unwrap()));
    let app = service_fn(move |request: Request| {
        let number: usize = request.uri().path()[1..].parse().unwrap();
        std::future::ready(Ok::<_, Infallible>(response(answers[number].1, &file)))
    });
    let table = Arc::new(ConnectionTable::new());
    let (generation, _retiring) = Generation::new(1, Next::new(&Place::new("app"), app), &table);
    let info = ConnectionInfo { client: None, client_port: None, scheme: Scheme::Http, server_port: None, local: None, is_vetted: false };
    let connection = Connection { stream, info, tls: None, versions: Versions::Http1, offers_http3: false };
    let limits = Arc::new(Limits::from(&Options::default()));
    http::serve(connection, Arc::new(CurrentGeneration::new(generation)), limits, table.insert(0)).await;
    sent.lock().unwrap().clone()
}

fn answers() -> impl Strategy<Value = Vec<(bool, Answer)>> {
    let part = || (0..LENGTH, prop_oneof![0..2_000_u64, 0..LENGTH]).prop_map(|(at, len)| (at, len.min(LENGTH - at)));
    let answer = prop_oneof![
        2 => (0..3_000_usize).prop_map(Answer::Text),
        4 => part().prop_map(|(at, len)| Answer::File { at, len }),
        1 => part().prop_map(|(at, len)| Answer::Chunked { at, len }),
        1 => part().prop_map(|(at, len)| Answer::Counted { at, len }),
    ];
    prop::collection::vec((prop::bool::weighted(0.2), answer), 1..6)
}

fn takes() -> impl Strategy<Value = Vec<usize>> {
    let take = prop_oneof![1 => Just(0), 1 => 1..100_usize, 3 => 1_000..100_000_usize, 1 => Just(ALL)];
    prop::collection::vec(take, 1..8).prop_map(|takes| if takes.iter().sum::<usize>() < 1_000 { vec![5_000] } else { takes })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_client_gets_the_same_octets_from_files_as_from_memory(answers in answers(), takes in takes()) {
        let file = file();
        let read = block_on(serve(&answers, &takes, false, &file, None));
        let lent = block_on(serve(&answers, &takes, true, &file, None));
        prop_assert_eq!(read.from_files, 0);
        prop_assert!(!lent.octets.contains(&0), "octets of a placeholder were sent");
        prop_assert!(lent.octets == read.octets, "{} octets and {}", lent.octets.len(), read.octets.len());
        let expected: u64 = answers.iter().map(|answer| match answer {
            (false, Answer::File { len, .. } | Answer::Chunked { len, .. }) if tells_what_is_cached(&file) => *len,
            _ => 0,
        }).sum();
        prop_assert_eq!(lent.from_files as u64, expected);
    }

    #[test]
    fn of_a_file_that_becomes_shorter_only_the_beginning_is_sent(cut in 0..LENGTH, takes in takes()) {
        let file = file();
        let whole: Vec<u8> = block_on(FileBody::new(file.try_clone().unwrap(), 0..LENGTH).collect()).unwrap().to_bytes().into();
        let sent = block_on(serve(&[(false, Answer::File { at: 0, len: LENGTH }), (false, Answer::Text(5))], &takes, true, &file, Some(cut)));
        let head = sent.octets.windows(4).position(|octets| octets == b"\r\n\r\n").unwrap() + 4;
        prop_assert!(whole.starts_with(&sent.octets[head..]), "more than the beginning of the file");
        // The first write may have sent all of it before.
        prop_assert!(sent.octets.len() - head < whole.len() || !tells_what_is_cached(&file) || takes.contains(&ALL));
    }
}

#[test]
fn a_wrong_content_length_does_not_cut_a_file() {
    let file = file();
    let answers = [(false, Answer::Short { at: 0, len: 100_000 }), (false, Answer::File { at: 5, len: 10 })];
    let lent = block_on(serve(&answers, &[ALL], true, &file, None));
    assert!(lent.octets == block_on(serve(&answers, &[ALL], false, &file, None)).octets);
    assert_eq!(lent.from_files, if tells_what_is_cached(&file) { 100_010 } else { 0 });
}

#[test]
fn a_placeholder_that_is_not_that_of_the_first_part_is_refused() {
    let lent = LentFiles::default();
    let file = Arc::new(std::os::fd::OwnedFd::from(file()));
    let part = |len| FilePart { file: Arc::clone(&file), at: 0, len };
    let (first, second) = (lent.lend(part(10)), lent.lend(part(20)));
    let begin = |octets: &[&[u8]]| lent.begin_of(&octets.iter().map(|octets| IoSlice::new(octets)).collect::<Vec<_>>());
    assert!(matches!(begin(&[b"head", &first]), Ok(Begin::Octets(1))));
    assert!(matches!(begin(&[b"", &first, &second]), Ok(Begin::Part(part)) if part.len == 10));
    assert!(begin(&[&second]).is_err());
    assert!(begin(&[&first[..9]]).is_err());
    assert!(begin(&[&first[1..]]).is_err());
    lent.note_sent(4);
    assert!(matches!(begin(&[&first[4..], &second]), Ok(Begin::Part(part)) if (part.at, part.len) == (4, 6)));
    lent.note_sent(6);
    assert!(matches!(begin(&[&second]), Ok(Begin::Part(part)) if part.len == 20));
    lent.note_sent(20);
    assert!(begin(&[&second]).is_err());
}
