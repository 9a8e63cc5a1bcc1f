//! Records, whole, to the tuples of a binary COPY into a raw table.

use connector_kit::protocol::json::{self, Token};
use connector_kit::{
    BatchRow, Changes, EXTRACTED_AT, Error, GENERATION_ID, META, RAW_ID, RecordBatch, Result, SelectedStream,
    Stamp,
};
use postgres_kit::quote_identifier;

use crate::rows::{Kept, extracted_at, framed, write_jsonb};

/// What a raw table looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawForm {
    /// As basic normalization reads it: id, time, record.
    Normalized,
    /// As typing and deduping read it: with what was changed in the record and its generation; members that are null
    /// are left out of the record.
    Legacy,
}

const AB_ID: &str = "_airbyte_ab_id";
const EMITTED_AT: &str = "_airbyte_emitted_at";
const LOADED_AT: &str = "_airbyte_loaded_at";
const DATA: &str = "_airbyte_data";

impl RawForm {
    /// Names and types of its columns; those without a type of their own in the tuple come last.
    pub(crate) fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Normalized => {
                &[(AB_ID, "character varying"), (EMITTED_AT, "timestamp with time zone"), (DATA, "jsonb")]
            }
            Self::Legacy => &[
                (RAW_ID, "character varying"),
                (EXTRACTED_AT, "timestamp with time zone"),
                (META, "jsonb"),
                (GENERATION_ID, "bigint"),
                (LOADED_AT, "timestamp with time zone"),
                (DATA, "jsonb"),
            ],
        }
    }

    /// The statement that makes a table called `quoted`.
    pub(crate) fn create(self, quoted: &str) -> String {
        let columns = self.columns().iter().map(|(name, sql_type)| {
            let null = if *name == LOADED_AT { "" } else { " NOT NULL" };
            format!("{} {sql_type}{null}", quote_identifier(name))
        });
        format!("CREATE TABLE {quoted} ({})", columns.collect::<Vec<_>>().join(", "))
    }

    /// The columns that rows are sent with, for SQL.
    pub(crate) fn sent(self) -> String {
        let names = self.columns().iter().map(|(name, _)| *name).filter(|name| *name != LOADED_AT);
        names.map(quote_identifier).collect::<Vec<_>>().join(", ")
    }
}

/// Writes the records of one stream.
#[derive(Debug)]
pub(crate) struct RawRows {
    form: RawForm,
    stamp: Stamp,
    changes: Changes,
    text: Vec<u8>,
    data: Vec<u8>,
    meta: Vec<u8>,
    /// Records of which something could not be stored.
    changed: u64,
}

/// What one large record leaves behind.
const KEEP_BYTES: usize = 1 << 20;

impl RawRows {
    pub(crate) fn new(stream: &SelectedStream, form: RawForm) -> Self {
        Self {
            form,
            stamp: Stamp::new(stream.sync_id, stream.generation.map(|g| g.id)),
            changes: Changes::default(),
            text: Vec::new(),
            data: Vec::new(),
            meta: Vec::new(),
            changed: 0,
        }
    }

    /// How many records could not be stored as they came, since this was asked last.
    pub(crate) fn take_changed(&mut self) -> u64 {
        std::mem::take(&mut self.changed)
    }

    /// Appends all rows of the batch, without header and trailer.
    pub(crate) fn write(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        if let Some(line) = batch.line_not_utf8() {
            return Err(Error::config(format!(
                "The record on line {line} of stdin is not UTF-8; mend the source that sent it."
            )));
        }
        out.reserve(batch.bytes() + 64 * batch.len());
        for row in batch.rows() {
            self.row(&row, out)?;
        }
        for buffer in [&mut self.text, &mut self.data, &mut self.meta] {
            buffer.clear();
            buffer.shrink_to(KEEP_BYTES);
        }
        Ok(())
    }

