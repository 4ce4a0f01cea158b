//! How much the bodies of one layer may take together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Problem;
use crate::units::Size;

/// The bounds of a layer, and what is left of them. A permit is an octet.
pub(super) struct Budget {
    limit: Size,
    memory_of_one: usize,
    response: usize,
    folder: PathBuf,
    memory: Arc<Semaphore>,
    total_memory: usize,
    disk: Arc<Semaphore>,
    total_disk: usize,
}

impl Budget {
    /// `memory` is that of one request body, and of one response.
    pub(super) fn new(limit: Size, memory: [Size; 2], total_memory: Size, total_disk: Size, folder: PathBuf) -> Self {
        let permits = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (total_memory, total_disk) = (permits(total_memory), permits(total_disk));
        let (memory_left, disk_left) = (Arc::new(Semaphore::new(total_memory)), Arc::new(Semaphore::new(total_disk)));
        let [memory_of_one, response] = memory.map(permits);
        Self { limit, memory_of_one, response, folder, memory: memory_left, total_memory, disk: disk_left, total_disk }
    }

    /// The longest body.
    pub(super) const fn limit(&self) -> u64 {
        self.limit.0
    }

    /// Where files are made.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Memory for a request body whose length is known or not, where there is some left.
    pub(super) fn memory(&self, length: Option<u64>) -> Option<OwnedSemaphorePermit> {
        self.reserve(length, self.memory_of_one)
    }

    /// Whether responses are read ahead.
    pub(super) const fn reads_ahead(&self) -> bool {
        self.response > 0
    }

    /// Memory for what is read ahead of a response, where there is some left.
    pub(super) fn ahead(&self, length: Option<u64>) -> Option<OwnedSemaphorePermit> {
        if self.reads_ahead() { self.reserve(length, self.response) } else { None }
    }

    fn reserve(&self, length: Option<u64>, most: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX).min(most);
        Arc::clone(&self.memory).try_acquire_many_owned(u32::try_from(wanted).ok()?).ok()
    }

    /// Room for so many octets in files.
    pub(super) fn disk(&self, octets: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = u32::try_from(octets).ok().and_then(|octets| Arc::clone(&self.disk).try_acquire_many_owned(octets).ok());
        permit.ok_or_else(|| {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("too many request bodies are being received");
            let problem = problem.header(RETRY_AFTER, const { HeaderValue::from_static("10") });
            problem.because(format!("request bodies take {} of disk already, which is `total_disk`", Size(self.total_disk as u64)))
        })
    }

    /// 413.
    pub(super) fn too_large(&self) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE).detail(format!("the request body is over {}", self.limit))
    }

    pub(super) fn memory_in_use(&self) -> u64 {
        (self.total_memory - self.memory.available_permits()) as u64
    }

    pub(super) fn disk_in_use(&self) -> u64 {
        (self.total_disk - self.disk.available_permits()) as u64
    }
}
