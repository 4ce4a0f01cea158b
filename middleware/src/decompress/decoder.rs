//! One interface over the four decoders.

use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, HeapAlloc, HuffmanCode};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation};

use crate::encoding::Encoding;

/// The largest window of gzip, as a power of two, which every decoder has to take.
const GZIP_WINDOW: u8 = 15;

/// The largest window of zstd, as a power of two: senders may use no larger one (RFC 9659).
const ZSTD_WINDOW: u32 = 23;

/// The most members of a gzip file, and frames of zstd, in one body. Each costs work, however little is in it.
const MOST_PARTS: u32 = 10_000;

/// A content coding of request bodies (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    /// The format of zlib (RFC 1950).
    Deflate,
    Br,
    Zstd,
}

impl Coding {
    pub(super) fn named(token: &str) -> Option<Self> {
        match Encoding::named(token) {
            Some(Encoding::Gzip) => Some(Self::Gzip),
            Some(Encoding::Br) => Some(Self::Br),
            Some(Encoding::Zstd) => Some(Self::Zstd),
            None => token.eq_ignore_ascii_case("deflate").then_some(Self::Deflate),
        }
    }

    pub(super) const fn token(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Br => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// A decoder, and how far it is.
pub(super) struct Decoder {
    codec: Codec,
    /// Whether what was read is whole: a gzip file of at least one member, a frame of zstd, a stream.
    is_whole: bool,
    parts: u32,
}

enum Codec {
    Gzip(Decompress),
    Deflate(Decompress),
    Br(Box<BrotliState<HeapAlloc<u8>, HeapAlloc<u32>, HeapAlloc<HuffmanCode>>>),
    Zstd(ZstdDecoder<'static>),
}

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Octets of the input that were read.
    pub(super) consumed: usize,
    /// Octets of the output that were written.
    pub(super) produced: usize,
}

/// The octets are not of this coding.
#[derive(Debug)]
pub(super) struct Malformed;

impl Decoder {
    /// The error is that of zstd, which allocates in C.
    pub(super) fn new(coding: Coding) -> std::io::Result<Self> {
        let codec = match coding {
            Coding::Gzip => Codec::Gzip(Decompress::new_gzip(GZIP_WINDOW)),
            Coding::Deflate => Codec::Deflate(Decompress::new(true)),
            Coding::Br => {
                let huffman = HeapAlloc::<HuffmanCode>::new(HuffmanCode::default());
                // Strict: windows of 16 MiB at most, as RFC 7932 has them.
                Codec::Br(Box::new(BrotliState::new_strict(HeapAlloc::new(0), HeapAlloc::new(0), huffman)))
            }
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))?;
                Codec::Zstd(decoder)
            }
        };
        Ok(Self { codec, is_whole: false, parts: 0 })
    }

    /// Whether the body may end here.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Decodes some of the input into the output. It may be that the decoder has more output than there is room for: it goes on with empty input.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Malformed> {
        if self.is_whole {
            if input.is_empty() {
                return Ok(Step { consumed: 0, produced: 0 });
            }
            self.begin_part()?;
        }
        match &mut self.codec {
            Codec::Gzip(inflate) | Codec::Deflate(inflate) => {
                let before = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(input, output, FlushDecompress::None).map_err(|_| Malformed)?;
                self.is_whole = status == Status::StreamEnd;
                Ok(Step { consumed: octets(before.0, inflate.total_in()), produced: octets(before.1, inflate.total_out()) })
            }
            Codec::Br(state) => {
                let (mut available_in, mut consumed) = (input.len(), 0);
                let (mut available_out, mut produced, mut total) = (output.len(), 0, 0);
                let result = BrotliDecompressStream(
                    &mut available_in,
                    &mut consumed,
                    input,
                    &mut available_out,
                    &mut produced,
                    output,
                    &mut total,
                    state,
                );
                match result {
                    BrotliResult::ResultFailure => return Err(Malformed),
                    result => self.is_whole = matches!(result, BrotliResult::ResultSuccess),
                }
                Ok(Step { consumed, produced })
            }
            Codec::Zstd(decoder) => {
                let status = decoder.run_on_buffers(input, output).map_err(|_| Malformed)?;
                self.is_whole = status.remaining == 0;
                Ok(Step { consumed: status.bytes_read, produced: status.bytes_written })
            }
        }
    }

    /// Goes on after a whole part: a gzip file may have several members (RFC 1952 section 2.2), and zstd several frames (RFC 8878 section 3.1).
    fn begin_part(&mut self) -> Result<(), Malformed> {
        self.parts += 1;
        match &mut self.codec {
            _ if self.parts >= MOST_PARTS => Err(Malformed),
            Codec::Gzip(inflate) => {
                inflate.reset(true);
                Ok(())
            }
            Codec::Zstd(_) => Ok(()),
            Codec::Deflate(_) | Codec::Br(_) => Err(Malformed),
        }
    }
}

/// How far a counter has come.
fn octets(before: u64, after: u64) -> usize {
    usize::try_from(after - before).unwrap_or(usize::MAX)
}
