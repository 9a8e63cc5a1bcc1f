//! gzip, zstd and bzip2, recognised by their first bytes; and the guard against bombs.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;

use crate::error;
use crate::options::Options;

const BLOCK_BYTES: usize = 128 << 10;
/// Decompressed bytes that no ratio applies to: small files may repeat themselves as they like.
pub(crate) const RATIO_FREE_BYTES: u64 = 16 << 20;
/// The largest zstd window followed, as a power of two. It is memory: 32 MiB.
const ZSTD_WINDOW_LOG: u32 = 25;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// By the first bytes.
    #[default]
    Infer,
    /// Not at all.
    None,
    /// Any number of members.
    Gzip,
    /// Any number of frames.
    Zstd,
    /// Any number of streams.
    Bzip2,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Infer | Self::None => "nothing",
        }
    }
}

/// The content of `input`, decompressed. `name` is the path or address, whose ending is only used for messages.
///
/// # Errors
/// When the first bytes are not what `options` says, or cannot be had.
pub fn decompress<R: Read + 'static>(input: R, name: &str, options: &Options) -> io::Result<Box<dyn Read>> {
    let (wanted, keys) = (options.compression, options.keys);
    let read = Rc::new(Cell::new(0));
    let mut input = BufReader::with_capacity(BLOCK_BYTES, Counted { input, read: Rc::clone(&read) });
    let head = peek(&mut input)?;
    let found = match head {
        [0x1F, 0x8B, ..] => Compression::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
        [0x28, 0xB5, 0x2F, 0xFD, ..] => Compression::Zstd,
        // A skippable frame, as parallel zstd writers put first.
        [n, 0x2A, 0x4D, 0x18, ..] if n & 0xF0 == 0x50 => Compression::Zstd,
        _ => Compression::None,
    };
    let foreign = match head {
        [b'P', b'K', 3, 4, ..] => Some("zip"),
        [0xFD, b'7', b'z', b'X', ..] => Some("xz"),
        [b'7', b'z', 0xBC, 0xAF, ..] => Some("7z"),
        _ => None,
    };
    let empty = head.is_empty();
    let chosen = match (wanted, found) {
        (Compression::None, _) => Compression::None,
        (Compression::Infer, found) => {
            if let Some(kind) = foreign {
                return Err(error::bad_content(format!(
                    "it is compressed as {kind}, which is not supported; compress it with gzip, zstd or bzip2"
                )));
            }
            let ending = [".gz", ".zst", ".zstd", ".bz2"].iter().find(|e| ends_with(name, e));
            if let (Compression::None, Some(ending), false) = (found, ending, empty) {
                connector_kit::tracing::warn!(
                    "The file's name ends in {ending}, but it is not compressed; reading it as it is."
                );
            }
            found
        }
        (wanted, found) if wanted == found => wanted,
        (wanted, _) => {
            return Err(error::bad_content(format!(
                "it is not compressed with {}, as {} says; leave that out",
                wanted.name(),
                keys.compression
            )));
        }
    };
    let output: Box<dyn Read> = match chosen {
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Compression::None | Compression::Infer => return Ok(Box::new(input)),
    };
    Ok(Box::new(Guarded {
        output,
        read,
        written: 0,
        max_ratio: options.max_ratio,
        ratio_key: keys.max_ratio,
        what: chosen.name(),
    }))
}

fn ends_with(name: &str, ending: &str) -> bool {
    let path = name.split(['?', '#']).next().unwrap_or(name);
    path.to_ascii_lowercase().ends_with(ending)
}

/// Up to the first few bytes, without taking them.
fn peek<R: Read>(input: &mut BufReader<R>) -> io::Result<&[u8]> {
    loop {
        match input.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
            Ok(_) => break,
        }
    }
    Ok(input.buffer())
}

struct Counted<R> {
    input: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        self.read.set(self.read.get() + n as u64);
        Ok(n)
    }
}

/// Watches the ratio, and gives a decoder's errors the words of a person.
struct Guarded {
    output: Box<dyn Read>,
    read: Rc<Cell<u64>>,
    written: u64,
    max_ratio: u32,
    ratio_key: &'static str,
    what: &'static str,
}

impl Read for Guarded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = match self.output.read(buf) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted || error::is_ours(&e) => return Err(e),
            Err(e) => return Err(self.describe(&e)),
        };
        self.written += n as u64;
        let allowed =
            self.read.get().saturating_mul(u64::from(self.max_ratio)).saturating_add(RATIO_FREE_BYTES);
        if self.written > allowed {
            return Err(error::bad_content(format!(
                "it decompresses to more than {} times its size, as a decompression bomb does; if it is genuine, raise {}",
                self.max_ratio, self.ratio_key
            )));
        }
        Ok(n)
    }
}

impl Guarded {
    fn describe(&self, e: &io::Error) -> io::Error {
        let what = self.what;
        let text = e.to_string();
        if e.kind() == io::ErrorKind::UnexpectedEof || text.contains("incomplete frame") {
            error::bad_content(format!(
                "its {what} data ends too early, so the file was cut short; fetch or write it again"
            ))
        } else if text.contains("too much memory") {
            error::bad_content(format!(
                "its {what} window is larger than {} MiB; compress it again without --long or --ultra",
                (1_u64 << ZSTD_WINDOW_LOG) >> 20
            ))
        } else {
            error::bad_content(format!("its {what} data is damaged ({text}); fetch or write it again"))
        }
    }
}
