//! The process that starts workers as their user.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command as StdCommand, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{MAX_LINE, Order, Report, SpawnerIdentity};
use crate::worker::boot::Ended;
use crate::worker::django_settings::line;
use crate::worker::identity::become_user;
use crate::worker::launcher::Launcher;
use crate::worker::link::descriptor;
use crate::worker::process_status::parent;

/// How long workers may go on after the server is gone. They end by themselves.
const PATIENCE: Duration = Duration::from_secs(10);

/// Becomes the user that the server says, and starts what it orders, until it is gone.
///
/// # Errors
///
/// If the link breaks, or the system refuses what every process may have.
pub(crate) fn run(link: StdUnixStream) -> io::Result<()> {
    link.set_nonblocking(true)?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        // The server decides when workers end, and this process ends with the server.
        let _ignored = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()].map(signal);
        let mut orders = Orders { link: UnixStream::from_std(link)?, octets: Vec::new(), descriptors: VecDeque::new() };
        let Some(first) = orders.line().await? else { return Ok(()) };
        let SpawnerIdentity { user, group } = serde_json::from_slice(&first)?;
        // This process has no other thread yet.
        match become_user(user.as_deref(), group.as_deref()) {
            Ok(()) => orders.report(&Report::Ready).await?,
            Err(finding) => return orders.report(&Report::Refused(finding.message)).await,
        }
        let (ends, mut ended) = mpsc::unbounded_channel();
        let mut children = Children { ends, running: HashSet::new() };
        loop {
            tokio::select! {
                // Its number may be another process's afterwards, so it is forgotten before anything else.
                biased;
                Some((pid, status)) = ended.recv() => {
                    children.running.remove(&pid);
                    orders.report(&Report::Ended(end_of(pid, status))).await?;
                }
                order = orders.line() => match order? {
                    Some(order) => children.follow(serde_json::from_slice(&order)?, &mut orders).await?,
                    None => break,
                },
            }
        }
        let _ = timeout(PATIENCE, async {
            while !children.running.is_empty()
                && let Some((pid, _)) = ended.recv().await
            {
                children.running.remove(&pid);
            }
        })
        .await;
        children.running.iter().for_each(|pid| kill_group(*pid));
        Ok(())
    })
}

fn end_of(pid: u32, status: ExitStatus) -> Ended {
    Ended { pid, code: status.code(), signal: status.signal() }
}

struct Children {
    ends: mpsc::UnboundedSender<(u32, ExitStatus)>,
    /// Those that have not been waited for.
    running: HashSet<u32>,
}

impl Children {
    async fn follow(&mut self, order: Order, orders: &mut Orders) -> io::Result<()> {
        match order {
            Order::Start { id, program, arguments, environment } => {
                let link = orders.descriptors.pop_front().ok_or(io::ErrorKind::InvalidData)?;
                let mut command = StdCommand::new(program);
                command.args(arguments).env_clear().envs(environment).stdin(Stdio::null());
                let report = match self.start(command, link) {
                    Ok(pid) => Report::Started { id, pid },
                    Err(error) => Report::NotStarted { id, reason: error.to_string() },
                };
                orders.report(&report).await
            }
            Order::Kill(pid) => {
                if self.running.contains(&pid) {
                    kill_group(pid);
                } else if parent(pid).is_some_and(|parent| self.running.contains(&parent)) {
                    send(pid, Signal::KILL);
                }
                Ok(())
            }
            Order::ShowStacks(pid) => {
                if self.running.contains(&pid) {
                    send(pid, Signal::USR2);
                }
                Ok(())
            }
        }
    }

    /// Starts a process in a group of its own, and waits for its end. What it has left behind is killed then.
    fn start(&mut self, mut command: StdCommand, link: OwnedFd) -> io::Result<u32> {
        Launcher::leave_link(&mut command, link)?;
        let mut child: Child = Command::from(command).process_group(0).spawn()?;
        let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
        self.running.insert(pid);
        let ends = self.ends.clone();
        tokio::spawn(async move {
            let status = child.wait().await.unwrap_or_default();
            kill_group(pid);
            // An error means that this process ends.
            let _ = ends.send((pid, status));
        });
        Ok(pid)
    }
}

/// Kills a process and those that it has started. The system does not use the id of a group again before it has used all others.
fn kill_group(pid: u32) {
    if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // An error means that none is left.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // An error means that it has ended.
        let _ = kill_process(pid, signal);
    }
}

/// This process's end of the link.
struct Orders {
    link: UnixStream,
    octets: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Orders {
    /// The next line; `None` if the server is gone. A call that is dropped loses nothing.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.octets) {
                let rest = self.octets.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.octets, rest)));
            }
            if self.octets.len() as u64 > MAX_LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut piece = [0; 16 * 1024];
            let (link, descriptors) = (&self.link, &mut self.descriptors);
            let read = link.async_io(Interest::READABLE, || Ok(descriptor::receive(link, &mut piece, descriptors)?)).await?;
            if read == 0 {
                return Ok(None);
            }
            self.octets.extend_from_slice(&piece[..read]);
        }
    }

    async fn report(&mut self, report: &Report) -> io::Result<()> {
        self.link.write_all(&line(report)).await
    }
}
