//! PostgreSQL type ↔ JSON schema ↔ JSON value: one table, [`BUILT_IN`].
//!
//! Every type has one way to be written, reached by two decoders that give the same
//! bytes: from the server's binary form (COPY of scalar types, where time is spent) and
//! from its text form (logical replication, and every other type in COPY). How the parts
//! read and write is in the modules below; rows are in `row.rs`.

mod array;
mod calendar;
mod geometry;
mod hstore;
mod numbers;
mod strings;
mod times;

use connector_kit::protocol::ChangeReason;
use connector_kit::{Error, Result, Row};
use serde_json::{Value, json};

/// A type as the server's catalog describes it.
#[derive(Clone, Debug)]
pub(crate) struct TypeInfo {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// `typtype`: b(ase), c(omposite), d(omain), e(num), r(ange), m(ultirange), p(seudo).
    pub(crate) kind: char,
    /// `typcategory`
    pub(crate) category: char,
    /// `typdelim` of the type itself; arrays use their element's.
    pub(crate) delimiter: char,
    /// `typtypmod`: what a domain says about its base type (`numeric(10,0)`), else -1.
    pub(crate) modifier: i32,
    pub(crate) element: Option<Box<TypeInfo>>,
    pub(crate) base: Option<Box<TypeInfo>>,
}

/// What of the server's locale shows in values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Locale {
    /// Digits after the point of a `money` value.
    pub(crate) money_fraction_digits: u8,
}

impl Locale {
    /// One row, one column: the value of `money_fraction_digits`. To be asked in a session
    /// with the same `lc_monetary` as the one that reads, which is every session of a role
    /// in a database as long as nobody sets it.
    pub(crate) const QUERY: &str = "SELECT pg_catalog.scale(0::pg_catalog.money::pg_catalog.numeric)";
}

impl Default for Locale {
    fn default() -> Self {
        Self { money_fraction_digits: 2 }
    }
}

/// How values of a type are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Money,
    Text,
    Jsonb,
    Bytea,
    Uuid,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Geometry,
    Hstore,
    /// `bit(1)` inside an array.
    Bit,
    /// `bytea` inside an array.
    ByteaItem,
    Array,
}

/// The JSON schema of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Boolean,
    Integer,
    Number,
    String,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
}

/// What COPY is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Select {
    /// The column, so the type's binary form.
    Binary,
    /// The numeric value of `money`, in binary.
    Numeric,
    /// `::text`, where that is the type's output.
    Cast,
    /// The type's output: its cast to text is another function, or may be.
    Output,
}

