//! Starts workers as another user than the server's, which is not root any more: a process of that user does it for the server.
//!
//! The server starts one for each user while it is root. It has given up root itself ([`process`]), so no process that starts others has privileges. Both have one end of a
//! socket pair. An order is a line of JSON; the worker's end of its link goes with it. Reports come back as lines.

pub(crate) mod process;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use ziggurat_middleware::Finding;

use super::boot::Ended;
use super::django_settings::line;
use super::exits::ExitReports;
use super::identity::{Identity, ServerIdentity, is_root};
use super::link::descriptor;

/// How long the process may take until it has become the user.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest line: a command with its environment, which Linux limits to 2 MiB in most cases.
const MAX_LINE: u64 = 32 << 20;

/// The user and the group that the process becomes, by name or number: the first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SpawnerIdentity {
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Runs a program, which gets the descriptor that comes with the order as its link.
    Start { id: u64, program: PathBuf, arguments: Vec<OsString>, environment: Vec<(OsString, OsString)> },
    /// Kills a process that it has started, or one that such a process has forked.
    Kill(u32),
    /// Has a process write the Python stacks of its threads.
    ShowStacks(u32),
}

#[derive(Debug, Serialize, Deserialize)]
enum Report {
    /// It is the user's.
    Ready,
    Refused(String),
    Started {
        id: u64,
        pid: u32,
    },
    NotStarted {
        id: u64,
        reason: String,
    },
    Ended(Ended),
}

/// The process id of a worker that was ordered.
pub(crate) type Starting = oneshot::Receiver<io::Result<u32>>;

/// The server's end.
pub(crate) struct Spawner {
    link: Mutex<Link>,
    starting: Arc<Mutex<HashMap<u64, oneshot::Sender<io::Result<u32>>>>>,
    exits: Arc<ExitReports>,
}

struct Link {
    socket: UnixStream,
    last: u64,
}

