//! One run of a program, from its start to the end of its process group.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use ziggurat_middleware::{Body, Place, RequestSummary, Retired};

use crate::body_channel::{self, BodySender, ChannelBody};
use crate::gateway::ResponseHead;
use crate::log::said;

/// The largest head of a response.
const HEAD: usize = 64 << 10;

/// How much of standard error is logged for each request, and the longest line of it that a failure is explained with.
const STDERR: usize = 8 << 10;

/// How long a program may go on behind its response.
const GRACE: Duration = Duration::from_secs(5);

/// How long a program that has failed may take to end, and how long standard error is read behind its end.
const FAILURE_GRACE: Duration = Duration::from_millis(100);

/// How much is read at once.
const READ: usize = 16 << 10;

/// What a run needs.
pub(super) struct Run {
    pub(super) command: Command,
    pub(super) body: Body,
    pub(super) is_head: bool,
    pub(super) timeout: Duration,
    pub(super) idle: Duration,
    pub(super) log: Log,
    /// No program outlives its stack.
    pub(super) retired: Retired,
}

/// For lines in the log.
pub(super) struct Log {
    pub(super) place: Place,
    pub(super) program: String,
    pub(super) summary: Option<RequestSummary>,
}

/// The head of a response, and its body.
pub(super) type Answer = (ResponseHead, ChannelBody);

/// Why there is no response.
#[derive(Debug)]
pub(super) enum Failed {
    /// The system starts no further process.
    NotStarted(io::Error),
    Late,
    Broken(String),
}

impl Run {
    /// Runs the program. The response is sent to `reply`.
    pub(super) async fn run(mut self, reply: oneshot::Sender<Result<Answer, Failed>>) {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = match self.command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let failed = Failed::NotStarted(error);
                self.log.failed(&failed, "");
                let _ = reply.send(Err(failed));
                return;
            }
        };
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else { return };
        let mut last_line = String::new();
        let (ended, status) = {
            let mut listening = pin!(listen(stderr, &self.log, &mut last_line).fuse());
            let ended = {
                let output = Output { is_head: self.is_head, timeout: self.timeout, idle: self.idle };
                let mut output = pin!(output.pass(stdout, reply));
                let sending = send(self.body, stdin);
                tokio::select! {
                    ended = &mut output => ended,
                    () = async { tokio::join!(sending, &mut listening); pending().await } => Ok(()),
                }
            };
            let status = tokio::select! {
                status = end(child, ended.is_ok(), &self.retired) => status,
                () = async { (&mut listening).await; pending().await } => None,
            };
            // The processes have ended. What they have said last may still be unread.
            if !listening.is_terminated() {
                let _ = timeout(FAILURE_GRACE, listening).await;
            }
            (ended, status)
        };
        if let Err((failed, reply)) = ended {
            let failed = match (failed, status) {
                (Failed::Broken(cause), Some(status)) => Failed::Broken(format!("{cause} ({status})")),
                (failed, _) => failed,
            };
            self.log.failed(&failed, &last_line);
            if let Some(reply) = reply {
                let _ = reply.send(Err(failed));
            }
        }
    }
}

/// Waits for the end of a program that has responded, kills what is left of its process group, and reaps it.
async fn end(mut child: Child, has_responded: bool, retired: &Retired) -> Option<std::process::ExitStatus> {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        // One that has failed may be about to say how it ended.
        let time = if has_responded { GRACE } else { FAILURE_GRACE };
        tokio::select! {
            _ = tokio::task::spawn_blocking(move || wait_for_exit(pid, time)) => {}
            () = retired.wait() => {}
        }
        // As long as it is not reaped, no other process has its number.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    child.wait().await.ok()
}

/// Waits until a process has ended, without reaping it.
fn wait_for_exit(pid: Pid, time: Duration) {
    if let (Ok(descriptor), Ok(time)) = (pidfd_open(pid, PidfdFlags::empty()), Timespec::try_from(time)) {
        let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&time));
    }
}

/// Passes the body of the request on.
async fn send(mut body: Body, mut stdin: ChildStdin) {
    while let Some(frame) = body.frame().await {
        // Without its end, the program sees that the body is cut only by its length.
        let Ok(frame) = frame else { return pending().await };
        if let Ok(data) = frame.into_data()
            && stdin.write_all(&data).await.is_err()
        {
            // It does not read any more.
            return;
        }
    }
}