/// Name in `pg_catalog`, way to write, schema, schema as an item of an array (`None`: items
/// have no schema of their own), what to select, and whether it orders rows well enough for
/// a cursor. Whatever is not here is a string: the server's text.
type Line = (&'static str, Kind, Form, Option<Form>, Select, bool);

#[rustfmt::skip]
const BUILT_IN: &[Line] = &[
    ("bool",        Kind::Boolean,     Form::Boolean,     Some(Form::Boolean),     Select::Binary,  false),
    ("int2",        Kind::Int2,        Form::Integer,     Some(Form::Integer),     Select::Binary,  true),
    ("int4",        Kind::Int4,        Form::Integer,     Some(Form::Integer),     Select::Binary,  true),
    ("int8",        Kind::Int8,        Form::Integer,     Some(Form::Integer),     Select::Binary,  true),
    ("oid",         Kind::Oid,         Form::Integer,     Some(Form::Number),      Select::Binary,  true),
    ("float4",      Kind::Float4,      Form::Number,      Some(Form::Number),      Select::Binary,  true),
    ("float8",      Kind::Float8,      Form::Number,      Some(Form::Number),      Select::Binary,  true),
    // An integer where the column's scale says so; see `ColumnType::of`.
    ("numeric",     Kind::Numeric,     Form::Number,      Some(Form::Number),      Select::Binary,  true),
    ("money",       Kind::Money,       Form::Number,      Some(Form::Number),      Select::Numeric, false),
    ("text",        Kind::Text,        Form::String,      Some(Form::String),      Select::Binary,  true),
    ("varchar",     Kind::Text,        Form::String,      Some(Form::String),      Select::Binary,  true),
    // Its cast to text would strip the padding.
    ("bpchar",      Kind::Text,        Form::String,      Some(Form::String),      Select::Binary,  true),
    ("name",        Kind::Text,        Form::String,      Some(Form::String),      Select::Binary,  true),
    ("char",        Kind::Text,        Form::String,      Some(Form::String),      Select::Output,  false),
    ("json",        Kind::Text,        Form::String,      None,                    Select::Binary,  false),
    ("jsonb",       Kind::Jsonb,       Form::String,      None,                    Select::Binary,  false),
    ("uuid",        Kind::Uuid,        Form::String,      None,                    Select::Binary,  true),
    ("bytea",       Kind::Bytea,       Form::String,      Some(Form::String),      Select::Binary,  false),
    ("date",        Kind::Date,        Form::Date,        Some(Form::Date),        Select::Binary,  true),
    ("time",        Kind::Time,        Form::Time,        Some(Form::Time),        Select::Binary,  true),
    ("timetz",      Kind::TimeTz,      Form::TimeTz,      Some(Form::TimeTz),      Select::Binary,  true),
    ("timestamp",   Kind::Timestamp,   Form::Timestamp,   Some(Form::Timestamp),   Select::Binary,  true),
    ("timestamptz", Kind::TimestampTz, Form::TimestampTz, Some(Form::TimestampTz), Select::Binary,  true),
    // Boolean items only in bit(1)[]; see `ColumnType::of`.
    ("bit",         Kind::Text,        Form::String,      Some(Form::String),      Select::Cast,    false),
    // The cast adds "/32"; the output does not.
    ("inet",        Kind::Text,        Form::String,      None,                    Select::Output,  false),
    ("cidr",        Kind::Text,        Form::String,      None,                    Select::Output,  false),
    // The cast keeps an encoding declaration that the output drops.
    ("xml",         Kind::Text,        Form::String,      None,                    Select::Output,  false),
    ("point",       Kind::Geometry,    Form::String,      None,                    Select::Cast,    false),
    ("lseg",        Kind::Geometry,    Form::String,      None,                    Select::Cast,    false),
    ("path",        Kind::Geometry,    Form::String,      None,                    Select::Cast,    false),
    ("box",         Kind::Geometry,    Form::String,      None,                    Select::Cast,    false),
    ("polygon",     Kind::Geometry,    Form::String,      None,                    Select::Cast,    false),
    ("line",        Kind::Geometry,    Form::String,      None,                    Select::Cast,    false),
    ("circle",      Kind::Geometry,    Form::String,      None,                    Select::Cast,    false),
    // Of category A and with an element, but written "1 2 3".
    ("int2vector",  Kind::Text,        Form::String,      None,                    Select::Cast,    false),
    ("oidvector",   Kind::Text,        Form::String,      None,                    Select::Cast,    false),
];

/// A column's type, decided once: what to select, the schema, and both decoders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnType {
    kind: Kind,
    /// Of an array.
    item: Kind,
    delimiter: u8,
    /// The column's schema, or that of an array's items if they have one.
    form: Option<Form>,
    select: Select,
    cursor: bool,
    locale: Locale,
}

impl ColumnType {
    /// The type of a column with this `atttypmod`.
    pub(crate) fn of(info: &TypeInfo, modifier: i32, locale: Locale) -> Self {
        let (info, modifier) = resolve(info, modifier);
        let element = info.element.as_deref().filter(|_| info.category == 'A');
        let scalar = |kind, form, select, cursor| Self {
            kind,
            item: kind,
            delimiter: b',',
            form: Some(form),
            select,
            cursor,
            locale,
        };
        match (line(info), element) {
            (Some(&(_, kind, form, _, select, cursor)), _) => {
                let whole = kind == Kind::Numeric && has_no_fraction(modifier);
                scalar(kind, if whole { Form::Integer } else { form }, select, cursor)
            }
            (None, Some(element)) => Self::array(info, element, modifier, locale),
            (None, None) if info.kind == 'e' => scalar(Kind::Text, Form::String, Select::Binary, false),
            (None, None) if info.name == "hstore" && info.kind == 'b' => {
                scalar(Kind::Hstore, Form::String, Select::Output, false)
            }
            (None, None) => {
                let cursor = info.name == "citext" && info.kind == 'b';
                scalar(Kind::Text, Form::String, text_of(info), cursor)
            }
        }
    }

