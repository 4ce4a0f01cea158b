//! The server's end of a worker's link, by the letter of `docs/link.md`.

use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::support::{PATIENCE, command};

/// Of the protocol.
pub(crate) const VERSION: u64 = 9;

pub(crate) const BOOT: u8 = 1;
pub(crate) const CALL: u8 = 2;
pub(crate) const CREDIT: u8 = 6;
pub(crate) const CANCEL: u8 = 7;
pub(crate) const RECALL: u8 = 10;
pub(crate) const FORK: u8 = 12;
pub(crate) const STOP: u8 = 13;
pub(crate) const READY: u8 = 64;
pub(crate) const REFUSED: u8 = 65;
pub(crate) const ANSWER: u8 = 66;
pub(crate) const START: u8 = 67;
pub(crate) const CHUNK: u8 = 68;
pub(crate) const END: u8 = 69;
pub(crate) const FAILED: u8 = 71;
pub(crate) const RETURNED: u8 = 73;
pub(crate) const DONE: u8 = 74;
pub(crate) const ENDED: u8 = 75;

/// A frame: kind, flags, number of the call, payload.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) number: u64,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The server's end.
pub(crate) struct Link(UnixStream);

impl Link {
    /// Both ends.
    pub(crate) fn pair() -> (Self, OwnedFd) {
        let (front, back) = UnixStream::pair().unwrap();
        front.set_read_timeout(Some(PATIENCE)).unwrap();
        (Self(front), back.into())
    }

    pub(crate) fn send(&mut self, kind: u8, number: u64, payload: &[u8]) {
        self.0.write_all(&frame(kind, number, payload)).unwrap();
    }

    pub(crate) fn send_with(&mut self, kind: u8, descriptor: OwnedFd) {
        let descriptors = [descriptor.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&self.0, &[IoSlice::new(&frame(kind, 0, &[]))], &mut control, SendFlags::empty()).unwrap();
    }

    /// The next frame, `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<Frame> {
        let mut head = [0; 16];
        match self.0.read_exact(&mut head) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            read => read.unwrap(),
        }
        let mut payload = vec![0; u32::from_le_bytes(head[..4].try_into().unwrap()) as usize];
        self.0.read_exact(&mut payload).unwrap();
        Some(Frame { kind: head[4], flags: head[5], number: u64::from_le_bytes(head[8..].try_into().unwrap()), payload })
    }

    /// The next frame, which must be of this kind.
    pub(crate) fn expect(&mut self, kind: u8) -> Frame {
        let frame = self.receive().expect("the worker has left");
        assert_eq!(frame.kind, kind, "{frame:?}: {}", frame.text());
        frame
    }

    /// Tells the worker what it is to be: an app of the folder it runs in, with `more` besides the usual.
    pub(crate) fn boot(&mut self, app: &str, nth: usize, more: serde_json::Value) {
        let mut boot = serde_json::json!({
            "version": VERSION, "place": "wsgi", "nth": nth, "app": app, "path": ["."], "threads": 1, "takes_websockets": false, "is_multiprocess": true, "is_timed": false,
            "args": [], "kwargs": {}, "chdir": null, "user": null, "group": null, "preload": null,
        });
        boot.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.send(BOOT, 0, boot.to_string().as_bytes());
    }

    /// A GET request without a body.
    pub(crate) fn call(&mut self, number: u64, path: &str) {
        let mut head = vec![3];
        head.extend_from_slice(&u32::try_from(path.len()).unwrap().to_le_bytes());
        head.extend_from_slice(path.as_bytes());
        let mut payload = u32::try_from(head.len()).unwrap().to_le_bytes().to_vec();
        payload.extend_from_slice(&head);
        self.send(CALL, number, &payload);
    }
}

fn frame(kind: u8, number: u64, payload: &[u8]) -> Vec<u8> {
    let mut octets = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
    octets.extend_from_slice(&[kind, 0, 0, 0]);
    octets.extend_from_slice(&number.to_le_bytes());
    octets.extend_from_slice(payload);
    octets
}

/// A worker process in a folder of its own. Dropping it kills the process.
pub(crate) struct Worker {
    child: Child,
    pub(crate) link: Link,
    pub(crate) folder: tempfile::TempDir,
}

impl Worker {
    /// Starts one that has not been told anything.
    pub(crate) fn spawn(folder: tempfile::TempDir) -> Self {
        let (link, end) = Link::pair();
        let mut command: Command = command(folder.path());
        command.fd_mappings(vec![FdMapping { parent_fd: end, child_fd: 3 }]).unwrap();
        command.args(["worker", "--", "ziggurat: worker"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap(), link, folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Waits for the end, and gives all that it printed.
    pub(crate) fn printed(&mut self) -> (ExitStatus, String) {
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
        (self.wait(), printed)
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.folder.path().join(name).exists()
    }

    pub(crate) fn wait_for(&self, name: &str) {
        while !self.exists(name) {
            std::thread::yield_now();
        }
    }

    pub(crate) fn release(&self, name: &str) {
        std::fs::write(self.folder.path().join(name), "").unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until no process of this id is left, of which this process is not the parent.
pub(crate) fn wait_for_end_of(pid: u64) {
    let status = format!("/proc/{pid}/stat");
    while std::fs::read_to_string(&status).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
}
