//! The plan of a reload: what it would change. Nothing of it is done.
//!
//! The new file is read as a reload reads it, and each decision is that of the reload: what is opened ([`Bound::opening`]), what is closed
//! ([`ListeningAt::goes_on`]), which workers the builder starts ([`Pipeline::pools`]), and which options of `server` take a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use ziggurat_middleware::Lifecycle;
use ziggurat_middleware::access_log::rfc3339;

use super::main_loop::{ListeningAt, MainLoop};
use super::prepared::{Bound, Opening};
use crate::pipeline::{Action, PartChange, Pipeline, Report, differing};
use crate::tls::{Certificate, TlsServer};

/// The plan as JSON, or why a reload would be refused.
pub(super) type PlanResult = Result<Value, Report>;

/// An option of `server` that differs.
#[derive(Serialize)]
pub(super) struct ServerChange {
    #[serde(rename = "option")]
    pub(super) name: String,
    /// Whether its new value has no effect before the next start.
    #[serde(rename = "restart")]
    pub(super) takes_restart: bool,
}

/// The options of `server` that a running process cannot change.
const FIXED: [&str; 3] = ["threads", "user", "group"];

/// The options of `server` that differ.
pub(super) fn server_changes(before: &Pipeline, after: &Pipeline) -> Vec<ServerChange> {
    let options = differing(&before.server_options(), &after.server_options());
    options.into_iter().map(|name| ServerChange { takes_restart: FIXED.contains(&name.as_str()), name }).collect()
}

impl MainLoop {
    /// Tells what a reload of `file` would change, if that is the file that the server runs.
    pub(super) fn plan(&self, file: Option<&Path>, mut waiting: oneshot::Sender<PlanResult>) {
        if let Err(report) = self.check_file(file).and_then(|()| self.check_source()) {
            // The client may have disconnected.
            let _ = waiting.send(Err(report));
            return;
        }
        let running = Running {
            before: Arc::clone(&self.active.pipeline),
            bound: self.bound(),
            addresses: self.active.addresses.clone(),
            lifecycle: self.active.lifecycle.clone(),
            is_watched: self.watch.is_some(),
        };
        let (source, planning) = (Arc::clone(&self.reloads.source), Arc::clone(&self.planning));
        tokio::spawn(async move {
            let permit = tokio::select! {
                permit = planning.acquire_owned() => permit,
                () = waiting.closed() => return,
            };
            // Files are read, and the settings of a Django site by a process that ends.
            spawn_blocking(move || {
                let _ = waiting.send(source.load().and_then(|after| running.plan(&after)));
                drop(permit);
            });
        });
    }
}

/// What serves.
struct Running {
    before: Arc<Pipeline>,
    bound: Bound,
    addresses: Vec<ListeningAt>,
    lifecycle: Lifecycle,
    is_watched: bool,
}

/// What is done with a listener or a control socket.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum SocketAction {
    Keep,
    /// The socket is kept; connections to come are served as the entry says now.
    Change,
    Open,
    Close,
}

#[derive(Serialize)]
struct SocketChange {
    address: String,
    action: SocketAction,
    options: Vec<String>,
}

#[derive(Serialize)]
struct PoolChange {
    place: String,
    action: PoolAction,
    processes: usize,
    options: Vec<String>,
    reason: &'static str,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum PoolAction {
    Start,
    Restart,
    End,
    /// In the server's process.
    Load,
}

impl Running {
    fn plan(&self, after: &Pipeline) -> PlanResult {
        let certificates = self.certificates(after)?;
        let parts = self.before.changes(after);
        let (listeners, control) = (self.listeners(after), self.control(after));
        let server = server_changes(&self.before, after);
        let certificates_change = certificates.iter().any(|certificate| certificate.action != Action::Same);
        let changes = listeners.iter().chain(&control).any(|socket| socket.action != SocketAction::Keep)
            || parts.iter().any(|part| part.action != Action::Same)
            || certificates_change
            || !server.is_empty();
        let (warnings, workers) = (after.warnings(), self.workers(after, &parts));
        let untried = untried(listeners.iter().chain(&control), &workers);
        Ok(json!({
            "changes": changes,
            "listeners": listeners,
            "control": control,
            "certificates": certificates,
            "server": server,
            "parts": self.with_state(&parts, after),
            "workers": workers,
            "untried": untried,
            "report": warnings.render(false),
            "findings": warnings.to_json(),
        }))
    }

    fn listeners(&self, after: &Pipeline) -> Vec<SocketChange> {
        let (options_before, options_after) = (self.before.listen_options(), after.listen_options());
        let mut changes = Vec::new();
        for (listen, options) in after.listen().iter().zip(&options_after) {
            let opening = self.bound.opening(listen);
            let at = self.before.listen().iter().position(|before| before.address == listen.address);
            let options = at.and_then(|at| Some(differing(options_before.get(at)?, options))).unwrap_or_default();
            let action = match opening {
                Opening::All => SocketAction::Open,
                Opening::None if options.is_empty() => SocketAction::Keep,
                Opening::None | Opening::Http3 => SocketAction::Change,
            };
            let bound = self.addresses.iter().find(|at| at.address == listen.address && opening != Opening::All);
            let address = bound.map_or_else(|| listen.to_string(), |at| at.name.clone());
            changes.push(SocketChange { address, action, options });
        }
        let gone = self.addresses.iter().filter(|at| !at.goes_on(after.listen()));
        changes.extend(gone.map(|at| SocketChange { address: at.name.clone(), action: SocketAction::Close, options: Vec::new() }));
        changes
    }