    fn array(info: &TypeInfo, element: &TypeInfo, modifier: i32, locale: Locale) -> Self {
        // A domain inside an array keeps its own modifier; otherwise the array's applies.
        let (element, modifier) = resolve(element, modifier);
        let (item, form) = match line(element) {
            Some(("bit", ..)) if modifier == 1 => (Kind::Bit, Some(Form::Boolean)),
            Some((_, Kind::Bytea, _, form, ..)) => (Kind::ByteaItem, *form),
            Some((_, kind, _, form, ..)) => (*kind, *form),
            None if element.name == "hstore" && element.kind == 'b' => (Kind::Hstore, None),
            None => (Kind::Text, None),
        };
        let delimiter = u8::try_from(element.delimiter).unwrap_or(b',');
        Self { kind: Kind::Array, item, delimiter, form, select: text_of(info), cursor: false, locale }
    }

    /// The column's JSON schema.
    pub(crate) fn schema(&self) -> Value {
        match (self.kind, self.form) {
            (Kind::Array, Some(form)) => json!({"type": "array", "items": form.schema()}),
            (Kind::Array, None) => json!({"type": "array"}),
            (_, form) => form.unwrap_or(Form::String).schema(),
        }
    }

    /// What COPY has to select, so that [`write_binary`](Self::write_binary) reads it.
    pub(crate) fn select(&self, quoted_column: &str) -> String {
        match self.select {
            Select::Binary => quoted_column.to_owned(),
            Select::Numeric => format!("{quoted_column}::pg_catalog.numeric"),
            Select::Cast => format!("{quoted_column}::pg_catalog.text"),
            // concat() calls the output function, but makes an empty text of null.
            Select::Output => format!(
                "CASE WHEN {quoted_column} IS DISTINCT FROM NULL THEN pg_catalog.concat({quoted_column}) END"
            ),
        }
    }

    /// Whether rows can be read in this column's order.
    pub(crate) fn can_be_cursor(&self) -> bool {
        self.cursor
    }

    /// Writes a field of a binary COPY, as [`select`](Self::select) asked for it.
    ///
    /// # Errors
    /// When the bytes are no such value.
    #[inline]
    pub(crate) fn write_binary(&self, row: &mut Row<'_>, column: usize, value: &[u8]) -> Result<()> {
        let outcome = row.value(column, |out| match self.kind {
            Kind::Boolean => numbers::boolean_binary(out, value),
            Kind::Int2 => numbers::int2(out, value),
            Kind::Int4 => numbers::int4(out, value),
            Kind::Int8 => numbers::int8(out, value),
            Kind::Oid => numbers::oid(out, value),
            Kind::Float4 => numbers::float4(out, value),
            Kind::Float8 => numbers::float8(out, value),
            Kind::Numeric | Kind::Money => numbers::numeric(out, value),
            Kind::Text => strings::text(out, value),
            Kind::Jsonb => strings::jsonb(out, value),
            Kind::Bytea => strings::bytea(out, value),
            Kind::Uuid => strings::uuid(out, value),
            Kind::Date => times::date(out, value),
            Kind::Time => times::time(out, value),
            Kind::TimeTz => times::timetz(out, value),
            Kind::Timestamp => times::timestamp(out, value),
            Kind::TimestampTz => times::timestamptz(out, value),
            // Selected as text.
            Kind::Geometry | Kind::Hstore | Kind::Bit | Kind::ByteaItem | Kind::Array => {
                self.text(out, value)
            }
        });
        settle(outcome, row, column)
    }

    /// Writes a value from the server's text form.
    ///
    /// # Errors
    /// When the text is no such value.
    #[inline]
    pub(crate) fn write_text(&self, row: &mut Row<'_>, column: usize, value: &[u8]) -> Result<()> {
        let outcome = row.value(column, |out| self.text(out, value));
        settle(outcome, row, column)
    }

    fn text(&self, out: &mut Vec<u8>, value: &[u8]) -> Outcome {
        match self.kind {
            Kind::Array => array::write(out, value, self.delimiter, |out, item| {
                scalar_text(self.item, self.locale, out, item)
            }),
            kind => scalar_text(kind, self.locale, out, value),
        }
    }
}

