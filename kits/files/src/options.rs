//! How a file is to be read, whatever the config of the connector calls it.

use connector_kit::FieldType;

use crate::compression::Compression;
use crate::encoding::TextEncoding;

/// Decompressed bytes per compressed byte above which a file counts as a bomb, unless the config says otherwise.
pub const DEFAULT_RATIO: u32 = 200;
/// The longest record, unless the config says otherwise.
pub const DEFAULT_RECORD_BYTES: usize = 16 << 20;

/// Where column names come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// The record after this many others, which are dropped.
    Row(usize),
    /// There is none: names are given, or are made of this prefix and a number from 0.
    None(&'static str),
}

/// Which texts are null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nulls {
    /// In every column, quoted or not.
    pub everywhere: Vec<String>,
    /// Whether the former holds for text columns too.
    pub in_text: bool,
    /// In columns that are not text, unquoted.
    pub words: Vec<&'static str>,
    /// Whether an unquoted empty field is null in text columns too.
    pub empty: bool,
}

/// A column as the config names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnRef {
    /// By name.
    Name(String),
    /// By its place, from 0.
    Position(usize),
}

/// The types that the config asks for, ahead of those found in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types {
    /// Of every column that the next does not name.
    pub all: Option<FieldType>,
    /// Of these columns.
    pub columns: Vec<(String, FieldType)>,
}

impl Types {
    /// What is asked for this column.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<FieldType> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, t)| *t).or(self.all)
    }
}

/// What to do with a row that has not as many fields as the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ragged {
    /// The file ends with an error that names the line.
    #[default]
    Error,
    /// Missing fields are null, a row with too many is null in every column; each is noted in the record.
    NullAndReport,
    /// The row is left out and counted.
    Skip,
}

/// What to do with a value that does not fit its column's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMisfit {
    /// It is sent as null, and noted in the record.
    #[default]
    NullAndReport,
    /// Its row is left out and counted.
    SkipRow,
    /// The file ends with an error.
    Stop,
}

/// How a file is to be read.
#[derive(Clone, Debug)]
pub struct Options {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that hold delimiters.
    pub quote: Option<u8>,
    /// Takes the meaning from the character after it.
    pub escape: Option<u8>,
    /// Where column names come from.
    pub header: Header,
    /// The columns' names, instead of those in the file.
    pub names: Option<Vec<String>>,
    /// Lines before the header, of any content.
    pub skip_lines: usize,
    /// Records after the header that are dropped.
    pub skip_records: usize,
    /// Whether empty lines are no records.
    pub skip_blank_lines: bool,
    /// Whether a header with an empty or repeated name is an error; else such columns get names.
    pub strict_header: bool,
    /// Which texts are null.
    pub nulls: Nulls,
    /// Texts that are true and false, in lower case; without them the usual ones.
    pub booleans: Option<(Vec<String>, Vec<String>)>,
    /// Which columns to offer.
    pub columns: Option<Vec<ColumnRef>>,
    /// The most rows to read.
    pub rows: Option<u64>,
    /// Whether decimals are offered as text rather than as numbers.
    pub decimals_as_text: bool,
    /// Whether doubles of Avro are offered as text.
    pub doubles_as_text: bool,
    /// Types to use rather than those found.
    pub types: Types,
    /// How text is encoded.
    pub encoding: TextEncoding,
    /// How the file is compressed.
    pub compression: Compression,
    /// Decompressed bytes per compressed one that are too many to be true.
    pub max_ratio: u32,
    /// The longest record, in bytes.
    pub max_record: usize,
    /// Rows of another width than the header.
    pub ragged: Ragged,
    /// Values that do not fit.
    pub misfits: OnMisfit,
    /// What the config calls all this.
    pub keys: &'static Keys,
}

impl Options {
    /// Comma-separated, with quotes and a header, nothing null but what is empty.
    #[must_use]
    pub fn new(keys: &'static Keys) -> Self {
        Self {
            delimiter: b',',
            quote: Some(b'"'),
            escape: None,
            header: Header::Row(0),
            names: None,
            skip_lines: 0,
            skip_records: 0,
            skip_blank_lines: true,
            strict_header: false,
            nulls: Nulls { everywhere: Vec::new(), in_text: true, words: Vec::new(), empty: true },
            booleans: None,
            columns: None,
            rows: None,
            decimals_as_text: false,
            doubles_as_text: false,
            types: Types::default(),
            encoding: TextEncoding::Utf8,
            compression: Compression::Infer,
            max_ratio: DEFAULT_RATIO,
            max_record: DEFAULT_RECORD_BYTES,
            ragged: Ragged::Error,
            misfits: OnMisfit::NullAndReport,
            keys,
        }
    }
}

/// What the options are called where people set them, so that messages can name what to change.
#[derive(Debug)]
pub struct Keys {
    /// Of [`Options::delimiter`].
    pub delimiter: &'static str,
    /// Of [`Options::quote`].
    pub quote: &'static str,
    /// Of [`Options::encoding`].
    pub encoding: &'static str,
    /// Of [`Options::compression`].
    pub compression: &'static str,
    /// Of [`Options::header`].
    pub header: &'static str,
    /// Of [`Options::names`].
    pub names: &'static str,
    /// Of [`Options::columns`].
    pub columns: &'static str,
    /// What to do so that a column is not read, as an imperative.
    pub columns_out: &'static str,
    /// Of [`Options::types`].
    pub types: &'static str,
    /// Of [`Options::max_ratio`].
    pub max_ratio: &'static str,
    /// Of [`Options::max_record`].
    pub max_record: &'static str,
    /// What to set so that ragged rows are no error.
    pub ragged: &'static str,
    /// Where the file's format is chosen.
    pub format: &'static str,
    /// Where the file is chosen.
    pub place: &'static str,
}
