//! An object being written, whatever its format.

use std::sync::Arc;

use columnar::{AvroFile, AvroStyle, Budget, Layout, ParquetFile, TextFile};
use connector_kit::protocol::StreamDescriptor;
use connector_kit::{Error, RecordBatch, RowDecoder, Stamp};

use crate::formats::Style;
use crate::part_sink::PartSink;

/// A file that takes rows.
#[derive(Debug)]
pub(crate) enum FileWriter {
    Parquet(ParquetFile<PartSink>),
    Avro(Box<AvroFile<PartSink>>),
    Text(Box<TextFile<PartSink>>),
}

impl FileWriter {
    pub(crate) fn new(
        style: &Style,
        sink: PartSink,
        layout: &Arc<Layout>,
        stamp: Stamp,
        budget: &Arc<Budget>,
        stream: &StreamDescriptor,
    ) -> Result<Self, columnar::Error> {
        Ok(match style {
            Style::Parquet { options, .. } => {
                Self::Parquet(ParquetFile::new(sink, layout, stamp, options.clone(), budget))
            }
            Style::Avro { codec } => {
                let (name, namespace) = (stream.name.clone(), stream.namespace.clone());
                let style = AvroStyle { codec: *codec, name, namespace };
                Self::Avro(Box::new(AvroFile::new(sink, layout, stamp, &style)?))
            }
            Style::Text { style, gzip } => {
                let names: Vec<&str> = layout.names().collect();
                Self::Text(Box::new(TextFile::new(sink, *gzip, style.clone(), names.iter().copied(), stamp)?))
            }
        })
    }

    /// Takes a batch of rows.
    pub(crate) fn write(
        &mut self,
        batch: &RecordBatch,
        decoder: &mut RowDecoder,
    ) -> Result<(), columnar::Error> {
        let bad = |line| move |source| columnar::Error::Data { line, source };
        match self {
            Self::Parquet(file) => {
                let mut rows = file.lock();
                for row in batch.rows() {
                    decoder.decode(row.data, rows.sink()).map_err(bad(row.line))?;
                    rows.end_row(&row)?;
                }
                drop(rows);
                file.balance()
            }
            Self::Avro(file) => {
                for row in batch.rows() {
                    decoder.decode(row.data, file.sink()).map_err(bad(row.line))?;
                    file.end_row(&row)?;
                }
                file.end_batch()
            }
            Self::Text(file) => {
                for row in batch.rows() {
                    decoder.decode(row.data, &mut **file).map_err(bad(row.line))?;
                    file.end_row(&row)?;
                }
                Ok(())
            }
        }
    }

    /// The bytes the object has, about, whatever is still held back.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Parquet(file) => file.size(),
            Self::Avro(file) => file.size(),
            Self::Text(file) => file.size(),
        }
    }

    /// Ends the file: gives back its rows, and the stamp for the next one.
    pub(crate) fn close(self) -> Result<(u64, Stamp), columnar::Error> {
        let (_, rows, stamp) = match self {
            Self::Parquet(file) => file.close()?,
            Self::Avro(file) => file.close()?,
            Self::Text(file) => file.close()?,
        };
        Ok((rows, stamp))
    }
}

/// What cannot be written, as a sentence.
pub(crate) fn columnar_error(url: &str, error: columnar::Error) -> Error {
    match error {
        // A part could not be sent, of this object or of another that had to give memory back.
        columnar::Error::Io(error) if error.get_ref().is_some_and(|e| e.is::<s3_kit::Error>()) => {
            match error.into_inner().map(|e| e.downcast::<s3_kit::Error>()) {
                Some(Ok(error)) => (*error).into(),
                _ => Error::system(format!("{url} cannot be written.")),
            }
        }
        columnar::Error::Io(_) | columnar::Error::Parquet(_) => {
            Error::system(format!("{url} cannot be written.")).with_source(error)
        }
        error => {
            let text = error.to_string();
            let mut letters = text.chars();
            let first: String = letters.next().map_or_else(String::new, |c| c.to_uppercase().collect());
            Error::config(format!("{first}{}; mend the source that sent it.", letters.as_str()))
                .with_source(error)
        }
    }
}
