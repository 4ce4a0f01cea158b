//! `wsgi.input`: a request's body as a file (PEP 3333 section "Input and Error Streams").

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use http_body::Body as _;
use http_body_util::BodyExt;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use ziggurat_middleware::{Body, BoxError};

use super::raised::Raised;
use crate::call::pipe::Reader;
use crate::call::spooled::SpooledBody;
use crate::call::{BodyFailure, RequestBody};

/// How many octets of a file are read at once.
const BLOCK: usize = 256 * 1024;

/// The body of one request. A read past the end returns nothing; a read of a body that was cut short raises `OSError`.
#[pyclass(module = "ziggurat")]
pub(super) struct Input {
    ready: VecDeque<Bytes>,
    octets: usize,
    source: Source,
    /// Whether a read has told the end.
    has_told_end: bool,
    /// Whether there was a read after that.
    is_past_end: bool,
}

enum Source {
    Stream(Reader<Arc<BodyFailure>>),
    /// A file, and how much of it was read.
    File(SpooledBody, u64),
    /// Read on this thread, through the layers above. (The lock is never contended; it makes the type `Sync`.)
    Pulled(Mutex<Body>),
    Ended,
    Failed(Arc<BodyFailure>),
}

impl Input {
    pub(super) fn new(body: RequestBody) -> Self {
        let (ready, source) = match body {
            RequestBody::Whole(octets) if octets.is_empty() => (VecDeque::new(), Source::Ended),
            RequestBody::WebSocket(_) => (VecDeque::new(), Source::Ended),
            RequestBody::Whole(octets) => (VecDeque::from([octets]), Source::Ended),
            RequestBody::Spooled(file) => (VecDeque::new(), Source::File(file, 0)),
            RequestBody::Stream(reader) => (VecDeque::new(), Source::Stream(reader)),
        };
        Self { octets: ready.iter().map(Bytes::len).sum(), ready, source, has_told_end: false, is_past_end: false }
    }

    /// The body of a request from a Python caller on this thread.
    pub(super) fn pulled(body: Body) -> Self {
        let source = if body.is_end_stream() { Source::Ended } else { Source::Pulled(Mutex::new(body)) };
        Self { ready: VecDeque::new(), octets: 0, source, has_told_end: false, is_past_end: false }
    }

    /// Whether there is nothing left to read.
    pub(super) fn is_at_end(&self) -> bool {
        self.octets == 0 && matches!(self.source, Source::Ended)
    }