    fn row(&mut self, row: &BatchRow<'_>, out: &mut Vec<u8>) -> Result<()> {
        if !self.encode(row.data).map_err(|e| unreadable(row.line, "data").with_source(e))? {
            return Err(Error::config(format!(
                "The record on line {} of stdin is larger than the 256 MiB that PostgreSQL takes as JSON; leave its large fields out.",
                row.line
            )));
        }
        let fields: i16 = match self.form {
            RawForm::Normalized => 3,
            RawForm::Legacy => 5,
        };
        out.extend_from_slice(&fields.to_be_bytes());
        framed(out, |out| out.extend_from_slice(self.stamp.next_id()));
        framed(out, |out| out.extend_from_slice(&extracted_at(row.emitted_at).to_be_bytes()));
        if self.form == RawForm::Legacy {
            self.meta.clear();
            let written = self.stamp.write_meta(&mut self.meta, row.meta, &self.changes);
            if written.is_none() || json::skip_value(&self.meta, 0) != Ok(self.meta.len()) {
                return Err(unreadable(row.line, "meta"));
            }
            // What cannot be stored in it, such as a NUL in a field's name, has nowhere to be listed.
            let _ = framed(out, |out| write_jsonb(out, &self.meta));
            framed(out, |out| out.extend_from_slice(&self.stamp.generation().to_be_bytes()));
        }
        self.changes.clear();
        framed(out, |out| out.extend_from_slice(&self.data));
        Ok(())
    }

    /// Puts the record into `data`, as jsonb's binary form; `false` if it cannot be stored at all.
    fn encode(&mut self, record: &[u8]) -> Result<bool, json::JsonError> {
        let whole = match self.form {
            RawForm::Normalized => {
                json::skip_value(record, 0)?;
                record
            }
            RawForm::Legacy => {
                without_nulls(record, &mut self.text)?;
                self.text.as_slice()
            }
        };
        self.data.clear();
        match write_jsonb(&mut self.data, whole) {
            Ok(Kept::Whole) => return Ok(true),
            Ok(Kept::Part(_)) if self.form == RawForm::Normalized => {
                self.changed += 1;
                return Ok(true);
            }
            Ok(Kept::Part(_)) | Err(_) => self.changed += 1,
        }
        self.mend(record)?;
        self.data.clear();
        Ok(write_jsonb(&mut self.data, &self.text).is_ok())
    }

    /// Puts into `text` what of each member can be stored, and lists what cannot.
    #[cold]
    fn mend(&mut self, record: &[u8]) -> Result<(), json::JsonError> {
        self.text.clear();
        self.text.push(b'{');
        for member in json::members(record, 0) {
            let member = member?;
            if self.form == RawForm::Legacy && member.value == Token::Null {
                continue;
            }
            let name = [b"\"", member.name.raw(), b"\""].concat();
            self.data.clear();
            let stored = write_jsonb(&mut self.data, &record[member.value_start..member.value_end]);
            let value: &[u8] = match stored {
                Ok(kept) => {
                    if let Kept::Part(reason) = kept {
                        self.changes.truncated(&name, reason);
                    }
                    self.data.get(1..).unwrap_or_default()
                }
                Err(reason) => {
                    self.changes.nulled(&name, reason);
                    b"null"
                }
            };
            if self.text.len() > 1 {
                self.text.push(b',');
            }
            self.text.extend_from_slice(&name);
            self.text.push(b':');
            self.text.extend_from_slice(value);
        }
        self.text.push(b'}');
        Ok(())
    }
}

/// The record without its members that are null.
fn without_nulls(record: &[u8], out: &mut Vec<u8>) -> Result<(), json::JsonError> {
    out.clear();
    out.push(b'{');
    for member in json::members(record, 0) {
        let member = member?;
        if member.value != Token::Null {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&record[member.start..member.value_end]);
        }
    }
    out.push(b'}');
    Ok(())
}

#[cold]
fn unreadable(line: u64, member: &str) -> Error {
    Error::config(format!(
        "The {member} of the record on line {line} of stdin cannot be read; mend the source that sent it."
    ))
}
