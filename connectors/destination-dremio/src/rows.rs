//! Records to the rows of `VALUES`. Records are kept as they came until a statement's worth is there, so that
//! they can be written anew when Dremio finds one too large.

use connector_kit::protocol::json::{self, Token};
use connector_kit::{
    BatchRow, Changes, Error, RecordBatch, Result, RowDecoder, RowSink, SelectedStream, Stamp, write_date,
    write_time,
};

use crate::literals::{Form, Kept, LONG_TEXT, write_null, write_text, write_value};
use crate::merge::DELETED_AT;
use crate::names::ADDED;
use crate::types::ColumnType;

const MILLIS_PER_DAY: i64 = 86_400_000;

/// A column of the stream.
#[derive(Debug)]
struct Field {
    field_type: connector_kit::FieldType,
    /// The name as a JSON string, for the list of changes.
    name: Vec<u8>,
    /// A key with something missing could be another row's key.
    is_key: bool,
    /// It says when the row was deleted at the source.
    is_deletion: bool,
}

/// Records that wait, in order.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    bytes: Vec<u8>,
    rows: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    id: [u8; 36],
    start: usize,
    data_end: usize,
    meta_end: usize,
    has_meta: bool,
    emitted_at: i64,
    line: u64,
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The id of a row.
    pub(crate) fn id(&self, row: usize) -> String {
        self.rows.get(row).map_or_else(String::new, |span| String::from_utf8_lossy(&span.id).into_owned())
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.bytes.clear();
        // One large record may have blown it up.
        self.bytes.shrink_to(4 << 20);
    }

    fn row(&self, span: &Span) -> (&[u8], Option<&[u8]>) {
        (
            &self.bytes[span.start..span.data_end],
            span.has_meta.then(|| &self.bytes[span.data_end..span.meta_end]),
        )
    }
}

/// Writes the rows of one stream.
#[derive(Debug)]
pub(crate) struct RowWriter {
    decoder: RowDecoder,
    fields: Vec<Field>,
    stamp: Stamp,
    changes: Changes,
    meta: Vec<u8>,
}

/// What was written of the waiting rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// How many rows.
    pub(crate) rows: usize,
    /// One of them says that it was deleted.
    pub(crate) deletions: bool,
    /// Texts so long that they were not cast. Then there is one row.
    pub(crate) long_texts: Vec<LongText>,
}

/// A text that is longer than Dremio's VARCHAR has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LongText {
    /// The column in the table, the added ones included.
    pub(crate) column: usize,
    pub(crate) characters: usize,
}

impl LongText {
    /// Of a literal, if it is one.
    fn of(column: usize, literal: &[u8]) -> Option<Self> {
        if literal.len() <= LONG_TEXT {
            return None;
        }
        let text = String::from_utf8_lossy(literal);
        let doubled = text.matches("''").count();
        Some(Self { column, characters: text.chars().count() - doubled - 2 })
    }
}

impl RowWriter {
    pub(crate) fn new(stream: &SelectedStream) -> Self {
        let is_key = |name: &str| stream.primary_key.iter().any(|path| path.len() == 1 && path[0] == name);
        let fields = stream.columns.iter().map(|column| {
            let mut name = Vec::new();
            json::write_str(&mut name, &column.name);
            Field {
                field_type: column.field_type,
                name,
                is_key: is_key(&column.name),
                is_deletion: column.name == DELETED_AT,
            }
        });
        Self {
            decoder: RowDecoder::new(stream.columns.iter().map(|c| c.name.as_str())),
            fields: fields.collect(),
            stamp: Stamp::new(stream.sync_id, stream.generation.map(|g| g.id)),
            changes: Changes::default(),
            meta: Vec::new(),
        }
    }

    /// Takes records in.
    ///
    /// # Errors
    /// When one is not UTF-8.
    pub(crate) fn take(
        &mut self,
        batch: &RecordBatch,
        row: &BatchRow<'_>,
        waiting: &mut Waiting,
    ) -> Result<()> {
        if waiting.is_empty()
            && let Some(line) = batch.line_not_utf8()
        {
            return Err(Error::config(format!(
                "The record on line {line} of stdin is not UTF-8; mend the source that sent it."
            )));
        }
        let start = waiting.bytes.len();
        waiting.bytes.extend_from_slice(row.data);
        let data_end = waiting.bytes.len();
        waiting.bytes.extend_from_slice(row.meta.unwrap_or_default());
        waiting.rows.push(Span {
            id: *self.stamp.next_id(),
            start,
            data_end,
            meta_end: waiting.bytes.len(),
            has_meta: row.meta.is_some(),
            emitted_at: row.emitted_at,
            line: row.line,
        });
        Ok(())
    }