/// Logs standard error.
async fn listen(mut stderr: ChildStderr, log: &Log, last_line: &mut String) {
    let (mut octets, mut left) = (BytesMut::new(), STDERR);
    loop {
        let is_over = stderr.read_buf(&mut octets).await.map_or(true, |read| read == 0);
        while let Some(end) = octets.iter().position(|octet| *octet == b'\n').or((is_over || octets.len() > STDERR).then_some(octets.len()))
        {
            let line = octets.split_to(end);
            let _ = octets.split_to(octets.len().min(1));
            let line = String::from_utf8_lossy(&line[..line.len().min(STDERR)]).trim().to_owned();
            if !line.is_empty() {
                let shown = line.len().min(left);
                left -= shown;
                if shown > 0 {
                    log.says(&line);
                }
                *last_line = line;
            }
            if octets.is_empty() {
                break;
            }
        }
        if is_over {
            return;
        }
    }
}

/// How the output becomes a response.
struct Output {
    is_head: bool,
    timeout: Duration,
    idle: Duration,
}

/// Why the output is no response, and who waits for one.
type NoOutput = (Failed, Option<oneshot::Sender<Result<Answer, Failed>>>);

impl Output {
    async fn pass(self, mut stdout: ChildStdout, mut reply: oneshot::Sender<Result<Answer, Failed>>) -> Result<(), NoOutput> {
        let mut octets = BytesMut::new();
        let until = Instant::now() + self.timeout;
        let head = loop {
            match ResponseHead::take(&mut octets, HEAD) {
                Ok(Some(head)) => break head,
                Ok(None) => {}
                Err(malformed) => return Err((Failed::Broken(malformed.to_string()), Some(reply))),
            }
            octets.reserve(READ);
            let read = tokio::select! {
                read = timeout_at(until, stdout.read_buf(&mut octets)) => read,
                () = reply.closed() => return Err((Failed::Broken("the client has left".to_owned()), None)),
            };
            match read {
                Err(_) => return Err((Failed::Late, Some(reply))),
                Ok(Ok(1..)) => {}
                Ok(_) => return Err((Failed::Broken("it ended without the head of a response".to_owned()), Some(reply))),
            }
        };
        let has_body = !self.is_head && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let stated = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: Option<u64> = if has_body { stated } else { Some(0) };
        let (mut sender, body) = body_channel::channel(length);
        let _ = reply.send(Ok((head, body)));
        if !has_body {
            sender.end();
            return Ok(());
        }
        self.body(stdout, octets, &mut sender, length).await.map_err(|cause| (Failed::Broken(cause), None))
    }

    async fn body(
        &self,
        mut stdout: ChildStdout,
        mut octets: BytesMut,
        sender: &mut BodySender,
        mut left: Option<u64>,
    ) -> Result<(), String> {
        let abandoned = sender.abandoned();
        let mut abandoned = pin!(abandoned);
        loop {
            let taken = left.map_or(octets.len(), |left| octets.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            if taken > 0 {
                let piece: Bytes = octets.split_to(taken).freeze();
                left = left.map(|left| left - taken as u64);
                poll_fn(|cx| sender.poll_room(cx)).await;
                if sender.is_abandoned() {
                    return Err("the client has left".to_owned());
                }
                sender.send(piece);
            }
            if left == Some(0) {
                poll_fn(|cx| sender.poll_room(cx)).await;
                sender.end();
                return Ok(());
            }
            octets.reserve(READ);
            let read = tokio::select! {
                read = timeout(self.idle, stdout.read_buf(&mut octets)) => read,
                () = &mut abandoned => return Err("the client has left".to_owned()),
            };
            match read {
                Err(_) => return Err(format!("nothing of the body within {:?}", self.idle)),
                Ok(Ok(1..)) => {}
                Ok(_) if left.is_some() => return Err("the body is shorter than its `Content-Length`".to_owned()),
                Ok(_) => {
                    poll_fn(|cx| sender.poll_room(cx)).await;
                    sender.end();
                    return Ok(());
                }
            }
        }
    }
}

impl Log {
    fn says(&self, line: &str) {
        let summary = self.summary.as_ref();
        let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
        tracing::warn!(request_id, request, app = self.place.as_str(), program = self.program, "the program says: {}", said(line));
    }

    fn failed(&self, failed: &Failed, last_line: &str) {
        let summary = self.summary.as_ref();
        let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
        let cause = match failed {
            Failed::NotStarted(error) => &format!("it cannot be started: {error}"),
            Failed::Late => "it sent no head of a response in time",
            Failed::Broken(cause) => cause,
        };
        let said = (!last_line.is_empty()).then_some(last_line);
        tracing::warn!(request_id, request, app = self.place.as_str(), program = self.program, said, "the program failed: {cause}");
    }
}
