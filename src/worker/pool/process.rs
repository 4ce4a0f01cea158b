//! The process of a worker: a child of this process, of a spawner, or of a template.

use std::future::pending;
use std::io::IsTerminal;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::PoolConfig;
use super::exit::WorkerExit;
use crate::worker::exits::ExitReports;
use crate::worker::launcher::Launcher;
use crate::worker::link;
use crate::worker::process_status::parent;
use crate::worker::spawner::Spawner;

/// A process that ends when this is dropped.
pub(super) enum Process {
    Child(Box<ChildProcess>),
    Spawned(Spawned),
    Forked(Forked),
}

/// A child of this process.
pub(super) struct ChildProcess {
    /// Set until this is dropped.
    child: Option<Child>,
    /// Its process group, which holds the processes that the app has started. (A debugger's terminal serves only this process's own group.)
    group: Option<Pid>,
}

/// A process that a spawner started, as another user. The spawner is its parent, reports its end, and then kills what the app has left behind.
pub(super) struct Spawned {
    pid: u32,
    spawner: Arc<Spawner>,
}

/// A process that a template forked. The template is its parent and reports its end.
pub(super) struct Forked {
    /// The id that the process reports when it is ready.
    pid: Option<u32>,
    template: Option<u32>,
    exits: Arc<ExitReports>,
    /// Set if they are another user's: this process may not end them.
    spawner: Option<Arc<Spawner>>,
}

impl Process {
    /// Starts this program with one end of a new link. Returns the other end.
    pub(super) async fn spawn(config: &PoolConfig, nth: usize) -> std::io::Result<(Self, UnixStream)> {
        let (server_end, worker_end) = link::pair()?;
        let mut command = config.launcher.worker(&config.boot(nth).title());
        config.inherited.apply(&mut command);
        command.envs(&config.env);
        if let Some(spawner) = &config.spawner {
            let pid = spawner.start(&command, worker_end)?.await.map_err(std::io::Error::other)??;
            return Ok((Self::Spawned(Spawned { pid, spawner: Arc::clone(spawner) }), server_end));
        }
        Launcher::leave_link(&mut command, worker_end)?;
        let has_terminal = config.is_watched && std::io::stdin().is_terminal();
        if config.is_watched {
            command.stdin(Stdio::inherit());
        }
        let mut command = Command::from(command);
        if !has_terminal {
            // An interrupt from the terminal is for the server, which stops its workers after the drain.
            command.process_group(0);
        }
        let child = command.kill_on_drop(true).spawn()?;
        let group = child.id().filter(|_| !has_terminal).and_then(raw);
        Ok((Self::Child(Box::new(ChildProcess { child: Some(child), group })), server_end))
    }

    /// A process that the template with this id forked.
    pub(super) const fn forked(template: Option<u32>, exits: Arc<ExitReports>, spawner: Option<Arc<Spawner>>) -> Self {
        Self::Forked(Forked { pid: None, template, exits, spawner })
    }

    /// The id, as long as the process has not ended.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            Self::Child(process) => process.id(),
            Self::Spawned(spawned) => spawned.id(),
            Self::Forked(forked) => forked.pid,
        }
    }

    /// Sets the id that the process reports.
    pub(super) fn introduce(&mut self, pid: u32) {
        if let Self::Forked(forked) = self {
            forked.pid = Some(pid);
        }
    }

    /// Waits until the process has ended, and kills the processes that its app has left behind; for ever if nobody reports the end. (A template ends
    /// those of its forks.)
    pub(super) async fn exited(&mut self) -> WorkerExit {
        match self {
            Self::Child(process) => {
                let Some(child) = &mut process.child else { return WorkerExit::Unknown };
                let exit = child.wait().await.map_or(WorkerExit::Unknown, WorkerExit::from);
                process.kill_group();
                exit
            }
            Self::Spawned(Spawned { pid, spawner }) => reported(*pid, spawner.exits()).await,
            Self::Forked(Forked { pid: Some(pid), exits, .. }) => reported(*pid, exits).await,
            Self::Forked(_) => pending().await,
        }
    }

    /// Whether somebody reports the end of the process.
    pub(super) fn is_told(&self) -> bool {
        match self {
            Self::Child(_) => true,
            Self::Spawned(spawned) => !spawned.spawner.exits().is_over(),
            Self::Forked(forked) => !forked.exits.is_over(),
        }
    }

    /// Kills the process.
    pub(super) fn kill(&mut self) {
        match self {
            // An error means that it has ended.
            Self::Child(process) => drop(process.child.as_mut().map(Child::start_kill)),
            Self::Spawned(spawned) => spawned.kill(),
            Self::Forked(forked) => forked.kill(),
        }
    }

    /// Has a process that does not become ready write the Python stacks of its threads to standard error.
    pub(super) async fn show_stacks(&self) {
        match self {
            // Before it can, the signal ends it.
            Self::Child(process) => drop(process.id().and_then(raw).map(|pid| kill_process(pid, Signal::USR2))),
            Self::Spawned(spawned) => spawned.spawner.show_stacks(spawned.pid),
            Self::Forked(_) => return,
        }
        sleep(SHOW).await;
    }
}

/// How long a process may take to write its stacks.
const SHOW: Duration = Duration::from_millis(300);

impl ChildProcess {
    fn id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Kills the process and what it has started. The system does not use the id of a group again before it has used all others.
    fn kill_group(&mut self) {
        if let Some(group) = self.group.take() {
            // An error means that none is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill_group();
        if let (Some(mut child), Ok(runtime)) = (self.child.take(), Handle::try_current()) {
            // A child that is dropped while it dies may stay a zombie.
            runtime.spawn(async move {
                let _ = child.start_kill();
                let _ = child.wait().await;
            });
        }
    }
}

impl Spawned {
    fn id(&self) -> Option<u32> {
        self.spawner.exits().find(self.pid).is_none().then_some(self.pid)
    }

    /// Kills the process, unless it has ended.
    fn kill(&self) {
        if self.id().is_some() {
            self.spawner.kill(self.pid);
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.kill();
        self.spawner.exits().forget(self.pid);
    }
}

impl Forked {
    /// Kills the process only while it is a child of the template: after its parent has waited for it, its id may be another process's, and a worker
    /// may report any id. (A process whose template is gone ends with its link.)
    fn kill(&self) {
        let is_ours = |pid: &u32| self.template.is_some() && parent(*pid) == self.template && self.exits.find(*pid).is_none();
        let Some(pid) = self.pid.filter(is_ours) else { return };
        match &self.spawner {
            Some(spawner) => spawner.kill(pid),
            // An error means that it has ended.
            None => drop(raw(pid).map(|pid| kill_process(pid, Signal::KILL))),
        }
    }
}

async fn reported(pid: u32, exits: &ExitReports) -> WorkerExit {
    match exits.of(pid).await {
        Some(ended) => ended.into(),
        None => pending().await,
    }
}

fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

impl Drop for Forked {
    fn drop(&mut self) {
        self.kill();
        if let Some(pid) = self.pid {
            self.exits.forget(pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_child_of_the_template_is_ended_by_its_id() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(parent(child.id()), Some(std::process::id()));
        let pid = Some(child.id());
        let forked = |template| Forked { pid, template: Some(template), exits: Arc::default(), spawner: None };
        forked(1).kill();
        assert!(child.try_wait().unwrap().is_none());
        let ours = forked(std::process::id());
        ours.kill();
        assert!(!child.wait().unwrap().success());
    }
}
