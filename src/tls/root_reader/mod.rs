//! Certificates and keys that only root can read, for a server that has become another user: a process that stays root reads them.
//!
//! It reads what the pipeline file named when the server started, and nothing else, from folders that only root can change ([`process`]). So a server that is taken over gets
//! nothing from it that it did not have before. Both have one end of a socket pair. One request is under way at a time: a line of JSON, and its reply.

pub(crate) mod process;
mod safe_path;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf, absolute};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::options::TlsOptions;
use super::pem::LONGEST;

/// How long the process may take to reply. It reads files.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest line. A reply may list the certificates of a folder.
const MAX_LINE: u64 = 16 << 20;

/// What the process may read. Paths are absolute.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Readable {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Readable {
    /// Adds the files that these options name.
    pub(crate) fn add(&mut self, options: &TlsOptions, base: &Path) -> io::Result<()> {
        for file in options.files() {
            self.files.push(absolute(base.join(file))?);
        }
        if let Some(folder) = &options.folder {
            self.folders.push(absolute(base.join(folder))?);
        }
        Ok(())
    }

    /// Whether it names nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.files.is_empty() && self.folders.is_empty()
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// The octets of a file.
    Read(PathBuf),
    /// The pairs of certificate and key in a folder.
    Pairs(PathBuf),
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    /// So many octets follow.
    Octets(usize),
    Pairs(Vec<(PathBuf, PathBuf)>),
    Failed(String),
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct RootReader {
    link: Mutex<BufReader<UnixStream>>,
}

impl RootReader {
    /// Tells the process at the other end of the link what it may read.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub(crate) fn new(mut link: UnixStream, readable: &Readable) -> io::Result<Self> {
        link.set_read_timeout(Some(TIMEOUT))?;
        link.set_write_timeout(Some(TIMEOUT))?;
        write_line(&mut link, readable)?;
        Ok(Self { link: Mutex::new(BufReader::new(link)) })
    }

    /// Reads a file.
    pub(super) fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        self.exchange(&Request::Read(absolute(file)?), |reply, link| {
            let Reply::Octets(count) = reply else { return Err(ErrorKind::InvalidData.into()) };
            let mut octets = Vec::new();
            link.take(u64::try_from(count).unwrap_or(u64::MAX).min(LONGEST)).read_to_end(&mut octets)?;
            if octets.len() == count { Ok(octets) } else { Err(ErrorKind::UnexpectedEof.into()) }
        })
    }

    /// The pairs of certificate and key in a folder.
    pub(super) fn pairs(&self, folder: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
        self.exchange(&Request::Pairs(absolute(folder)?), |reply, _| match reply {
            Reply::Pairs(pairs) => Ok(pairs),
            _ => Err(ErrorKind::InvalidData.into()),
        })
    }

    fn exchange<T>(&self, request: &Request, read: impl FnOnce(Reply, &mut BufReader<UnixStream>) -> io::Result<T>) -> io::Result<T> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let replied = write_line(link.get_mut(), request).and_then(|()| read_line::<Reply>(&mut *link));
        let outcome = match replied {
            Ok(Some(Reply::Failed(reason))) => return Err(io::Error::other(reason)),
            Ok(Some(reply)) => read(reply, &mut link),
            Ok(None) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        };
        outcome.map_err(|error| {
            // What comes later would be the reply to an earlier request.
            let _ = link.get_ref().shutdown(Shutdown::Both);
            io::Error::other(format!("the process that reads it as root is gone ({error}): restart the server"))
        })
    }
}

fn write_line(link: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    link.write_all(&line)
}

/// The next line; `None` at the end.
fn read_line<T: DeserializeOwned>(link: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    link.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&line)?)) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread::spawn;

    use super::*;

    fn reader(readable: &Readable) -> RootReader {
        let (link, other) = UnixStream::pair().unwrap();
        spawn(move || process::answer(&other).unwrap());
        RootReader::new(link, readable).unwrap()
    }

    /// A folder that only the user of this test can change, whoever that is; under `/tmp`, which everybody can change.
    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn nothing_is_read_that_was_not_named_at_the_start() {
        let folder = folder();
        for name in ["site.pem", "other.pem", "certificates/a.pem", "certificates/b/fullchain.pem", "certificates/b/c/d.pem"] {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs::write(folder.path().join(name), name).unwrap();
        }
        let readable = Readable { files: vec![folder.path().join("site.pem")], folders: vec![folder.path().join("certificates")] };
        let reader = reader(&readable);
        let read = |name: &str| reader.read(&folder.path().join(name)).map_err(|error| error.to_string());
        let refused = "was not named when the server started";
        if rustix::process::geteuid().is_root() {
            assert_eq!(read("site.pem").unwrap(), b"site.pem");
            assert_eq!(read("certificates/a.pem").unwrap(), b"certificates/a.pem");
            assert_eq!(read("certificates/b/fullchain.pem").unwrap().len(), 28);
            let pairs = reader.pairs(&folder.path().join("certificates")).unwrap();
            assert_eq!(pairs.iter().map(|(cert, _)| cert.file_name().unwrap()).collect::<Vec<_>>(), ["a.pem", "fullchain.pem"]);
        } else {
            assert!(read("site.pem").unwrap_err().contains("other users than root can change"));
        }
        for name in ["other.pem", "certificates/../other.pem", "certificates/b/../../other.pem", "certificates/b/c/d.pem"] {
            assert!(read(name).unwrap_err().contains(refused), "{name}");
        }
        assert!(reader.pairs(folder.path()).unwrap_err().to_string().contains(refused));
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let (link, other) = UnixStream::pair().unwrap();
        let reader = RootReader::new(link, &Readable::default()).unwrap();
        drop(other);
        assert!(reader.read(Path::new("/x")).unwrap_err().to_string().contains("restart the server"));
        assert!(reader.read(Path::new("/x")).unwrap_err().to_string().contains("restart the server"));
    }
}
