//! JSONL and CSV files, row by row, plain or gzipped.

use std::io::{self, BufWriter, Write};

use connector_kit::protocol::ChangeReason;
use connector_kit::protocol::json::{self, Token};
use connector_kit::{BatchRow, Changes, EXTRACTED_AT, GENERATION_ID, META, RAW_ID, RowSink, Stamp};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::Error;

/// The column that holds the whole record where its fields have none of their own.
pub const DATA: &str = "_airbyte_data";

/// How a text file is written.
#[derive(Clone, Debug)]
pub struct TextStyle {
    /// The kind of file.
    pub format: TextFormat,
    /// Whether fields have a place of their own beside the added ones, or the record stays whole in one place.
    pub flat: bool,
}

/// The kinds of text files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// One JSON object per line; values as the source wrote them.
    Jsonl,
    /// RFC 4180 below a header.
    Csv {
        /// The character between fields.
        delimiter: u8,
        /// Whether ' is put before text that a spreadsheet would run.
        escape_formulas: bool,
    },
}

/// The output, compressed or not.
#[derive(Debug)]
pub enum TextOut<W: Write> {
    /// As it is.
    Plain(BufWriter<W>),
    /// As one gzip member.
    Gzip(Box<GzEncoder<BufWriter<W>>>),
}

impl<W: Write> TextOut<W> {
    /// Over a sink.
    pub fn new(sink: W, gzip: bool) -> Self {
        let out = BufWriter::with_capacity(32 << 10, sink);
        if gzip { Self::Gzip(Box::new(GzEncoder::new(out, Compression::new(6)))) } else { Self::Plain(out) }
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// The sink's.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(out) => out.write_all(bytes),
        }
    }

    /// Ends it and gives the sink back.
    ///
    /// # Errors
    /// The sink's.
    pub fn close(self) -> io::Result<W> {
        let out = match self {
            Self::Plain(out) => out,
            Self::Gzip(out) => out.finish()?,
        };
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// A text file that grows row by row.
#[derive(Debug)]
pub struct TextFile<W: Write> {
    out: TextOut<W>,
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
    rows: u64,
}

impl<W: Write> RowSink for TextFile<W> {
    #[inline]
    fn value(&mut self, column: usize, token: Token<'_>) {
        if !self.style.flat {
            return;
        }
        match self.style.format {
            TextFormat::Jsonl => {
                self.values.extend_from_slice(&self.keys[column]);
                write_json(&mut self.values, token);
            }
            TextFormat::Csv { delimiter, escape_formulas } => {
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

impl<W: Write> TextFile<W> {
    /// A file with a header where its kind has one.
    ///
    /// # Errors
    /// The sink's.
    pub fn new<'a>(
        sink: W,
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
        let mut out = TextOut::new(sink, gzip);
        let mut written = 0;
        if let TextFormat::Csv { delimiter, .. } = style.format {
            let mut header = Vec::new();
            let own = columns.filter(|_| style.flat).chain((!style.flat).then_some(DATA));
            for name in [RAW_ID, EXTRACTED_AT, META, GENERATION_ID].into_iter().chain(own) {
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
    ///
    /// # Errors
    /// When writing fails, or the row's text is not UTF-8.
    #[inline]
    pub fn end_row(&mut self, row: &BatchRow<'_>) -> Result<(), Error> {
        if !self.style.flat {
            self.whole(row.data);
        }
        if std::str::from_utf8(&self.values).is_err() {
            return Err(Error::NotUtf8 { line: row.line, field: "unknown".into() });
        }
        let head = &mut self.head;
        head.clear();
        let (mut number, mut number2) = (itoa::Buffer::new(), itoa::Buffer::new());
        let emitted_at = number.format(row.emitted_at).as_bytes();
        match self.style.format {
            TextFormat::Jsonl => {
                head.extend_from_slice(b"{\"_airbyte_raw_id\":\"");
                head.extend_from_slice(self.stamp.next_id());
                head.extend_from_slice(b"\",\"_airbyte_extracted_at\":");
                head.extend_from_slice(emitted_at);
                head.extend_from_slice(b",\"_airbyte_meta\":");
                let meta = self.stamp.write_meta(head, row.meta, &self.changes);
                meta.ok_or(Error::Meta { line: row.line })?;
                head.extend_from_slice(b",\"_airbyte_generation_id\":");
                head.extend_from_slice(number2.format(self.stamp.generation()).as_bytes());
                self.values.extend_from_slice(b"}\n");
            }
            TextFormat::Csv { delimiter, .. } => {
                head.extend_from_slice(self.stamp.next_id());
                head.push(delimiter);
                head.extend_from_slice(emitted_at);
                head.push(delimiter);
                self.scratch.clear();
                let meta = self.stamp.write_meta(&mut self.scratch, row.meta, &self.changes);
                meta.ok_or(Error::Meta { line: row.line })?;
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

    /// The record as one value, byte for byte as it came.
    fn whole(&mut self, data: &[u8]) {
        match self.style.format {
            TextFormat::Jsonl => {
                self.values.extend_from_slice(b",\"_airbyte_data\":");
                self.values.extend_from_slice(data);
            }
            TextFormat::Csv { delimiter, .. } => {
                self.values.push(delimiter);
                csv_field(&mut self.values, data, delimiter);
            }
        }
    }

    /// The bytes written, before compression.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.written
    }

    /// Ends the file: gives back its sink, its rows, and the stamp for the next one.
    ///
    /// # Errors
    /// The sink's.
    pub fn close(self) -> io::Result<(W, u64, Stamp)> {
        Ok((self.out.close()?, self.rows, self.stamp))
    }
}
