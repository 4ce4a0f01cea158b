//! The one request of a process that a web server has started (RFC 3875), over the streams that it got.

use std::future::Future;
use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ziggurat_middleware::{ConnectionInfo, Next, Scheme};

use super::Served;
use super::exchange::write_refusal;
use crate::cgi::Variable;
use crate::gateway::Variables;
use crate::gateway::front::CgiFront;
use crate::server::Options;
use crate::server::connection_table::ConnectionTable;
use crate::server::generation::{CurrentGeneration, Generation};
use crate::server::io::Io;
use crate::server::limits::Limits;
use crate::server::progress::Progress;
use crate::server::service::RequestService;

/// Passes the request of these variables to `stack`, with its body from `input`, and writes the response to `output`. When `stop` is ready, a request without
/// a response gets 503, and a response that has begun breaks off.
pub(crate) async fn serve_cgi(
    variables: Variables,
    (input, output): (impl AsyncRead + Unpin + Send + 'static, impl AsyncWrite + Unpin + Send + 'static),
    stack: Next,
    options: &Options,
    stop: impl Future<Output = ()>,
) {
    let table = Arc::new(ConnectionTable::new());
    let (generation, retiring) = Generation::new(1, stack, &table);
    let limits = Arc::new(Limits::from(options));
    let progress = Arc::new(Progress::new(table.insert(0)));
    let current = Arc::new(CurrentGeneration::new(generation));
    let service = RequestService::new(current, client(&variables), None, false, Arc::clone(&limits), Arc::clone(&progress));
    let front = CgiFront::new(variables);
    let stream = Streams { input, output, left: front.length(), is_shut: false };
    let served = Served { stream, received: BytesMut::new(), service, limits, progress };
    let mut serving = pin!(served.run(front));
    tokio::select! {
        () = &mut serving => return,
        () = stop => retiring.cut(),
    }
    serving.await;
}

/// How long what is left of a request is read when the program cannot serve it.
const LINGER: Duration = Duration::from_secs(5);

/// The response of a program that cannot serve its request. What is left of the body is read and dropped for a while: Apache sends all of it before it reads the response, which is lost if the
/// program ends earlier.
pub(crate) fn fail_cgi(variables: Variables, input: impl Read + Send + 'static, mut output: impl Write) {
    let mut out = BytesMut::new();
    let mut front = CgiFront::new(variables);
    let left = front.length();
    let reason = "the site cannot be served. The error log of the web server says why";
    write_refusal(&mut front, StatusCode::INTERNAL_SERVER_ERROR, reason, &mut out);
    // Without a client, there is nobody to tell.
    let _ = output.write_all(&out);
    drop(output);
    let (read, is_read) = mpsc::channel::<()>();
    let reader = move || {
        let _ = io::copy(&mut input.take(left), &mut io::sink());
        drop(read);
    };
    // Without a thread, nothing is read.
    if std::thread::Builder::new().spawn(reader).is_ok() {
        let _ = is_read.recv_timeout(LINGER);
    }
}

/// The client for lines in the log.
fn client(variables: &Variables) -> ConnectionInfo {
    let get = |variable: Variable| std::str::from_utf8(variables.get(variable.name())?).ok();
    ConnectionInfo {
        client: get(Variable::RemoteAddr).and_then(|address| address.parse().ok()),
        client_port: get(Variable::RemotePort).and_then(|port| port.parse().ok()),
        scheme: Scheme::Http,
        server_port: None,
        local: None,
        is_vetted: false,
    }
}

/// Standard input and output as one stream.
struct Streams<I, O> {
    input: I,
    output: O,
    /// Octets of the body that are still to be read. Nothing behind them is.
    left: u64,
    is_shut: bool,
}

impl<I: AsyncRead + Unpin, O: Unpin> AsyncRead for Streams<I, O> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            // The end of the body does not mean that the client has left.
            return if self.is_shut { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let mut taken = buffer.take(most);
        ready!(Pin::new(&mut self.input).poll_read(cx, &mut taken))?;
        let read = taken.filled().to_vec();
        buffer.put_slice(&read);
        self.left -= read.len() as u64;
        Poll::Ready(Ok(()))
    }
}

impl<I: Unpin, O: AsyncWrite + Unpin> AsyncWrite for Streams<I, O> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.output).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Pin::new(&mut self.output).poll_shutdown(cx)
    }
}

impl<I: AsyncRead + Unpin + Send + 'static, O: AsyncWrite + Unpin + Send + 'static> Io for Streams<I, O> {
    fn has_unread(&self) -> bool {
        false
    }

    fn write_now(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn sent(&self) -> u64 {
        0
    }

    fn abort_on_close(&self) {}
}
