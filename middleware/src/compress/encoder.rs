//! One interface over the three encoders.

use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::Level;
use crate::encoding::Encoding;

/// The window of streams, as a power of two. Larger ones cost each open stream megabytes for little gain on web pages.
const WINDOW: u32 = 19;

/// An encoder and what it has put out so far.
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

    /// Takes octets in. They need not come out before [`flush`](Self::flush).
    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.write_all(octets),
            Self::Br(encoder) => encoder.write_all(octets),
            Self::Gzip(encoder) => encoder.write_all(octets),
        }
    }

    /// Puts out all that was taken in, so that the client can decode it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.flush(),
            Self::Br(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }

    /// What has been put out since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Br(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        })
    }

    /// Ends the stream and gives the rest of it.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Br(encoder) => Ok(encoder.into_inner()),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

/// Encodes octets that are all at hand.
pub(super) fn encode(encoding: Encoding, level: Level, octets: &[u8]) -> io::Result<Vec<u8>> {
    match encoding {
        // Knowing the length, it takes no more memory than the length wants.
        Encoding::Zstd => zstd::bulk::compress(octets, level.zstd()),
        Encoding::Br => {
            let mut encoder = brotli(level, octets.len());
            encoder.write_all(octets)?;
            Ok(encoder.into_inner())
        }
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(octets.len() / 3), Compression::new(level.gzip()));
            encoder.write_all(octets)?;
            encoder.finish()
        }
    }
}

fn brotli(level: Level, size_hint: usize) -> Box<CompressorWriter<Vec<u8>>> {
    // The smallest window that holds the whole body.
    let window = if size_hint == 0 { WINDOW } else { (size_hint + 16).next_power_of_two().ilog2().clamp(10, WINDOW) };
    let params =
        BrotliEncoderParams { quality: level.br(), lgwin: i32::try_from(window).unwrap_or(0), size_hint, ..BrotliEncoderParams::default() };
    Box::new(CompressorWriter::with_params(Vec::with_capacity(size_hint / 3), 4096, &params))
}
