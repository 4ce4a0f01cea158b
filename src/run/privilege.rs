//! From root to a user: what needs root is done first, and everything else as that user.

use std::fmt::Display;
use std::io;
use std::os::unix::fs::lchown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use http::Extensions;
use ziggurat_middleware::Finding;

use crate::pipeline::{Pipeline, Report};
use crate::server::Address;
use crate::tls::FileAccess;
use crate::tls::root_reader::RootReader;
use crate::worker::identity::{Identity, ServerIdentity, is_root};
use crate::worker::launcher::Launcher;
use crate::worker::spawner::Spawners;

/// The user and the group that the server has to become, if it is not them.
///
/// # Errors
///
/// If there are none of these names.
pub(super) fn wanted(pipeline: &Pipeline) -> Result<Option<Identity>, Report> {
    let server = pipeline.server();
    let identity = Identity::named(server.user.as_deref(), server.group.as_deref()).map_err(|finding| report(pipeline, &finding))?;
    Ok(identity.filter(|identity| !identity.is_current()))
}

/// Starts the processes that a server of root leaves behind when it becomes a user, and adds them to the facts about the program: one that stays root and reads
/// keys, and one for each other user that workers have.
///
/// # Errors
///
/// What keeps one from starting.
pub(super) fn start_helpers(pipeline: &Pipeline, host: &mut Extensions) -> Result<(), Report> {
    let Some(launcher) = host.get::<Launcher>().cloned().filter(|_| is_root()) else { return Ok(()) };
    if wanted(pipeline)?.is_none() {
        return Ok(());
    }
    let failed = |reason: &dyn Display| pipeline.report(&format!("no process can be started that stays root and reads keys: {reason}"));
    let readable = pipeline.readable().map_err(|error| failed(&error))?;
    if !readable.is_empty() {
        let reader = launch(launcher.root_reader()).and_then(|link| RootReader::new(link, &readable));
        host.insert(FileAccess::as_root(Arc::new(reader.map_err(|error| failed(&error))?)));
    }
    let server = ServerIdentity { user: pipeline.server().user.clone(), group: pipeline.server().group.clone() };
    let spawners = Spawners::start(server, pipeline.worker_identities(), || launch(launcher.spawner()));
    host.insert(spawners.map_err(|reason| pipeline.report(&reason))?);
    Ok(())
}

/// Starts a process with one end of a new link. It ends when the other end is closed.
fn launch(mut command: Command) -> io::Result<UnixStream> {
    let (link, child_end) = UnixStream::pair()?;
    Launcher::leave_link(&mut command, child_end)?;
    // An interrupt from the terminal is for the server.
    command.process_group(0);
    let mut command = tokio::process::Command::from(command);
    // The runtime waits for its end.
    drop(command.spawn()?);
    Ok(link)
}

/// Becomes them, for good, and gives the sockets in the file system that root has bound to them.
///
/// The kernel then lets no other process of this user look into this one, workers included, because it may have read secrets of root (prctl(2), PR_SET_DUMPABLE).
///
/// # Errors
///
/// If this process is not root's.
pub(super) fn give_up(identity: Identity, pipeline: &Pipeline) -> Result<(), Report> {
    if is_root() {
        hand_over(&identity, pipeline)
            .map_err(|error| pipeline.report(&format!("cannot give a socket or a store to `server.user`: {error}")))?;
    }
    identity.assume().map_err(|finding| report(pipeline, &finding))
}

fn hand_over(identity: &Identity, pipeline: &Pipeline) -> io::Result<()> {
    let (uid, gid) = identity.ids();
    let of_entries = pipeline.listen().iter().filter_map(|listen| match &listen.address {
        Address::Unix(path) => Some((pipeline.base().join(path), listen.access.group.is_none())),
        _ => None,
    });
    let control = pipeline.server().control.as_ref().map(|path| (pipeline.base().join(path), true));
    let sockets: Vec<(PathBuf, bool)> = of_entries.chain(control).collect();
    for store in pipeline.stores() {
        store.create()?.into_iter().try_for_each(|folder| lchown(folder, uid, Some(gid)))?;
    }
    // An entry may name a group of its own.
    sockets.into_iter().try_for_each(|(path, has_group)| lchown(path, uid, has_group.then_some(gid)))
}

/// As [`give_up`], for a process that only tries whether the server could start: it binds nothing, and if it is not root's, it warns.
///
/// # Errors
///
/// As [`wanted`] and [`give_up`].
pub(super) fn try_to_give_up(pipeline: &Pipeline) -> Result<Option<Report>, Report> {
    let Some(identity) = wanted(pipeline)? else { return Ok(None) };
    if is_root() {
        return identity.assume().map(|()| None).map_err(|finding| report(pipeline, &finding));
    }
    let server = pipeline.server();
    let (option, shown) = server.user.as_ref().map_or(("group", server.group.as_deref()), |user| ("user", Some(user)));
    let message = format!("only root can start this server, which has to become `{}`", shown.unwrap_or_default());
    Ok(Some(pipeline.warning_at_server(option, &message)))
}

fn report(pipeline: &Pipeline, finding: &Finding) -> Report {
    let option = match finding.path.first() {
        Some(step) if *step == "group".into() => "group",
        _ => "user",
    };
    let hint = finding.hint.as_deref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    pipeline.report_at_server(option, &format!("{}{hint}", finding.message))
}
