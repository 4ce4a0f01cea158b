//! A worker's process: a child of ours, or one that a template of ours has forked.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::PoolConfig;
use super::exit::WorkerExit;
use super::template::ExitReports;
use crate::worker::link;

/// A process that ends with this value.
pub(super) enum Process {
    Child(Box<Child>),
    Forked(Forked),
}

/// A process that a template forked. Its parent is the template, which tells of its end.
pub(super) struct Forked {
    /// What it says its id is, in its first word.
    pid: Option<u32>,
    template: Option<u32>,
    exits: Arc<ExitReports>,
}

impl Process {
    /// Starts the program anew, with one end of a socket pair as its standard input; the other end is given.
    pub(super) fn spawn(config: &PoolConfig, nth: usize) -> std::io::Result<(Self, UnixStream)> {
        let (server_end, worker_end) = link::pair()?;
        let mut command = config.launcher.worker(&config.boot(nth).title());
        command.envs(&config.env).stdin(Stdio::from(OwnedFd::from(worker_end)));
        // A group of its own: an interrupt from the terminal is for the server, which ends its workers when it has drained.
        let child = Command::from(command).process_group(0).kill_on_drop(true).spawn()?;
        Ok((Self::Child(Box::new(child)), server_end))
    }

    /// One that the template with this id forked.
    pub(super) const fn forked(template: Option<u32>, exits: Arc<ExitReports>) -> Self {
        Self::Forked(Forked { pid: None, template, exits })
    }

    /// The id of a child that has not ended.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            Self::Child(child) => child.id(),
            Self::Forked(forked) => forked.pid,
        }
    }

    /// Takes note of what the process says its id is.
    pub(super) fn introduce(&mut self, pid: u32) {
        if let Self::Forked(forked) = self {
            forked.pid = Some(pid);
        }
    }

    /// Waits for its end. Where nobody will tell, that is never.
    pub(super) async fn exited(&mut self) -> WorkerExit {
        match self {
            Self::Child(child) => child.wait().await.map_or(WorkerExit::Unknown, WorkerExit::from),
            Self::Forked(Forked { pid: Some(pid), exits, .. }) => match exits.of(*pid).await {
                Some(ended) => ended.into(),
                None => pending().await,
            },
            Self::Forked(_) => pending().await,
        }
    }

    /// Whether somebody will tell of its end.
    pub(super) fn is_told(&self) -> bool {
        match self {
            Self::Child(_) => true,
            Self::Forked(forked) => !forked.exits.is_over(),
        }
    }

    /// Ends it now.
    pub(super) fn kill(&mut self) {
        match self {
            // An error means that it has ended.
            Self::Child(child) => drop(child.start_kill()),
            Self::Forked(forked) => forked.kill(),
        }
    }
}

impl Forked {
    /// Once its parent has waited for it, its id may be another process's; and a worker can say anything. So only a child of the template is
    /// ended this way. (One that has lost its template ends when its link does.)
    fn kill(&self) {
        let is_ours = |pid: &u32| self.template.is_some() && parent(*pid) == self.template && self.exits.find(*pid).is_none();
        let pid = self.pid.filter(is_ours).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // An error means that it has ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        self.kill();
        if let Some(pid) = self.pid {
            self.exits.forget(pid);
        }
    }
}

/// The id of a process's parent, as long as there is such a process.
fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Resident memory in octets, as long as there is such a process.
pub(super) fn memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    resident(&status)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_where_it_is_told() {
        assert_eq!(resident("Name:\tziggurat\nVmRSS:\t   10240 kB\nRssAnon:\t 1 kB\n"), Some(10 << 20));
        assert_eq!(resident("Name:\tziggurat\n"), None);
        assert!(memory(std::process::id()).is_some_and(|octets| octets > 0));
    }

    #[test]
    fn only_a_child_of_the_template_is_ended_by_its_id() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(parent(child.id()), Some(std::process::id()));
        let pid = Some(child.id());
        let forked = |template| Forked { pid, template: Some(template), exits: Arc::default() };
        forked(1).kill();
        assert!(child.try_wait().unwrap().is_none());
        let ours = forked(std::process::id());
        ours.kill();
        assert!(!child.wait().unwrap().success());
    }
}
