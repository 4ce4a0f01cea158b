//! The settings of a Django site, read by a short-lived process of this program: the server process never runs Python.
//!
//! The process has one end of a socket pair, as a worker has. One line of JSON goes each way.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use ziggurat_middleware::Finding;

use super::boot::Refusal;
use super::launcher::Launcher;
use super::spawner::Spawner;

/// A settings module does little more than import. One that takes longer waits for something that may never come.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A reply has some hundred octets, or a traceback.
const MAX_REPLY: usize = 1 << 20;

/// Which settings to read, under the identity of the workers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SettingsQuery {
    /// The settings module, as in `DJANGO_SETTINGS_MODULE`.
    pub(crate) settings: String,
    /// Folders that are searched for modules first.
    pub(crate) path: Vec<PathBuf>,
    /// The working folder, if not the server's.
    pub(crate) chdir: Option<PathBuf>,
    /// The user to run as, by name or number.
    pub(crate) user: Option<String>,
    /// The group to run as, if not the user's primary group.
    pub(crate) group: Option<String>,
}

/// The reply of the process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SettingsReply {
    Settings(Settings),
    Refused(Refusal),
}

/// The settings that concern the layers around the site.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The file of the settings.
    pub(crate) file: Option<PathBuf>,
    pub(crate) debug: bool,
    /// `WSGI_APPLICATION`, a dotted path.
    pub(crate) application: Option<String>,
    /// Whether Django finds static files without `collectstatic`, as in development.
    #[serde(rename = "finds_static")]
    pub(crate) finds_assets: bool,
    /// `STATIC_URL` and `STATIC_ROOT`, if `django.contrib.staticfiles` is installed and stores files on this machine.
    #[serde(rename = "static")]
    pub(crate) assets: Option<Files>,
    /// `MEDIA_URL` and `MEDIA_ROOT`, if uploads are stored on this machine.
    pub(crate) media: Option<Files>,
}

/// A folder of files and its URL.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Files {
    pub(crate) url: String,
    /// An absolute path; `None` if the setting is empty.
    pub(crate) root: Option<PathBuf>,
}

/// Reads the settings. Blocks for up to 30 s. With a `spawner`, the process is of its user.
///
/// # Errors
///
/// Why the settings cannot be read: the site's code raised an exception, or the process failed.
pub(crate) fn read_settings<'a>(
    launcher: &Launcher,
    spawner: Option<&Arc<Spawner>>,
    query: &SettingsQuery,
    env: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Settings, Finding> {
    let not_started = |error: io::Error| Finding::new(format!("the settings cannot be read: no process for it can be started: {error}"));
    let (link, process) = SettingsProcess::start(launcher, spawner, env).map_err(not_started)?;
    let reply = exchange(link, query, TIMEOUT);
    // It has replied or failed; whatever it still does is not needed.
    let how = process.end();
    match reply {
        Ok(Some(SettingsReply::Settings(settings))) => Ok(settings),
        Ok(Some(SettingsReply::Refused(refusal))) => Err(refusal.into()),
        Ok(None) => Err(Finding::new(format!("the settings cannot be read: the process that imported them ended{how}"))),
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            let finding = Finding::new(format!("the settings were not imported within {} seconds", TIMEOUT.as_secs()));
            Err(finding.hint("does the module wait for another server? move slow work into the app"))
        }
        Err(error) => Err(Finding::new(format!("the settings cannot be read: {error}"))),
    }
}

enum SettingsProcess<'a> {
    Child(Child),
    Spawned(&'a Spawner, u32),
}

impl<'s> SettingsProcess<'s> {
    fn start<'a>(
        launcher: &Launcher,
        spawner: Option<&'s Arc<Spawner>>,
        env: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> io::Result<(UnixStream, Self)> {
        let (link, child_end) = UnixStream::pair()?;
        let mut command = launcher.settings();
        command.envs(env);
        if let Some(spawner) = spawner {
            let pid = spawner.start(&command, child_end)?.blocking_recv().map_err(io::Error::other)??;
            return Ok((link, Self::Spawned(spawner, pid)));
        }
        // The output of the module is not the output of this program. It has its own process group, as workers have, and ends with its link.
        command.stdout(Stdio::null()).process_group(0);
        Launcher::leave_link(&mut command, child_end)?;
        Ok((link, Self::Child(command.spawn()?)))
    }

    /// Ends it. Returns what follows "the process ended".
    fn end(self) -> String {
        match self {
            Self::Child(mut child) => {
                let _ = child.kill();
                child.wait().map_or_else(|error| format!(": {error}"), |status| format!(" with {status}"))
            }
            Self::Spawned(spawner, pid) => {
                spawner.kill(pid);
                spawner.exits().forget(pid);
                String::new()
            }
        }
    }
}

/// The reply; `None` if the process ended without one.
fn exchange(mut link: UnixStream, query: &SettingsQuery, time_limit: Duration) -> io::Result<Option<SettingsReply>> {
    let end = Instant::now() + time_limit;
    link.set_write_timeout(Some(time_limit))?;
    // A process that failed before the query may have replied.
    link.write_all(&line(query)).or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })?;
    let mut octets = Vec::new();
    let mut piece = [0; 4096];
    while octets.last() != Some(&b'\n') {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        link.set_read_timeout(Some(left))?;
        match link.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(count) => octets.extend_from_slice(&piece[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
        if octets.len() > MAX_REPLY {
            return Err(io::Error::other("the reply is too long"));
        }
    }
    serde_json::from_slice(&octets).map(Some).map_err(io::Error::other)
}

/// One line of JSON.
pub(crate) fn line(what: &impl Serialize) -> Vec<u8> {
    // Structs of text and numbers always serialize. (A path that is not UTF-8 does not; the empty line is then no reply.)
    let mut line = serde_json::to_vec(what).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> SettingsQuery {
        SettingsQuery { settings: "site".to_owned(), path: Vec::new(), chdir: None, user: None, group: None }
    }

    fn refusal(program: &str, arguments: &[&str]) -> Finding {
        read_settings(&Launcher::new(program, arguments), None, &query(), std::iter::empty()).unwrap_err()
    }

    #[test]
    fn a_reply_is_not_waited_for_for_ever() {
        let (link, _other) = UnixStream::pair().unwrap();
        let error = exchange(link, &query(), Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_process_that_replies_nothing_or_nonsense_is_an_error() {
        assert!(refusal("/bin/sh", &["-c", "exit 3"]).message.contains("exit status: 3"));
        assert!(refusal("/bin/sh", &["-c", "echo nonsense >&3"]).message.contains("expected"));
        assert!(refusal("/no/such/program", &[]).message.contains("no process for it can be started"));
    }

    #[test]
    fn an_endless_reply_is_not_read_to_its_end() {
        assert!(refusal("/bin/sh", &["-c", "tr '\\0' x >&3 </dev/zero"]).message.contains("too long"));
    }
}
