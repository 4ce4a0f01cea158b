//! What a Django site's settings say: asked of a short-lived process of this program, for the front never runs Python.
//!
//! The process has one end of a socket pair as its standard input, as a worker has. One line of JSON goes each way.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use ziggurat_middleware::Finding;

use super::boot::Refusal;
use super::launcher::Launcher;

/// A settings module does little more than imports; one that waits for something that never comes is not waited for.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An reply is some hundred octets, or a traceback.
const LONGEST: usize = 1 << 20;

/// Whose settings, and as whom to read them: as the workers would.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SettingsQuery {
    /// The settings module, as in `DJANGO_SETTINGS_MODULE`.
    pub(crate) settings: String,
    /// Folders in which modules are looked for first.
    pub(crate) path: Vec<PathBuf>,
    /// The working folder, where it is to be another one.
    pub(crate) chdir: Option<PathBuf>,
    /// Whom to become, by name or number.
    pub(crate) user: Option<String>,
    /// The group to become a member of, where it is not the user's own.
    pub(crate) group: Option<String>,
}

/// What comes child_end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SettingsReply {
    Settings(Settings),
    Refused(Refusal),
}

/// What of a site's settings concerns the layers around it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Where the settings themselves stand.
    pub(crate) file: Option<PathBuf>,
    pub(crate) debug: bool,
    /// `WSGI_APPLICATION`, with dots.
    pub(crate) application: Option<String>,
    /// Whether static files are found in the site's apps, without being collected: while it is developed.
    #[serde(rename = "finds_static")]
    pub(crate) finds_assets: bool,
    /// `STATIC_URL` and `STATIC_ROOT`, where `django.contrib.staticfiles` is installed and keeps its files on this machine.
    #[serde(rename = "static")]
    pub(crate) assets: Option<Files>,
    /// `MEDIA_URL` and `MEDIA_ROOT`, where uploads are kept on this machine.
    pub(crate) media: Option<Files>,
}

/// Files, and the address they appear at.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Files {
    pub(crate) url: String,
    /// An absolute path; none where the setting is empty.
    pub(crate) root: Option<PathBuf>,
}

/// Asks, and waits for the reply, some seconds at most.
///
/// # Errors
///
/// Why the settings cannot be read: what the site's code raised, or what became of the process.
pub(crate) fn read_settings<'a>(
    launcher: &Launcher,
    query: &SettingsQuery,
    env: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Settings, Finding> {
    let unasked = |error: io::Error| Finding::new(format!("the settings cannot be read: no process for it can be started: {error}"));
    let (link, mut child) = start(launcher, env).map_err(unasked)?;
    let reply = converse(link, query, TIMEOUT);
    // Whatever it still does, it has said all.
    let _ = child.kill();
    let ended = child.wait();
    match reply {
        Ok(Some(SettingsReply::Settings(settings))) => Ok(settings),
        Ok(Some(SettingsReply::Refused(refusal))) => Err(refusal.into()),
        Ok(None) => {
            let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(Finding::new(format!("the settings cannot be read: the process that imported them ended with {how}")))
        }
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            let finding = Finding::new(format!("the settings were not imported within {} seconds", TIMEOUT.as_secs()));
            Err(finding.hint("does the module wait for another server? what takes time belongs into the app"))
        }
        Err(error) => Err(Finding::new(format!("the settings cannot be read: {error}"))),
    }
}

fn start<'a>(launcher: &Launcher, env: impl Iterator<Item = (&'a str, &'a str)>) -> io::Result<(UnixStream, Child)> {
    let (link, child_end) = UnixStream::pair()?;
    let mut command = launcher.settings();
    // What the module prints is not part of what this program prints. A group of its own, as workers have: it ends when its link does.
    command.envs(env).stdin(Stdio::from(OwnedFd::from(child_end))).stdout(Stdio::null()).process_group(0);
    let child = command.spawn()?;
    Ok((link, child))
}

/// The reply, if the process gave one before it ended.
fn converse(mut link: UnixStream, query: &SettingsQuery, patience: Duration) -> io::Result<Option<SettingsReply>> {
    let end = Instant::now() + patience;
    link.set_write_timeout(Some(patience))?;
    // A process that went before it was asked may have said why.
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
        if octets.len() > LONGEST {
            return Err(io::Error::other("the reply is too long"));
        }
    }
    serde_json::from_slice(&octets).map(Some).map_err(io::Error::other)
}

/// One line of JSON.
pub(crate) fn line(what: &impl Serialize) -> Vec<u8> {
    // Structs of text and numbers are always JSON. (A path that is not UTF-8 is none; the empty line then is no reply.)
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
        read_settings(&Launcher::new(program, arguments), &query(), std::iter::empty()).unwrap_err()
    }

    #[test]
    fn an_answer_that_does_not_come_is_not_waited_for() {
        let (link, _other) = UnixStream::pair().unwrap();
        let error = converse(link, &query(), Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_process_that_says_nothing_or_nonsense_is_no_answer() {
        assert!(refusal("/bin/sh", &["-c", "exit 3"]).message.contains("exit status: 3"));
        assert!(refusal("/bin/sh", &["-c", "echo nonsense >&0"]).message.contains("expected"));
        assert!(refusal("/no/such/program", &[]).message.contains("no process for it can be started"));
    }

    #[test]
    fn an_endless_answer_is_not_read_to_its_end() {
        assert!(refusal("/bin/sh", &["-c", "tr '\\0' x >&0 </dev/zero"]).message.contains("too long"));
    }
}