/// Writes a scalar from the server's text form.
fn scalar_text(kind: Kind, locale: Locale, out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    match kind {
        Kind::Boolean => numbers::boolean_text(out, value),
        Kind::Int2 | Kind::Int4 | Kind::Int8 | Kind::Oid => numbers::integer_text(out, value),
        Kind::Float4 => numbers::float4_text(out, value),
        Kind::Float8 => numbers::float8_text(out, value),
        Kind::Numeric => numbers::numeric_text(out, value),
        Kind::Money => numbers::money_text(out, value, locale.money_fraction_digits),
        Kind::Bytea => strings::bytea_text(out, value),
        Kind::ByteaItem => strings::bytea_item(out, value),
        Kind::Date => times::date_text(out, value),
        Kind::Time => times::time_text(out, value),
        Kind::TimeTz => times::timetz_text(out, value),
        Kind::Timestamp => times::timestamp_text(out, value),
        Kind::TimestampTz => times::timestamptz_text(out, value),
        Kind::Geometry => geometry::write(out, value),
        Kind::Hstore => hstore::write(out, value),
        Kind::Bit => numbers::bit_text(out, value),
        // Arrays inside arrays are domains over arrays: their text.
        Kind::Text | Kind::Jsonb | Kind::Uuid | Kind::Array => strings::text(out, value),
    }
}

impl Form {
    fn schema(self) -> Value {
        let zoned = |format, name| json!({"type": "string", "format": format, "airbyte_type": name});
        match self {
            Self::Boolean => json!({"type": "boolean"}),
            Self::Integer => json!({"type": "number", "airbyte_type": "integer"}),
            Self::Number => json!({"type": "number"}),
            Self::String => json!({"type": "string"}),
            Self::Date => json!({"type": "string", "format": "date"}),
            Self::Time => zoned("time", "time_without_timezone"),
            Self::TimeTz => zoned("time", "time_with_timezone"),
            Self::Timestamp => zoned("date-time", "timestamp_without_timezone"),
            Self::TimestampTz => zoned("date-time", "timestamp_with_timezone"),
        }
    }
}

/// The type under all domains, and the modifier that applies to it.
fn resolve(mut info: &TypeInfo, mut modifier: i32) -> (&TypeInfo, i32) {
    while let (true, Some(base)) = (info.kind == 'd', info.base.as_deref()) {
        modifier = info.modifier;
        info = base;
    }
    (info, modifier)
}

fn line(info: &TypeInfo) -> Option<&'static Line> {
    if info.schema != "pg_catalog" {
        return None;
    }
    BUILT_IN.iter().find(|line| line.0 == info.name)
}

/// Built-in types cast to text by their output function unless [`BUILT_IN`] says otherwise;
/// for all others somebody may have created a cast that says something else.
fn text_of(info: &TypeInfo) -> Select {
    if info.schema == "pg_catalog" { Select::Cast } else { Select::Output }
}

/// `numeric(p)`, `numeric(p,0)` and, since PostgreSQL 15, `numeric(p,-s)`. The scale is the
/// modifier's low eleven bits, signed.
fn has_no_fraction(modifier: i32) -> bool {
    modifier >= 4 && (((modifier - 4) & 0x7FF) ^ 0x400) - 0x400 <= 0
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Written,
    /// JSON cannot say it, wholly or in part: null, and an entry in the row's changes.
    Nulled,
}

/// The bytes are not what the server sends for this type; names what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed(&'static str);

type Outcome = std::result::Result<Fate, Malformed>;

/// Writes the null of a value that JSON cannot say.
fn nulled(out: &mut Vec<u8>) -> Outcome {
    out.extend_from_slice(b"null");
    Ok(Fate::Nulled)
}

#[inline]
fn settle(outcome: Outcome, row: &mut Row<'_>, column: usize) -> Result<()> {
    match outcome {
        Ok(Fate::Written) => Ok(()),
        Ok(Fate::Nulled) => {
            row.note(column, ChangeReason::SourceSerializationError);
            Ok(())
        }
        Err(Malformed(what)) => Err(malformed(row.name(column), what)),
    }
}

#[cold]
fn malformed(column: &str, what: &str) -> Error {
    Error::system(format!(
        "The server sent something else than {what} in column {column:?}. Sync again; if it happens again, \
         leave the column out and report the column's type and the server's version."
    ))
}

#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod tests;
