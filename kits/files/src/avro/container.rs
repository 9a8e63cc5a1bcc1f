//! The container: a header with the schema, and blocks of records, each perhaps compressed.

use std::io::{self, BufReader, Read};

use serde_json::Value;

use crate::error::bad_content;
use crate::options::Options;

/// A schema is read into memory; real ones are some kilobytes.
const MAX_HEADER: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
    Bzip2,
}

pub(crate) struct Container {
    input: BufReader<Box<dyn Read>>,
    codec: Codec,
    sync: [u8; 16],
    /// The largest block, before and after decompression.
    cap: u64,
    cap_key: &'static str,
    raw: Vec<u8>,
    plain: Vec<u8>,
}

fn short() -> io::Error {
    bad_content("it ends too early, so it was cut short; fetch or write it again")
}

fn exact(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<()> {
    input.read_exact(bytes).map_err(|e| if e.kind() == io::ErrorKind::UnexpectedEof { short() } else { e })
}

/// A number, by whose first byte the file may properly end.
fn long(input: &mut impl Read) -> io::Result<Option<i64>> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let mut byte = [0];
        match input.read_exact(&mut byte) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && shift == 0 => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(short()),
            other => other?,
        }
        if shift > 63 {
            return Err(bad_content("a number in it is too long, so it is damaged; write it again"));
        }
        value |= u64::from(byte[0] & 0x7F) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed()));
        }
        shift += 7;
    }
}

fn header_bytes(input: &mut impl Read, left: &mut u64) -> io::Result<Vec<u8>> {
    let length = long(input)?.and_then(|n| u64::try_from(n).ok()).ok_or_else(short)?;
    *left = left
        .checked_sub(length)
        .ok_or_else(|| bad_content("its header is too large to be one; check format"))?;
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| short())?];
    exact(input, &mut bytes)?;
    Ok(bytes)
}

impl Container {
    /// Returns the schema's text too.
    pub(crate) fn open(input: Box<dyn Read>, options: &Options) -> io::Result<(Self, Vec<u8>)> {
        let mut input = BufReader::with_capacity(128 << 10, input);
        let mut magic = [0; 4];
        let begins = input.read_exact(&mut magic);
        match begins {
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(e),
            Ok(()) if &magic == b"Obj\x01" => {}
            _ => return Err(bad_content(format!("it is not an Avro file; check {}", options.keys.format))),
        }
        let (mut schema, mut codec) = (None, Codec::Null);
        let mut left = MAX_HEADER;
        loop {
            let count = long(&mut input)?.ok_or_else(short)?;
            if count == 0 {
                break;
            }
            if count < 0 {
                long(&mut input)?;
            }
            for _ in 0..count.unsigned_abs() {
                let key = header_bytes(&mut input, &mut left)?;
                let value = header_bytes(&mut input, &mut left)?;
                left = left.checked_sub(2).ok_or_else(short)?;
                match key.as_slice() {
                    b"avro.schema" => schema = Some(value),
                    b"avro.codec" => codec = Codec::by_name(&value)?,
                    _ => {}
                }
            }
        }
        let schema =
            schema.ok_or_else(|| bad_content("it has no schema, so it is damaged; write it again"))?;
        let mut sync = [0; 16];
        exact(&mut input, &mut sync)?;
        let cap = options.max_record as u64 * 4;
        let container = Self {
            input,
            codec,
            sync,
            cap,
            cap_key: options.keys.max_record,
            raw: Vec::new(),
            plain: Vec::new(),
        };
        Ok((container, schema))
    }

    /// How many records the next block has, and their bytes.
    pub(crate) fn next_block(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        let Some(count) = long(&mut self.input)? else { return Ok(None) };
        let size = long(&mut self.input)?.ok_or_else(short)?;
        let (Ok(count), Ok(size)) = (u64::try_from(count), u64::try_from(size)) else {
            return Err(bad_content(
                "a block of it claims an impossible size, so it is damaged; write it again",
            ));
        };
        if size > self.cap {
            return Err(self.too_large());
        }
        self.raw.clear();
        self.input.by_ref().take(size).read_to_end(&mut self.raw)?;
        if self.raw.len() as u64 != size {
            return Err(short());
        }
        let mut sync = [0; 16];
        exact(&mut self.input, &mut sync)?;
        if sync != self.sync {
            return Err(bad_content(
                "a block of it does not end where it says, so it is damaged; write it again",
            ));
        }
        if self.codec == Codec::Null {
            return Ok(Some((count, &self.raw)));
        }
        self.inflate()?;
        Ok(Some((count, &self.plain)))
    }

    fn inflate(&mut self) -> io::Result<()> {
        let damaged =
            |_| bad_content("a block of it cannot be decompressed, so it is damaged; write it again");
        self.plain.clear();
        let raw = self.raw.as_slice();
        let mut decoder: Box<dyn Read + '_> = match self.codec {
            Codec::Null => return Ok(()),
            Codec::Snappy => return self.unsnap(),
            Codec::Deflate => Box::new(flate2::read::DeflateDecoder::new(raw)),
            Codec::Bzip2 => Box::new(bzip2::read::BzDecoder::new(raw)),
            Codec::Zstandard => Box::new(zstd::stream::read::Decoder::with_buffer(raw)?),
        };
        decoder.by_ref().take(self.cap + 1).read_to_end(&mut self.plain).map_err(damaged)?;
        drop(decoder);
        if self.plain.len() as u64 > self.cap { Err(self.too_large()) } else { Ok(()) }
    }

    fn unsnap(&mut self) -> io::Result<()> {
        let damaged =
            || bad_content("a block of it cannot be decompressed, so it is damaged; write it again");
        let (data, sum) = self.raw.split_last_chunk::<4>().ok_or_else(damaged)?;
        let length = snap::raw::decompress_len(data).map_err(|_| damaged())?;
        if length as u64 > self.cap {
            return Err(self.too_large());
        }
        self.plain.resize(length, 0);
        snap::raw::Decoder::new().decompress(data, &mut self.plain).map_err(|_| damaged())?;
        if crc32fast::hash(&self.plain) == u32::from_be_bytes(*sum) { Ok(()) } else { Err(damaged()) }
    }

    fn too_large(&self) -> io::Error {
        bad_content(format!(
            "a block of it is larger than four times what {} allows; write smaller blocks, or raise it",
            self.cap_key
        ))
    }
}

impl Codec {
    fn by_name(name: &[u8]) -> io::Result<Self> {
        Ok(match name {
            b"null" | b"" => Self::Null,
            b"deflate" => Self::Deflate,
            b"snappy" => Self::Snappy,
            b"zstandard" => Self::Zstandard,
            b"bzip2" => Self::Bzip2,
            other => {
                return Err(bad_content(format!(
                    "its codec {} is not supported; write it with null, deflate, snappy, zstandard or bzip2",
                    Value::from(String::from_utf8_lossy(other))
                )));
            }
        })
    }
}