impl Spawner {
    /// Tells the process at the other end of the link who it is to become, and waits until it is.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub(crate) fn new(mut socket: UnixStream, identity: &SpawnerIdentity) -> io::Result<Self> {
        socket.set_read_timeout(Some(START_TIMEOUT))?;
        socket.write_all(&line(identity))?;
        let mut reports = BufReader::new(socket.try_clone()?);
        match next(&mut reports) {
            Some(Report::Ready) => {}
            Some(Report::Refused(reason)) => return Err(io::Error::other(reason)),
            _ => return Err(io::Error::other("the process that starts workers has ended")),
        }
        socket.set_read_timeout(None)?;
        let spawner = Self { link: Mutex::new(Link { socket, last: 0 }), starting: Arc::default(), exits: Arc::default() };
        let (starting, exits) = (Arc::clone(&spawner.starting), Arc::clone(&spawner.exits));
        thread::Builder::new().name("ziggurat-spawner".to_owned()).spawn(move || read(&mut reports, &starting, &exits))?;
        Ok(spawner)
    }

    /// Starts what a command says: its program, arguments and environment. The program gets the link.
    pub(crate) fn start(&self, command: &Command, link: UnixStream) -> io::Result<Starting> {
        let mut environment: HashMap<OsString, OsString> = std::env::vars_os().collect();
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => drop(environment.insert(name.to_owned(), value.to_owned())),
                None => drop(environment.remove(name)),
            }
        }
        let (sender, started) = oneshot::channel();
        let mut server_end = self.link();
        server_end.last += 1;
        let id = server_end.last;
        let order = Order::Start {
            id,
            program: command.get_program().into(),
            arguments: command.get_args().map(OsString::from).collect(),
            environment: environment.into_iter().collect(),
        };
        lock(&self.starting).insert(id, sender);
        let octets = line(&order);
        let sent = descriptor::send(&server_end.socket, &[IoSlice::new(&octets)], link.as_fd()).map_err(io::Error::from);
        let sent = sent.and_then(|sent| server_end.socket.write_all(&octets[sent..]));
        if self.exits.is_over() || sent.is_err() {
            lock(&self.starting).remove(&id);
            return Err(io::Error::other("the process that starts workers of their user is gone: restart the server"));
        }
        Ok(started)
    }

    /// Kills a process, unless it has ended.
    pub(crate) fn kill(&self, pid: u32) {
        self.order(&Order::Kill(pid));
    }

    /// Has a process write the Python stacks of its threads to standard error.
    pub(crate) fn show_stacks(&self, pid: u32) {
        self.order(&Order::ShowStacks(pid));
    }

    /// The ends of the processes.
    pub(crate) fn exits(&self) -> &ExitReports {
        &self.exits
    }

    fn order(&self, order: &Order) {
        // An error means that it is gone.
        let _ = self.link().socket.write_all(&line(order));
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        lock(&self.link)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(reports: &mut impl BufRead, starting: &Mutex<HashMap<u64, oneshot::Sender<io::Result<u32>>>>, exits: &ExitReports) {
    while let Some(report) = next(reports) {
        let (id, started) = match report {
            Report::Started { id, pid } => (id, Ok(pid)),
            Report::NotStarted { id, reason } => (id, Err(io::Error::other(reason))),
            Report::Ended(ended) => {
                exits.report(ended);
                continue;
            }
            Report::Ready | Report::Refused(_) => continue,
        };
        if let Some(sender) = lock(starting).remove(&id) {
            // Nobody may wait any more.
            let _ = sender.send(started);
        }
    }
    tracing::error!("a process that starts workers of another user is gone: restart the server");
    exits.end();
    lock(starting).clear();
}

/// The next report; `None` at the end, and after one that cannot be read.
fn next(reports: &mut impl BufRead) -> Option<Report> {
    let mut line = Vec::new();
    reports.take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

/// A fact about the program: what starts workers of other users than the server's, which is not root any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spawners(Arc<Entries>);

/// The numbers of a user, if there is any, and a group.
type Ids = (Option<u32>, u32);

#[derive(Debug, Default)]
struct Entries {
    server: ServerIdentity,
    all: Vec<(Ids, Arc<Spawner>)>,
}

impl Spawners {
    /// Starts one for each of these users and groups of workers, where they are others than the server's.
    ///
    /// # Errors
    ///
    /// Which of them cannot be started, and why.
    pub(crate) fn start(
        server: ServerIdentity,
        of_workers: impl IntoIterator<Item = (Option<String>, Option<String>)>,
        mut launch: impl FnMut() -> io::Result<UnixStream>,
    ) -> Result<Self, String> {
        let own = Identity::named(server.user.as_deref(), server.group.as_deref()).ok().flatten().map(|own| own.ids());
        let mut all: Vec<(Ids, Arc<Spawner>)> = Vec::new();
        for (user, group) in of_workers {
            // An unknown name is reported at its place, by the app.
            let Ok(Some(identity)) = Identity::of_worker(user.as_deref(), group.as_deref(), &server) else { continue };
            let ids = identity.ids();
            if Some(ids) == own || all.iter().any(|(known, _)| *known == ids) {
                continue;
            }
            let identity = SpawnerIdentity { user: user.or_else(|| server.user.clone()), group };
            let spawner = launch().and_then(|link| Spawner::new(link, &identity));
            let spawner = spawner.map_err(|error| format!("no process can be started that starts workers of another user: {error}"))?;
            all.push((ids, Arc::new(spawner)));
        }
        Ok(Self(Arc::new(Entries { server, all })))
    }

    /// The one for workers of this user and group; `None` if they are this process's own, or it can become them.
    ///
    /// # Errors
    ///
    /// If there is none, or no such user or group.
    pub(crate) fn of(&self, user: Option<&str>, group: Option<&str>) -> Result<Option<Arc<Spawner>>, Finding> {
        let identity = Identity::of_worker(user, group, &self.0.server)?;
        let Some(identity) = identity.filter(|identity| !identity.is_current() && !is_root()) else { return Ok(None) };
        let found = self.0.all.iter().find(|(ids, _)| *ids == identity.ids());
        found.map(|(_, spawner)| Some(Arc::clone(spawner))).ok_or_else(|| {
            let (field, shown) = user.map_or(("group", group), |user| ("user", Some(user)));
            let finding = Finding::new(format!("the server cannot start workers as `{}`", shown.unwrap_or_default())).at(field);
            finding.hint("it has become its own user, and can start workers of those users that its file named then: restart it")
        })
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").finish_non_exhaustive()
    }
}
