//! A file being written, whatever its format.

use std::fs::File;
use std::sync::Arc;

use columnar::{Budget, Layout, ParquetFile, ParquetOptions, TextFile, TextFormat, TextStyle};
use connector_kit::protocol::json::Token;
use connector_kit::{BatchRow, Error, RecordBatch, Result, RowDecoder, RowSink, Stamp};

use crate::config::{Config, Format, TextCompression, delimiter_byte};
use crate::early::EarlyFile;
use crate::keys::{KeyTaker, KeyWriter};

/// What the config says about files, ready for use.
#[derive(Clone, Debug)]
pub(crate) enum Style {
    Parquet { options: ParquetOptions, block: usize },
    Text { format: TextFormat, gzip: bool },
}

impl Style {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        Ok(match &config.format {
            Format::Parquet { compression_codec, block_size_mb } => Self::Parquet {
                options: ParquetOptions::new(
                    (*compression_codec).into(),
                    concat!("ferrybyte destination-local ", env!("CARGO_PKG_VERSION")),
                ),
                block: (*block_size_mb as usize) << 20,
            },
            Format::Jsonl { compression } => {
                Self::Text { format: TextFormat::Jsonl, gzip: *compression == TextCompression::Gzip }
            }
            Format::Csv { delimiter, escape_formulas, compression } => {
                let delimiter = delimiter_byte(delimiter).ok_or_else(|| {
                    Error::config("format.delimiter must be one ASCII character that is no quote, letter, digit or line end, or \\t.")
                })?;
                let format = TextFormat::Csv { delimiter, escape_formulas: *escape_formulas };
                Self::Text { format, gzip: *compression == TextCompression::Gzip }
            }
        })
    }

    /// The ending of file names.
    pub(crate) fn extension(&self) -> &'static str {
        match self {
            Self::Parquet { .. } => "parquet",
            Self::Text { format: TextFormat::Jsonl, gzip: false } => "jsonl",
            Self::Text { format: TextFormat::Jsonl, gzip: true } => "jsonl.gz",
            Self::Text { format: TextFormat::Csv { .. }, gzip: false } => "csv",
            Self::Text { format: TextFormat::Csv { .. }, gzip: true } => "csv.gz",
        }
    }
}

/// A file that takes rows.
#[derive(Debug)]
pub(crate) enum FileWriter {
    Parquet(ParquetFile<EarlyFile>),
    Text(Box<TextFile<EarlyFile>>),
}

/// The keys of the rows, where they are wanted.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    pub(crate) taker: &'a mut KeyTaker,
    pub(crate) out: &'a mut KeyWriter,
}

/// Hands each value to two.
struct Tee<'a, S>(&'a mut S, &'a mut KeyTaker);

impl<S: RowSink> RowSink for Tee<'_, S> {
    #[inline]
    fn value(&mut self, column: usize, token: Token<'_>) {
        self.1.value(column, token);
        self.0.value(column, token);
    }
}

impl FileWriter {
    pub(crate) fn new(
        style: &Style,
        file: File,
        layout: &Arc<Layout>,
        stamp: Stamp,
        budget: &Arc<Budget>,
    ) -> std::io::Result<Self> {
        let file = EarlyFile::new(file);
        Ok(match style {
            Style::Parquet { options, .. } => {
                Self::Parquet(ParquetFile::new(file, layout, stamp, options.clone(), budget))
            }
            Style::Text { format, gzip } => {
                let names: Vec<&str> = layout.names().collect();
                let style = TextStyle { format: *format, flat: true };
                Self::Text(Box::new(TextFile::new(file, *gzip, style, names.iter().copied(), stamp)?))
            }
        })
    }

    /// Takes a batch of rows.
    pub(crate) fn write(
        &mut self,
        batch: &RecordBatch,
        decoder: &mut RowDecoder,
        mut keys: Option<Keys<'_>>,
    ) -> Result<(), columnar::Error> {
        match self {
            Self::Parquet(file) => {
                let mut rows = file.lock();
                for row in batch.rows() {
                    decode(decoder, &row, rows.sink(), keys.as_mut())?;
                    rows.end_row(&row)?;
                }
                drop(rows);
                file.balance()
            }
            Self::Text(file) => {
                for row in batch.rows() {
                    decode(decoder, &row, &mut **file, keys.as_mut())?;
                    file.end_row(&row)?;
                }
                Ok(())
            }
        }
    }

    /// The bytes the file has, about.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Parquet(file) => file.size(),
            Self::Text(file) => file.size(),
        }
    }

    /// Ends the file: gives back its handle, its rows, and the stamp for the next one.
    pub(crate) fn close(self) -> Result<(File, u64, Stamp), columnar::Error> {
        let (file, rows, stamp) = match self {
            Self::Parquet(file) => file.close()?,
            Self::Text(file) => file.close()?,
        };
        Ok((file.into_inner(), rows, stamp))
    }
}

#[inline]
fn decode<S: RowSink>(
    decoder: &mut RowDecoder,
    row: &BatchRow<'_>,
    sink: &mut S,
    keys: Option<&mut Keys<'_>>,
) -> Result<(), columnar::Error> {
    let decoded = match keys {
        None => decoder.decode(row.data, sink),
        Some(keys) => {
            let decoded = decoder.decode(row.data, &mut Tee(sink, keys.taker));
            keys.taker.end_row(row.emitted_at, keys.out)?;
            decoded
        }
    };
    decoded.map_err(|source| columnar::Error::Data { line: row.line, source })
}
