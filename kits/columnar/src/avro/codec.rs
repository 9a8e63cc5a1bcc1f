//! How blocks of Avro files are compressed.

use std::io::{self, Write};

/// The codecs that the format knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AvroCodec {
    /// Not at all.
    Null,
    /// At a level from 0 (stored) to 9.
    Deflate(u32),
    /// Fast.
    Snappy,
    /// At a level from -5 to 22.
    Zstandard {
        /// The level.
        level: i32,
        /// Whether each block ends in a checksum.
        checksum: bool,
    },
    /// Small and slow.
    Bzip2,
    /// At a level from 0 to 9; the smallest, and the slowest.
    Xz(u32),
}

impl AvroCodec {
    /// As the header says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Deflate(_) => "deflate",
            Self::Snappy => "snappy",
            Self::Zstandard { .. } => "zstandard",
            Self::Bzip2 => "bzip2",
            Self::Xz(_) => "xz",
        }
    }

    /// Replaces `packed` by the compressed block.
    pub(crate) fn pack(self, block: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
        packed.clear();
        match self {
            Self::Null => packed.extend_from_slice(block),
            Self::Deflate(level) => {
                let mut out =
                    flate2::write::DeflateEncoder::new(packed, flate2::Compression::new(level.min(9)));
                out.write_all(block)?;
                out.finish()?;
            }
            Self::Snappy => {
                packed.resize(snap::raw::max_compress_len(block.len()), 0);
                let length = snap::raw::Encoder::new().compress(block, packed).map_err(io::Error::other)?;
                packed.truncate(length);
                // The sum of what was compressed; the format wants it.
                packed.extend_from_slice(&crc32fast::hash(block).to_be_bytes());
            }
            Self::Zstandard { level, checksum } => {
                let mut out = zstd::stream::write::Encoder::new(packed, level)?;
                out.include_checksum(checksum)?;
                out.write_all(block)?;
                out.finish()?;
            }
            Self::Bzip2 => {
                let mut out = bzip2::write::BzEncoder::new(packed, bzip2::Compression::best());
                out.write_all(block)?;
                out.finish()?;
            }
            Self::Xz(level) => {
                let options = lzma_rust2::XzOptions::with_preset(level.min(9));
                let mut out = lzma_rust2::XzWriter::new(packed, options)?;
                out.write_all(block)?;
                out.finish()?;
            }
        }
        Ok(())
    }
}