    /// Appends waiting rows from `from` on as `(…), (…)`, as long as `out` has fewer than `most` bytes; at least one.
    ///
    /// # Errors
    /// When a record is not what the protocol says.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        waiting: &Waiting,
        from: usize,
        most: usize,
        longest_text: usize,
    ) -> Result<Written> {
        let mut written = Written::default();
        for span in &waiting.rows[from..] {
            let start = out.len();
            if written.rows > 0 {
                out.push(b',');
            }
            let (deleted, long) =
                self.row(out, waiting, span, Form { typed: written.rows == 0, longest_text })?;
            // Dremio would pad other rows' texts to a long one that cannot be cast.
            if written.rows > 0 && (!long.is_empty() || out.len() > most) {
                out.truncate(start);
                break;
            }
            written.rows += 1;
            written.deletions |= deleted;
            written.long_texts = long;
            if !written.long_texts.is_empty() || out.len() >= most {
                break;
            }
        }
        Ok(written)
    }

    fn row(
        &mut self,
        out: &mut Vec<u8>,
        waiting: &Waiting,
        span: &Span,
        form: Form,
    ) -> Result<(bool, Vec<LongText>)> {
        let (data, meta) = waiting.row(span);
        self.changes.clear();
        let mut values = Vec::with_capacity(data.len() + 16 * self.fields.len());
        let mut encoder = Encoder {
            fields: &self.fields,
            out: &mut values,
            changes: &mut self.changes,
            form,
            deleted: false,
            long: Vec::new(),
        };
        self.decoder.decode(data, &mut encoder).map_err(|e| unreadable(span.line, "data").with_source(e))?;
        let (deleted, mut long) = (encoder.deleted, encoder.long);
        self.meta.clear();
        self.stamp
            .write_meta(&mut self.meta, meta, &self.changes)
            .ok_or_else(|| unreadable(span.line, "meta"))?;
        if json::skip_value(&self.meta, 0) != Ok(self.meta.len()) {
            return Err(unreadable(span.line, "meta"));
        }
        let any_length = Form { longest_text: usize::MAX, ..form };
        out.push(b'(');
        cast(out, form, ColumnType::Varchar, |out| {
            out.push(b'\'');
            out.extend_from_slice(&span.id);
            out.push(b'\'');
        });
        out.push(b',');
        write_moment(out, span.emitted_at);
        out.push(b',');
        // Of any length, so it cannot fail, and JSON has no NUL.
        let mut meta = Vec::with_capacity(self.meta.len() + 2);
        let _ = write_text(&mut meta, &self.meta, any_length);
        long.extend(LongText::of(2, &meta));
        cast(
            out,
            Form { typed: form.typed && meta.len() <= LONG_TEXT, ..form },
            ColumnType::Varchar,
            |out| {
                out.extend_from_slice(&meta);
            },
        );
        out.push(b',');
        cast(out, form, ColumnType::BigInt, |out| {
            out.extend_from_slice(self.stamp.generation().to_string().as_bytes());
        });
        out.extend_from_slice(&values);
        out.push(b')');
        Ok((deleted, long))
    }
}

fn cast(out: &mut Vec<u8>, form: Form, column: ColumnType, write: impl FnOnce(&mut Vec<u8>)) {
    if form.typed {
        out.extend_from_slice(b"CAST(");
    }
    write(out);
    if form.typed {
        out.extend_from_slice(format!(" AS {})", column.sql()).as_bytes());
    }
}

/// `emitted_at`, in milliseconds since 1970. What no date can say becomes the nearest that can.
fn write_moment(out: &mut Vec<u8>, millis: i64) {
    let millis = millis.clamp(-719_162 * MILLIS_PER_DAY, 2_932_897 * MILLIS_PER_DAY - 1);
    let (day, of_day) = (millis.div_euclid(MILLIS_PER_DAY), millis.rem_euclid(MILLIS_PER_DAY));
    out.extend_from_slice(b"TIMESTAMP '");
    write_date(out, i32::try_from(day).unwrap_or_default());
    out.push(b' ');
    write_time(out, of_day / 1_000 * 1_000_000);
    out.extend_from_slice(format!(".{:03}'", of_day % 1_000).as_bytes());
}

/// Appends the values of one row.
struct Encoder<'a> {
    fields: &'a [Field],
    out: &'a mut Vec<u8>,
    changes: &'a mut Changes,
    form: Form,
    deleted: bool,
    long: Vec<LongText>,
}

impl RowSink for Encoder<'_> {
    fn value(&mut self, column: usize, token: Token<'_>) {
        let field = &self.fields[column];
        self.out.push(b',');
        let start = self.out.len();
        match write_value(self.out, field.field_type, token, self.form) {
            Ok(Kept::Whole) => {}
            Ok(Kept::Part(reason)) if !field.is_key => self.changes.truncated(&field.name, reason),
            Ok(Kept::Part(reason)) | Err(reason) => {
                self.out.truncate(start);
                write_null(self.out, ColumnType::of(field.field_type), self.form);
                self.changes.nulled(&field.name, reason);
            }
        }
        self.deleted |= field.is_deletion && token != Token::Null;
        self.long.extend(LongText::of(ADDED.len() + column, &self.out[start..]));
    }
}

#[cold]
fn unreadable(line: u64, member: &str) -> Error {
    Error::config(format!(
        "The {member} of the record on line {line} of stdin cannot be read; mend the source that sent it."
    ))
}
