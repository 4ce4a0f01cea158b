//! A template: a process that has imported the app and forks workers.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::exit::WorkerExit;
use super::process::Process;
use super::start_error::StartError;
use super::{PoolConfig, STOP_TIMEOUT};
use crate::worker::exits::ExitReports;
use crate::worker::link;
use crate::worker::link::descriptor;
use crate::worker::link::frame::{ToServer, ToWorker};

/// The template of a pool, started when it is needed.
#[derive(Default)]
pub(super) struct Template {
    running: tokio::sync::Mutex<Option<Running>>,
}

struct Running {
    process: Process,
    writer: OwnedWriteHalf,
    exits: Arc<ExitReports>,
}

impl Template {
    /// Starts the template if it does not run. Returns when the app is imported.
    pub(super) async fn start(&self, config: &PoolConfig) -> Result<(), StartError> {
        let mut running = self.running.lock().await;
        Self::up(&mut running, config).await.map(drop)
    }

    /// Forks a worker. Returns its process and the server's end of its link.
    pub(super) async fn fork(&self, config: &PoolConfig) -> Result<(Process, StdUnixStream), StartError> {
        let mut running = self.running.lock().await;
        let template = Self::up(&mut running, config).await?;
        let (server_end, worker_end) = link::pair()?;
        if let Err(error) = send_fork(&template.writer, &worker_end).await {
            // The next worker gets a new template.
            drop(running.take());
            return Err(error.into());
        }
        Ok((Process::forked(template.process.id(), Arc::clone(&template.exits), config.spawner.clone()), server_end))
    }

    /// Stops the template. Its workers go on.
    pub(super) async fn stop(&self) {
        let Some(mut template) = self.running.lock().await.take() else { return };
        let mut octets = Vec::new();
        ToWorker::Stop.put(&mut octets);
        let stopped = async {
            // An error means that it has ended.
            let _ = template.writer.write_all(&octets).await;
            template.process.exited().await
        };
        if timeout(STOP_TIMEOUT, stopped).await.is_err() {
            template.process.kill();
            template.process.exited().await;
        }
    }

    async fn up<'a>(running: &'a mut Option<Running>, config: &PoolConfig) -> Result<&'a mut Running, StartError> {
        if running.as_ref().is_some_and(|template| template.exits.is_over()) {
            let mut gone = running.take();
            let exit = match &mut gone {
                Some(gone) => timeout(Duration::from_secs(1), gone.process.exited()).await.unwrap_or(WorkerExit::Unlinked),
                None => WorkerExit::Unknown,
            };
            tracing::warn!(app = %config.place(), "the template of the workers {exit}; another one is started");
        }
        match running {
            Some(template) => Ok(template),
            none => Ok(none.insert(Running::start(config).await?)),
        }
    }
}

impl Running {
    async fn start(config: &PoolConfig) -> Result<Self, StartError> {
        let (mut process, socket) = Process::spawn(config, 0).await?;
        socket.set_nonblocking(true)?;
        let (mut reader, mut writer) = UnixStream::from_std(socket)?.into_split();
        let mut octets = Vec::new();
        ToWorker::Boot(serde_json::to_vec(&config.boot(0)).map_err(io::Error::from)?.into()).put(&mut octets);
        // An error means that it has ended, which the read reports.
        let _ = writer.write_all(&octets).await;
        let mut octets = BytesMut::new();
        let Ok(first) = timeout(config.start_timeout, next(&mut reader, &mut octets)).await else {
            process.show_stacks().await;
            return Err(StartError::Late(config.start_timeout));
        };
        match first {
            Some(ToServer::Ready(_)) => {}
            Some(ToServer::Refused(json)) => return Err(StartError::refused(&json)),
            _ => {
                let exit = timeout(STOP_TIMEOUT, process.exited()).await.unwrap_or(WorkerExit::Unlinked);
                return Err(StartError::Died(exit));
            }
        }
        let exits = Arc::new(ExitReports::default());
        tokio::spawn(read(reader, octets, Arc::clone(&exits)));
        Ok(Self { process, writer, exits })
    }
}

/// The next frame; `None` if the template is gone or breaks the protocol.
async fn next(reader: &mut OwnedReadHalf, octets: &mut BytesMut) -> Option<ToServer> {
    loop {
        if let Some(report) = ToServer::take(octets).ok()? {
            return Some(report);
        }
        if reader.read_buf(octets).await.ok()? == 0 {
            return None;
        }
    }
}

async fn read(mut reader: OwnedReadHalf, mut octets: BytesMut, exits: Arc<ExitReports>) {
    while let Some(report) = next(&mut reader, &mut octets).await {
        if let ToServer::Ended(json) = report
            && let Ok(ended) = serde_json::from_slice(&json)
        {
            exits.report(ended);
        }
    }
    exits.end();
}

/// Sends the frame to fork, with the worker's end of its link.
async fn send_fork(writer: &OwnedWriteHalf, worker_end: &StdUnixStream) -> io::Result<()> {
    let mut octets = Vec::new();
    ToWorker::Fork.put(&mut octets);
    let socket: &UnixStream = writer.as_ref();
    let slices = [IoSlice::new(&octets)];
    let sent = socket.async_io(Interest::WRITABLE, || Ok(descriptor::send(socket, &slices, worker_end.as_fd())?));
    if sent.await? == octets.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
