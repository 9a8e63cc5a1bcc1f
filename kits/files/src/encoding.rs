//! Text in any encoding, as UTF-8.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::error;
use crate::options::Options;

const BLOCK_BYTES: usize = 64 << 10;

/// How the file's text is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEncoding {
    /// UTF-8; a UTF-16 byte order mark is believed.
    Utf8,
    /// UTF-16 by its byte order mark, else little-endian.
    Utf16,
    /// ISO-8859-1 in the strict sense: byte = code point.
    Latin1,
    /// Any of the Encoding Standard.
    Other(&'static Encoding),
}

impl TextEncoding {
    /// By the names that pandas and the Encoding Standard know.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let plain: String = name
            .trim()
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c == '_' || c == ' ' { '-' } else { c })
            .collect();
        Some(match plain.as_str() {
            "utf-8" | "utf8" | "utf-8-sig" | "u8" | "ascii" | "us-ascii" => Self::Utf8,
            "utf-16" | "utf16" | "u16" => Self::Utf16,
            "utf-16-le" | "utf-16le" => Self::Other(UTF_16LE),
            "utf-16-be" | "utf-16be" => Self::Other(UTF_16BE),
            "latin-1" | "latin1" | "iso-8859-1" | "iso8859-1" | "l1" => Self::Latin1,
            other => {
                let label = match other.strip_prefix("cp") {
                    Some(page) if page.starts_with("125") => format!("windows-{page}"),
                    _ => other.to_owned(),
                };
                Self::Other(Encoding::for_label_no_replacement(label.as_bytes())?)
            }
        })
    }
}

/// Wraps `input` so that it yields UTF-8 without a byte order mark. UTF-8 itself passes
/// through unchecked: who reads it checks it, a block at a time.
///
/// # Errors
/// When the first bytes cannot be had.
pub fn to_utf8(mut input: Box<dyn Read>, options: &Options) -> io::Result<Box<dyn Read>> {
    let (encoding, key) = (options.encoding, options.keys.encoding);
    let mut head = [0; 3];
    let mut have = 0;
    while have < head.len() {
        match input.read(&mut head[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let head = &head[..have];
    let marked = match head {
        [0xFF, 0xFE, ..] => Some(UTF_16LE),
        [0xFE, 0xFF, ..] => Some(UTF_16BE),
        _ => None,
    };
    let (decoder, mark) = match (encoding, marked) {
        (TextEncoding::Utf8, None) => (None, if head == [0xEF, 0xBB, 0xBF] { 3 } else { 0 }),
        (TextEncoding::Utf8 | TextEncoding::Utf16, Some(found)) => (Some(found), 2),
        (TextEncoding::Utf16, None) => (Some(UTF_16LE), 0),
        (TextEncoding::Latin1, _) => (None, 0),
        (TextEncoding::Other(wanted), marked) if Some(wanted) == marked => (Some(wanted), 2),
        (TextEncoding::Other(wanted), _) if wanted == UTF_8 => (None, 0),
        (TextEncoding::Other(wanted), _) => (Some(wanted), 0),
    };
    let rest = io::Cursor::new(head[mark..].to_vec()).chain(input);
    Ok(match (decoder, encoding) {
        (Some(encoding), _) => Box::new(Transcode::new(rest, Some(encoding), key)),
        (None, TextEncoding::Latin1) => Box::new(Transcode::new(rest, None, key)),
        (None, _) => Box::new(rest),
    })
}

/// Yields `input`'s text as UTF-8.
struct Transcode<R> {
    input: R,
    key: &'static str,
    /// `None` is Latin-1.
    decoder: Option<(Decoder, &'static Encoding)>,
    raw: Vec<u8>,
    raw_at: usize,
    raw_end: usize,
    text: Vec<u8>,
    text_at: usize,
    text_end: usize,
    /// Raw bytes before `raw_at`, for messages.
    offset: u64,
    ended: bool,
    flushed: bool,
}

impl<R: Read> Transcode<R> {
    fn new(input: R, encoding: Option<&'static Encoding>, key: &'static str) -> Self {
        Self {
            input,
            key,
            decoder: encoding.map(|e| (e.new_decoder_without_bom_handling(), e)),
            raw: vec![0; BLOCK_BYTES],
            raw_at: 0,
            raw_end: 0,
            // UTF-8 takes at most three bytes for each of the input's, and room for one more character.
            text: vec![0; BLOCK_BYTES * 3 + 16],
            text_at: 0,
            text_end: 0,
            offset: 0,
            ended: false,
            flushed: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.raw_at == self.raw_end && !self.ended {
            self.raw_at = 0;
            self.raw_end = self.input.read(&mut self.raw)?;
            self.ended = self.raw_end == 0;
        }
        self.text_at = 0;
        let raw = &self.raw[self.raw_at..self.raw_end];
        let Some((decoder, encoding)) = &mut self.decoder else {
            self.text_end = encoding_rs::mem::convert_latin1_to_utf8(raw, &mut self.text);
            self.raw_at = self.raw_end;
            self.flushed = self.ended;
            return Ok(());
        };
        let (result, taken, written) =
            decoder.decode_to_utf8_without_replacement(raw, &mut self.text, self.ended);
        self.raw_at += taken;
        self.offset += taken as u64;
        self.text_end = written;
        match result {
            DecoderResult::InputEmpty => self.flushed = self.ended,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(bad, after) => {
                let at = self.offset.saturating_sub(u64::from(bad) + u64::from(after));
                return Err(error::bad_content(format!(
                    "byte {at} is not valid {}; set {} to the file's own",
                    encoding.name(),
                    self.key
                )));
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Transcode<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.text_at == self.text_end {
            if self.flushed {
                return Ok(0);
            }
            self.refill()?;
        }
        let n = buf.len().min(self.text_end - self.text_at);
        buf[..n].copy_from_slice(&self.text[self.text_at..self.text_at + n]);
        self.text_at += n;
        Ok(n)
    }
}