    fn control(&self, after: &Pipeline) -> Vec<SocketChange> {
        let next = self.bound.control(after);
        let replaced = self.bound.control.as_ref().filter(|_| next.as_ref().is_none_or(|(_, is_new)| *is_new));
        let next = next.as_ref().map(|(path, is_new)| (path, if *is_new { SocketAction::Open } else { SocketAction::Keep }));
        let change = |(path, action): (&PathBuf, _)| SocketChange { address: path.display().to_string(), action, options: Vec::new() };
        next.into_iter().chain(replaced.map(|path| (path, SocketAction::Close))).map(change).collect()
    }

    /// The certificates in the files of both.
    fn certificates(&self, after: &Pipeline) -> Result<Vec<CertificateChange>, Report> {
        // Where the server is not root any more, another process reads the files. The state of a successor is its own.
        let (opened, _) = after.certificates(&Arc::default(), &self.lifecycle.successor())?;
        let running = self.bound.listening.iter().filter_map(|listen| listen.transport.tls.clone()).collect::<Vec<_>>();
        let before = rows(&running);
        let next = rows(&opened);
        let is_in = |rows: &[CertificateChange], row: &CertificateChange| rows.iter().any(|other| other.is_same(row));
        let mut changes = Vec::new();
        for row in &next {
            let action = if is_in(&before, row) { Action::Same } else { Action::Added };
            changes.push(CertificateChange { action, ..row.clone() });
        }
        let gone = before.iter().filter(|row| !is_in(&next, row));
        changes.extend(gone.map(|row| CertificateChange { action: Action::Removed, ..row.clone() }));
        Ok(changes)
    }

    /// The parts, each with what becomes of the state that it has kept so far.
    fn with_state(&self, parts: &[PartChange], after: &Pipeline) -> Vec<Value> {
        let mut kept = self.lifecycle.kept();
        // Workers have rows of their own.
        for pool in self.before.pools(self.is_watched).iter().chain(&after.pools(self.is_watched)) {
            kept.remove(pool.place);
        }
        let state = |part: &PartChange| match part.action {
            _ if !kept.contains(part.place.as_str()) => None,
            Action::Same | Action::Changed => Some("kept"),
            Action::Removed => Some("lost"),
            Action::Added => None,
        };
        let with_state = |part: &PartChange| {
            let mut row = Map::new();
            if let Ok(Value::Object(fields)) = serde_json::to_value(part) {
                row.extend(fields);
            }
            row.insert("state".to_owned(), state(part).into());
            row.into()
        };
        parts.iter().map(with_state).collect()
    }

    fn workers(&self, after: &Pipeline, parts: &[PartChange]) -> Vec<PoolChange> {
        let (before, after) = (self.before.pools(self.is_watched), after.pools(self.is_watched));
        let options = |place: &str| {
            let part = parts.iter().find(|part| part.place == place && part.action == Action::Changed);
            part.map(|part| part.options.clone()).unwrap_or_default()
        };
        let mut changes = Vec::new();
        for pool in &after {
            let was = before.iter().find(|was| was.place == pool.place);
            let (action, reason) = match was {
                _ if pool.processes == 0 => (PoolAction::Load, "the server's process keeps the modules that it has imported"),
                None => (PoolAction::Start, "the app has no workers yet"),
                Some(was) if was.processes == 0 => (PoolAction::Start, "the app has no workers yet"),
                Some(_) if pool.old_first => (PoolAction::Restart, "a reload imports the code again; the old workers end first"),
                Some(_) => (PoolAction::Restart, "a reload imports the code again; the old workers end when the new ones are ready"),
            };
            let place = pool.place.to_string();
            changes.push(PoolChange { options: options(&place), place, action, processes: pool.processes, reason });
        }
        let gone = before.iter().filter(|was| was.processes > 0 && !after.iter().any(|pool| pool.place == was.place && pool.processes > 0));
        changes.extend(gone.map(|was| PoolChange {
            place: was.place.to_string(),
            action: PoolAction::End,
            processes: was.processes,
            options: Vec::new(),
            reason: "nothing needs them any more",
        }));
        changes
    }
}

/// What a reload does before it takes effect, and a plan does not, because it starts nothing: where one of it fails, the reload is refused.
fn untried<'a>(sockets: impl Iterator<Item = &'a SocketChange>, workers: &[PoolChange]) -> Vec<String> {
    let stack = "the stack is not built: files that its layers and apps need are not opened".to_owned();
    let opened = sockets.filter(|socket| socket.action == SocketAction::Open);
    let opened = opened.map(|socket| format!("`{}` is not opened", socket.address));
    let imported = workers.iter().filter(|pool| !matches!(pool.action, PoolAction::End));
    let imported = imported.map(|pool| format!("the code of `{}` is not imported", pool.place));
    std::iter::once(stack).chain(opened).chain(imported).collect()
}

/// A certificate in the files of a listener.
#[derive(Clone, Serialize)]
struct CertificateChange {
    listener: String,
    names: String,
    expires: String,
    from: String,
    action: Action,
    #[serde(skip)]
    certificate: Arc<Certificate>,
}

impl CertificateChange {
    fn is_same(&self, other: &Self) -> bool {
        self.listener == other.listener && self.certificate.key.cert == other.certificate.key.cert
    }
}

fn rows(servers: &[Arc<TlsServer>]) -> Vec<CertificateChange> {
    let row = |server: &TlsServer, certificate: Arc<Certificate>| CertificateChange {
        listener: server.listener().to_owned(),
        names: certificate.named(),
        expires: rfc3339(certificate.not_after.max(SystemTime::UNIX_EPOCH)),
        from: certificate.source.clone(),
        action: Action::Same,
        certificate,
    };
    servers.iter().flat_map(|server| server.certificates().into_iter().map(|certificate| row(server, certificate))).collect()
}
