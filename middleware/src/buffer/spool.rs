//! A body that is being received: in memory, and from some length on in a file.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::body::{Held, SpooledBody};
use super::budget::Budget;
use crate::{Body, FileBody, Problem};

/// What has been received of a body. If it is dropped, nothing stays: the file has no name.
pub(super) struct Spool {
    budget: Arc<Budget>,
    length: u64,
    /// What is in no file yet: the permits are its room.
    memory: Vec<u8>,
    reserved: Option<OwnedSemaphorePermit>,
    file: Option<SpoolFile>,
}

struct SpoolFile {
    file: File,
    length: u64,
    reserved: OwnedSemaphorePermit,
}

impl Spool {
    /// For a body of this length, as far as that is known. Refuses one that is too long.
    pub(super) fn new(budget: Arc<Budget>, length: Option<u64>) -> Result<Self, Problem> {
        if length.is_some_and(|length| length > budget.limit()) {
            return Err(budget.too_large());
        }
        let reserved = budget.memory(length);
        Ok(Self { budget, length: 0, memory: Vec::new(), reserved, file: None })
    }

    /// How much was received.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Takes in what was received next.
    pub(super) async fn push(&mut self, data: Bytes) -> Result<(), Problem> {
        self.length += data.len() as u64;
        if self.length > self.budget.limit() {
            return Err(self.budget.too_large());
        }
        let room = self.reserved.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if self.memory.len() + data.len() > room {
            return self.write(data).await;
        }
        // Copied, because a small frame may hold the whole buffer that it was read into.
        self.memory.reserve_exact(room - self.memory.len());
        self.memory.extend_from_slice(&data);
        Ok(())
    }

    /// Writes what is in memory and then `data` to the file.
    async fn write(&mut self, data: Bytes) -> Result<(), Problem> {
        let octets = self.memory.len() + data.len();
        if octets == 0 {
            return Ok(());
        }
        let reserved = self.budget.disk(octets)?;
        let (budget, file, mut memory) = (Arc::clone(&self.budget), self.file.take(), std::mem::take(&mut self.memory));
        let written = spawn_blocking(move || -> io::Result<_> {
            let mut spooled = match file {
                Some(mut spooled) => {
                    spooled.reserved.merge(reserved);
                    spooled
                }
                None => SpoolFile { file: tempfile::tempfile_in(budget.folder())?, length: 0, reserved },
            };
            spooled.file.write_all(&memory)?;
            spooled.file.write_all(&data)?;
            spooled.length += octets as u64;
            memory.clear();
            Ok((spooled, memory))
        });
        let (spooled, memory) = written.await.map_err(io::Error::other).and_then(|written| written).map_err(|error| {
            Problem::internal(format!("cannot write a request body to a file in `{}`: {error}", self.budget.folder().display()))
        })?;
        self.file = Some(spooled);
        self.memory = memory;
        Ok(())
    }

    /// The whole body.
    pub(super) async fn into_body(mut self, trailers: Option<HeaderMap>) -> Result<Body, Problem> {
        if self.file.is_some() {
            self.write(Bytes::new()).await?;
        }
        let Self { memory, reserved, file, .. } = self;
        let (content, reserved) = match file {
            Some(spooled) => (Body::new(FileBody::new(spooled.file, 0..spooled.length)), Some(spooled.reserved)),
            // The memory is free again when the last reader of these octets is done.
            None => (Body::from(Bytes::from_owner(Held { memory, _reserved: reserved })), None),
        };
        Ok(if trailers.is_none() && reserved.is_none() { content } else { Body::new(SpooledBody::new(content, trailers, reserved)) })
    }
}