    /// Why the body failed, if the app has read that far.
    pub(super) fn failure(&self) -> Option<&Arc<BodyFailure>> {
        match &self.source {
            Source::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Up to `limit` octets that have arrived, waiting for the first; nothing at the end.
    pub(super) fn chunk(&mut self, py: Python<'_>, limit: usize) -> PyResult<Bytes> {
        while self.octets == 0 && self.more(py)? {}
        let Some(first) = self.ready.front_mut() else { return Ok(Bytes::new()) };
        let chunk = first.split_to(limit.min(first.len()));
        if first.is_empty() {
            self.ready.pop_front();
        }
        self.octets -= chunk.len();
        Ok(chunk)
    }

    /// Whether there was a read after one that has told the end, since this was asked before.
    pub(super) fn take_past_end(&mut self) -> bool {
        std::mem::take(&mut self.is_past_end)
    }

    /// Discards the rest of the body.
    pub(super) fn close(&mut self) {
        self.ready.clear();
        self.octets = 0;
        if matches!(self.source, Source::Stream(_) | Source::File(..) | Source::Pulled(_)) {
            self.source = Source::Ended;
        }
    }

    /// Receives one more chunk; `false` at the end. Detaches to wait.
    fn more(&mut self, py: Python<'_>) -> PyResult<bool> {
        let next = match &mut self.source {
            Source::Ended => return Ok(false),
            Source::Failed(failure) => return Err(raised(failure)),
            Source::Stream(reader) => match reader.try_recv() {
                Some(next) => next,
                None => py.detach(|| reader.recv()),
            },
            Source::File(file, at) if *at < file.length() => match py.detach(|| file.read(*at, BLOCK)) {
                Ok(block) => {
                    *at += block.len() as u64;
                    Some(Ok(block))
                }
                Err(error) => Some(Err(Arc::new(BodyFailure::unreadable(&error)))),
            },
            Source::File(..) => None,
            Source::Pulled(body) => {
                let body = body.get_mut().unwrap_or_else(PoisonError::into_inner);
                match py.detach(|| pollster::block_on(next_chunk(body))) {
                    Some(Ok(chunk)) => Some(Ok(chunk)),
                    Some(Err(error)) => {
                        if let Some(error) = Raised::among(&error).and_then(Raised::take) {
                            return Err(error);
                        }
                        Some(Err(Arc::new(BodyFailure::of(&*error))))
                    }
                    None => None,
                }
            }
        };
        match next {
            Some(Ok(chunk)) => {
                self.octets += chunk.len();
                self.ready.push_back(chunk);
                Ok(true)
            }
            Some(Err(failure)) => {
                let error = raised(&failure);
                self.source = Source::Failed(failure);
                Err(error)
            }
            None => {
                self.source = Source::Ended;
                Ok(false)
            }
        }
    }

    /// Moves received octets into a bytes object.
    fn take<'py>(&mut self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        if count > 0 && self.octets == 0 {
            self.is_past_end |= self.has_told_end;
            self.has_told_end = true;
        }
        let count = count.min(self.octets);
        self.octets -= count;
        PyBytes::new_with(py, count, |mut target| {
            while let (false, Some(chunk)) = (target.is_empty(), self.ready.front_mut()) {
                let part = chunk.len().min(target.len());
                target[..part].copy_from_slice(&chunk[..part]);
                target = &mut target[part..];
                chunk.advance(part);
                if chunk.is_empty() {
                    self.ready.pop_front();
                }
            }
            Ok(())
        })
    }

    /// The length of the next line with its end, up to `limit`.
    fn line(&mut self, py: Python<'_>, limit: usize) -> PyResult<usize> {
        let (mut nth, mut before) = (0, 0);
        loop {
            while let Some(chunk) = self.ready.get(nth) {
                if let Some(at) = memchr::memchr(b'\n', chunk) {
                    return Ok((before + at + 1).min(limit));
                }
                before += chunk.len();
                nth += 1;
                if before >= limit {
                    return Ok(limit);
                }
            }
            if !self.more(py)? {
                return Ok(before);
            }
        }
    }
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&mut self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let wanted = bound(size);
        while self.octets < wanted && self.more(py)? {}
        self.take(py, wanted)
    }

    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&mut self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let limit = bound(size);
        let end = self.line(py, limit)?;
        // Nothing there is the end.
        self.take(py, if end == 0 { limit } else { end })
    }

    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&mut self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let enough = hint.and_then(|hint| usize::try_from(hint).ok()).filter(|hint| *hint > 0).unwrap_or(usize::MAX);
        let lines = PyList::empty(py);
        let mut octets = 0;
        while octets < enough {
            let line = self.readline(py, None)?;
            if line.as_bytes().is_empty() {
                break;
            }
            octets += line.as_bytes().len();
            lines.append(line)?;
        }
        Ok(lines)
    }

    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.readline(py, None)?;
        Ok((!line.as_bytes().is_empty()).then_some(line))
    }
}

/// The next chunk of a body.
pub(super) async fn next_chunk(body: &mut Body) -> Option<Result<Bytes, BoxError>> {
    loop {
        match body.frame().await? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Some(Ok(data));
                }
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

/// The size argument of a file's method: negative or `None` means all.
fn bound(size: Option<isize>) -> usize {
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)
}

fn raised(failure: &BodyFailure) -> PyErr {
    PyOSError::new_err(failure.detail.clone())
}
