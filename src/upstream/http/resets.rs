//! Responses over HTTP/2 that an upstream resets without an error.
//!
//! A server may reset so what is left of a request, after a complete response (RFC 9113 section 8.1). hyper takes such a reset for the end of the body, complete or not, so one that cuts a
//! response short gets an error code on its way to hyper.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::STREAMS;
use crate::http2_frames::{DATA, END_STREAM, FrameHeader, FrameHeaders, HEADERS, RST_STREAM};

/// INTERNAL_ERROR, in the last octet of an error code.
const INTERNAL_ERROR: u8 = 2;

const CODE_SIZE: usize = 4;

/// A stream of HTTP/2 from an upstream.
pub(super) struct Http2Stream<S> {
    stream: S,
    resets: Resets,
}

impl<S> Http2Stream<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, resets: Resets::new() }
    }
}

/// What a server sends: which responses are complete, and which resets are to be changed.
struct Resets {
    frames: FrameHeaders,
    /// The streams of the newest complete responses. A reset follows its response at once.
    complete: VecDeque<u32>,
    /// The error code that is being read: octets that are still missing, and whether those before were 0.
    code: Option<(usize, bool)>,
}

impl Resets {
    fn new() -> Self {
        Self { frames: FrameHeaders::after(0), complete: VecDeque::with_capacity(STREAMS), code: None }
    }

    /// Reads on, and changes codes in place.
    fn pass(&mut self, mut octets: &mut [u8]) {
        while !octets.is_empty() {
            if let Some((missing, is_zero)) = self.code {
                // The reader of headers skips them, too.
                self.frames.next(&octets[..1]);
                let is_zero = is_zero && octets[0] == 0;
                if missing == 1 && is_zero {
                    octets[0] = INTERNAL_ERROR;
                }
                self.code = (missing > 1).then_some((missing - 1, is_zero));
                octets = &mut octets[1..];
                continue;
            }
            let (header, read) = self.frames.next(octets);
            octets = &mut octets[read..];
            if let Some(header) = header {
                self.note(header);
            }
        }
    }

    fn note(&mut self, frame: FrameHeader) {
        match frame.kind {
            DATA | HEADERS if frame.flags & END_STREAM != 0 => {
                if self.complete.len() >= STREAMS {
                    self.complete.pop_front();
                }
                self.complete.push_back(frame.stream);
            }
            RST_STREAM if frame.length == CODE_SIZE && !self.complete.contains(&frame.stream) => self.code = Some((CODE_SIZE, true)),
            _ => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Http2Stream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.resets.pass(&mut buf.filled_mut()[start..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Http2Stream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, octets)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset(stream: u8, code: [u8; 4]) -> Vec<u8> {
        [&[0, 0, 4, RST_STREAM, 0, 0, 0, 0, stream][..], &code].concat()
    }

    #[test]
    fn a_reset_without_an_error_gets_one_unless_the_response_was_complete() {
        let end = [0, 0, 1, DATA, END_STREAM, 0, 0, 0, 3, 9];
        let before = [reset(1, [0; 4]), end.to_vec(), reset(3, [0; 4]), reset(5, [0, 0, 1, 0]), reset(7, [0; 4])].concat();
        let after = [reset(1, [0, 0, 0, 2]), end.to_vec(), reset(3, [0; 4]), reset(5, [0, 0, 1, 0]), reset(7, [0, 0, 0, 2])].concat();
        for size in 1..=before.len() {
            let (mut resets, mut octets) = (Resets::new(), before.clone());
            octets.chunks_mut(size).for_each(|piece| resets.pass(piece));
            assert_eq!(octets, after, "{size}");
        }
    }

    #[test]
    fn so_many_complete_responses_are_known_as_there_are_streams() {
        let mut resets = Resets::new();
        for stream in 0..1_000 {
            resets.note(FrameHeader { length: 0, kind: HEADERS, flags: END_STREAM, stream });
        }
        assert!(resets.complete.len() == STREAMS && resets.complete.contains(&999));
    }
}
