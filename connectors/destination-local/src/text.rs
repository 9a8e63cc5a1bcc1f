//! JSONL and CSV files, row by row, plain or gzipped.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

use connector_kit::protocol::ChangeReason;
use connector_kit::protocol::json::{self, Token};
use connector_kit::{BatchRow, Changes, EXTRACTED_AT, GENERATION_ID, META, RAW_ID, RowSink, Stamp};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// How a text file is written.
#[derive(Clone, Debug)]
pub(crate) enum TextStyle {
    Jsonl,
    Csv { delimiter: u8, escape_formulas: bool },
}

/// The output, compressed or not.
#[derive(Debug)]
pub(crate) enum TextOut {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}

impl TextOut {
    pub(crate) fn new(file: File, gzip: bool) -> Self {
        let out = BufWriter::with_capacity(32 << 10, file);
        if gzip { Self::Gzip(Box::new(GzEncoder::new(out, Compression::new(6)))) } else { Self::Plain(out) }
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(out) => out.write_all(bytes),
        }
    }

    pub(crate) fn close(self) -> io::Result<File> {
        let out = match self {
            Self::Plain(out) => out,
            Self::Gzip(out) => out.finish()?,
        };
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// A text file that grows row by row.
#[derive(Debug)]
pub(crate) struct TextFile {
    out: TextOut,
    style: TextStyle,
    /// Per column: its name as a JSON string with what stands around it, or empty for CSV.
    keys: Vec<Vec<u8>>,
    /// Per column: its name as a JSON string.
    names: Vec<Vec<u8>>,
    stamp: Stamp,
    changes: Changes,
    values: Vec<u8>,
    scratch: Vec<u8>,
    head: Vec<u8>,
    written: u64,
    pub(crate) rows: u64,
}

impl RowSink for TextFile {
    #[inline]
    fn value(&mut self, column: usize, token: Token<'_>) {
        match self.style {
            TextStyle::Jsonl => {
                self.values.extend_from_slice(&self.keys[column]);
                write_json(&mut self.values, token);
            }
            TextStyle::Csv { delimiter, escape_formulas } => {
                self.values.push(delimiter);
                match token {
                    Token::Null => {}
                    Token::Bool(b) => self.values.extend_from_slice(if b { b"true" } else { b"false" }),
                    Token::Number(digits) => self.values.extend_from_slice(digits),
                    Token::Array(text) | Token::Object(text) => csv_field(&mut self.values, text, delimiter),
                    Token::Str(text) => {
                        self.scratch.clear();
                        if escape_formulas && text.raw().first().is_some_and(|b| b"=+-@\\".contains(b)) {
                            escape_formula(&mut self.scratch, &text);
                        }
                        if text.unescape_into(&mut self.scratch) {
                            csv_field(&mut self.values, &self.scratch, delimiter);
                        } else {
                            // A lone surrogate: JSON can write it, a text file cannot.
                            self.changes
                                .nulled(&self.names[column], ChangeReason::DestinationSerializationError);
                        }
                    }
                }
            }
        }
    }
}

/// Puts `'` before a text that a spreadsheet would run. A backslash begins an escape that may
/// stand for a tab, a carriage return or any of the characters.
fn escape_formula(out: &mut Vec<u8>, text: &json::RawStr<'_>) {
    let mut value = Vec::new();
    text.unescape_into(&mut value);
    if value.first().is_some_and(|b| b"=+-@\t\r".contains(b)) {
        out.push(b'\'');
    }
}

fn write_json(out: &mut Vec<u8>, token: Token<'_>) {
    match token {
        Token::Null => out.extend_from_slice(b"null"),
        Token::Bool(b) => out.extend_from_slice(if b { b"true" } else { b"false" }),
        Token::Number(text) | Token::Array(text) | Token::Object(text) => out.extend_from_slice(text),
        Token::Str(text) => {
            out.push(b'"');
            out.extend_from_slice(text.raw());
            out.push(b'"');
        }
    }
}

/// RFC 4180; empty text is quoted, so that it is told from null.
fn csv_field(out: &mut Vec<u8>, text: &[u8], delimiter: u8) {
    let plain =
        !text.is_empty() && !text.iter().any(|b| *b == delimiter || matches!(b, b'"' | b'\n' | b'\r'));
    // Spaces at the ends survive quoted only, with some readers.
    if plain && !text.starts_with(b" ") && !text.ends_with(b" ") {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for part in text.split_inclusive(|b| *b == b'"') {
        out.extend_from_slice(part);
        if part.ends_with(b"\"") {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

impl TextFile {
    pub(crate) fn new<'a>(
        file: File,
        gzip: bool,
        style: TextStyle,
        columns: impl Iterator<Item = &'a str> + Clone,
        stamp: Stamp,
    ) -> io::Result<Self> {
        let names: Vec<Vec<u8>> = columns
            .clone()
            .map(|name| {
                let mut json = Vec::new();
                json::write_str(&mut json, name);
                json
            })
            .collect();
        let keys = names.iter().map(|name| [b",", name.as_slice(), b":"].concat()).collect();
        let mut out = TextOut::new(file, gzip);
        let mut written = 0;
        if let TextStyle::Csv { delimiter, .. } = style {
            let mut header = Vec::new();
            for name in [RAW_ID, EXTRACTED_AT, META, GENERATION_ID].into_iter().chain(columns) {
                if !header.is_empty() {
                    header.push(delimiter);
                }
                csv_field(&mut header, name.as_bytes(), delimiter);
            }
            header.push(b'\n');
            out.write_all(&header)?;
            written = header.len() as u64;
        }
        Ok(Self {
            out,
            style,
            keys,
            names,
            stamp,
            changes: Changes::default(),
            values: Vec::new(),
            scratch: Vec::new(),
            head: Vec::new(),
            written,
            rows: 0,
        })
    }

    /// Ends the row whose values were given.
    #[inline]
    pub(crate) fn end_row(&mut self, row: &BatchRow<'_>) -> Result<(), columnar::Error> {
        if std::str::from_utf8(&self.values).is_err() {
            return Err(columnar::Error::NotUtf8 { line: row.line, field: "unknown".into() });
        }
        let head = &mut self.head;
        head.clear();
        let (mut number, mut number2) = (itoa::Buffer::new(), itoa::Buffer::new());
        let emitted_at = number.format(row.emitted_at).as_bytes();
        match self.style {
            TextStyle::Jsonl => {
                head.extend_from_slice(b"{\"_airbyte_raw_id\":\"");
                head.extend_from_slice(self.stamp.next_id());
                head.extend_from_slice(b"\",\"_airbyte_extracted_at\":");
                head.extend_from_slice(emitted_at);
                head.extend_from_slice(b",\"_airbyte_meta\":");
                let meta = self.stamp.write_meta(head, row.meta, &self.changes);
                meta.ok_or(columnar::Error::Meta { line: row.line })?;
                head.extend_from_slice(b",\"_airbyte_generation_id\":");
                head.extend_from_slice(number2.format(self.stamp.generation()).as_bytes());
                self.values.extend_from_slice(b"}\n");
            }
            TextStyle::Csv { delimiter, .. } => {
                head.extend_from_slice(self.stamp.next_id());
                head.push(delimiter);
                head.extend_from_slice(emitted_at);
                head.push(delimiter);
                self.scratch.clear();
                let meta = self.stamp.write_meta(&mut self.scratch, row.meta, &self.changes);
                meta.ok_or(columnar::Error::Meta { line: row.line })?;
                csv_field(head, &self.scratch, delimiter);
                head.push(delimiter);
                head.extend_from_slice(number2.format(self.stamp.generation()).as_bytes());
                self.values.push(b'\n');
            }
        }
        self.out.write_all(&self.head)?;
        self.out.write_all(&self.values)?;
        self.written += (self.head.len() + self.values.len()) as u64;
        self.rows += 1;
        self.values.clear();
        self.changes.clear();
        Ok(())
    }

    /// The bytes written, before compression.
    pub(crate) fn size(&self) -> u64 {
        self.written
    }

    pub(crate) fn close(self) -> io::Result<(File, u64, Stamp)> {
        Ok((self.out.close()?, self.rows, self.stamp))
    }
}

/// Copies the rows for which `keep` says so; a CSV header stays. Returns the rows read and written.
pub(crate) fn copy_rows(
    input: File,
    out: &mut TextOut,
    gzip: bool,
    csv: bool,
    mut keep: impl FnMut(u64) -> bool,
) -> io::Result<(u64, u64)> {
    let input: Box<dyn Read> =
        if gzip { Box::new(MultiGzDecoder::new(BufReader::new(input))) } else { Box::new(input) };
    let mut input = BufReader::with_capacity(128 << 10, input);
    let (mut read, mut written) = (0, 0);
    let mut header = csv;
    let mut quoted = false;
    let mut keeps = header || keep(0);
    let mut within = false;
    loop {
        let block = io::BufRead::fill_buf(&mut input)?;
        if block.is_empty() {
            break;
        }
        let length = block.len();
        let mut start = 0;
        for (at, byte) in block.iter().enumerate() {
            // A quote inside a field is doubled, which turns twice and changes nothing.
            if csv && *byte == b'"' {
                quoted = !quoted;
            }
            if *byte == b'\n' && !quoted {
                if keeps {
                    out.write_all(&block[start..=at])?;
                }
                start = at + 1;
                if !std::mem::replace(&mut header, false) {
                    written += u64::from(keeps);
                    read += 1;
                }
                keeps = keep(read);
            }
        }
        if keeps {
            out.write_all(&block[start..])?;
        }
        within = start < length;
        io::BufRead::consume(&mut input, length);
    }
    // Our files end in a newline; anything else was cut.
    if within || quoted { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok((read, written)) }
}
