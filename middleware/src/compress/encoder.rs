//! One interface over the three encoders.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress, Status};
use zstd::bulk::Compressor;
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::Level;
use crate::encoding::Encoding;

/// The window of streams, as a power of two. A larger one costs megabytes for each open stream and gains little for web pages.
const WINDOW: u32 = 19;

/// The window of gzip, as a power of two; the largest.
const GZIP_WINDOW: u8 = 15;

/// An encoder and its output so far.
pub(super) enum Encoder {
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Br(Box<CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    /// An encoder for a stream.
    pub(super) fn new(encoding: Encoding, level: Level) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), level.zstd())?;
                encoder.set_parameter(CParameter::WindowLog(WINDOW))?;
                Self::Zstd(encoder)
            }
            Encoding::Br => Self::Br(brotli(level, 0)),
            Encoding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(level.gzip()))),
        })
    }

    /// Encodes octets. They may stay in the encoder until [`flush`](Self::flush).
    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.write_all(octets),
            Self::Br(encoder) => encoder.write_all(octets),
            Self::Gzip(encoder) => encoder.write_all(octets),
        }
    }

    /// Writes everything that was encoded to the output, so that the client can decode it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.flush(),
            Self::Br(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }

    /// The output since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Br(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        })
    }

    /// Ends the stream and gives the rest of the output.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Br(encoder) => Ok(encoder.into_inner()),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

/// Encodes complete bodies. It keeps encoders for the next body: creating one costs as much as encoding half a page.
#[derive(Default)]
pub(super) struct Pool {
    gzip: Idle<Compress>,
    zstd: Idle<Compressor<'static>>,
}

impl Pool {
    /// The encoded octets, or `None` if they are not shorter.
    pub(super) fn encode(&self, encoding: Encoding, level: Level, octets: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let encoded = match encoding {
            Encoding::Zstd => {
                let mut encoder = self.zstd.take().map_or_else(|| Compressor::new(level.zstd()), Ok)?;
                let encoded = encoder.compress(octets)?;
                self.zstd.put(encoder);
                encoded
            }
            Encoding::Br => {
                let mut encoder = brotli(level, octets.len());
                encoder.write_all(octets)?;
                encoder.into_inner()
            }
            Encoding::Gzip => {
                let mut encoder = self.gzip.take().unwrap_or_else(|| Compress::new_gzip(Compression::new(level.gzip()), GZIP_WINDOW));
                let mut encoded = Vec::with_capacity(octets.len());
                let status = encoder.compress_vec(octets, &mut encoded, FlushCompress::Finish)?;
                encoder.reset();
                self.gzip.put(encoder);
                if status != Status::StreamEnd {
                    // The output is longer than the input.
                    return Ok(None);
                }
                encoded
            }
        };
        Ok((encoded.len() < octets.len()).then_some(encoded))
    }
}

/// Unused encoders. There are at most as many as threads that encode at the same time.
struct Idle<T>(Mutex<Vec<T>>);

impl<T> Default for Idle<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Idle<T> {
    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, encoder: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(encoder);
    }
}

fn brotli(level: Level, size_hint: usize) -> Box<CompressorWriter<Vec<u8>>> {
    // The smallest window for the whole body.
    let window = if size_hint == 0 { WINDOW } else { (size_hint + 16).next_power_of_two().ilog2().clamp(10, WINDOW) };
    let params =
        BrotliEncoderParams { quality: level.br(), lgwin: i32::try_from(window).unwrap_or(0), size_hint, ..BrotliEncoderParams::default() };
    Box::new(CompressorWriter::with_params(Vec::with_capacity(size_hint / 3), 4096, &params))
}
