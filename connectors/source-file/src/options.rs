//! `reader_options`: a JSON object in a string, by the names that pandas uses.

use connector_kit::{Error, FieldType, Result, tracing};
use serde_json::{Map, Value};

use crate::compression::Compression;
use crate::config::Format;
use crate::encoding::TextEncoding;

/// What pandas takes for "no value" unless told otherwise.
const PANDAS_NULLS: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Taken for "no value" in columns that are not text, where they cannot be a value. Not the
/// spellings of NaN: those are values that no JSON number can say.
const WORDS_FOR_NULL: [&str; 9] = ["NULL", "null", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "None"];

/// Options of pandas that change values; ignoring one would be a silent error.
const REFUSED: [&str; 14] = [
    "escapechar",
    "comment",
    "thousands",
    "decimal",
    "doublequote",
    "quoting",
    "skipfooter",
    "index_col",
    "converters",
    "parse_dates",
    "true_values",
    "false_values",
    "dialect",
    "lineterminator",
];

/// Where column names come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// The record after this many others, which are dropped.
    Row(usize),
    /// There is none: names are given, or are 0, 1, 2 …
    None,
}

/// Which texts are null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nulls {
    /// In every column, quoted or not, as pandas has it.
    pub(crate) everywhere: Vec<String>,
    /// In columns that are not text, unquoted.
    pub(crate) words: Vec<&'static str>,
    /// Whether an unquoted empty field is null in text columns too.
    pub(crate) empty: bool,
}

/// A column as `usecols` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ColumnRef {
    Name(String),
    Position(usize),
}

/// The types that `dtype` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Types {
    pub(crate) all: Option<FieldType>,
    pub(crate) columns: Vec<(String, FieldType)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) delimiter: u8,
    pub(crate) quote: Option<u8>,
    pub(crate) header: Header,
    pub(crate) names: Option<Vec<String>>,
    pub(crate) skip_lines: usize,
    pub(crate) skip_blank_lines: bool,
    pub(crate) nulls: Nulls,
    pub(crate) columns: Option<Vec<ColumnRef>>,
    pub(crate) rows: Option<u64>,
    pub(crate) types: Types,
    pub(crate) encoding: TextEncoding,
    pub(crate) compression: Compression,
}

impl Options {
    pub(crate) fn parse(text: Option<&str>, format: Format) -> Result<Self> {
        let text = text.map(str::trim).filter(|t| !t.is_empty()).unwrap_or("{}");
        let Ok(Value::Object(map)) = serde_json::from_str(text) else {
            return Err(Error::config(
                "Field 'reader_options' is not valid JSON object. Write it as one, such as {\"sep\": \";\"}.",
            ));
        };
        let mut options = Self {
            delimiter: if format == Format::Tsv { b'\t' } else { b',' },
            quote: Some(b'"'),
            header: if map.contains_key("names") { Header::None } else { Header::Row(0) },
            names: None,
            skip_lines: 0,
            skip_blank_lines: true,
            nulls: Nulls::default(),
            columns: None,
            rows: None,
            types: Types::default(),
            encoding: TextEncoding::Utf8,
            compression: Compression::Infer,
        };
        options.nulls = nulls(&map)?;
        for (key, value) in &map {
            options.set(key, value, format)?;
        }
        if Some(options.delimiter) == options.quote {
            return Err(Error::config("reader_options: sep and quotechar are the same; they must differ."));
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &Value, format: Format) -> Result<()> {
        let common = matches!(key, "encoding" | "compression" | "nrows" | "dtype" | "usecols");
        if !common && !matches!(format, Format::Csv | Format::Tsv) {
            tracing::warn!("The option {key:?} in reader_options has no effect on this format.");
            return Ok(());
        }
        match key {
            "sep" | "delimiter" => self.delimiter = one_byte(key, value)?,
            "quotechar" => self.quote = if value.is_null() { None } else { Some(one_byte(key, value)?) },
            "encoding" => {
                if !value.is_null() {
                    self.encoding = TextEncoding::by_name(
                        value.as_str().ok_or_else(|| wrong(key, "the name of an encoding"))?,
                    )?;
                }
            }
            "header" => {
                self.header = match value {
                    Value::Null => Header::None,
                    Value::String(s) if s == "infer" => self.header.clone(),
                    other => Header::Row(count(key, other)?),
                }
            }
            "names" => self.names = if value.is_null() { None } else { Some(strings(key, value)?) },
            "skiprows" => self.skip_lines = if value.is_null() { 0 } else { count(key, value)? },
            "skip_blank_lines" => {
                self.skip_blank_lines = value.as_bool().ok_or_else(|| wrong(key, "true or false"))?
            }
            "na_values" | "keep_default_na" => {}
            "usecols" => self.columns = if value.is_null() { None } else { Some(column_refs(value)?) },
            "nrows" => self.rows = if value.is_null() { None } else { Some(count(key, value)? as u64) },
            "dtype" => self.types = types(value)?,
            "compression" => {
                self.compression = match value {
                    Value::Null => Compression::None,
                    Value::String(s) => match s.as_str() {
                        "infer" => Compression::Infer,
                        "gzip" | "gz" => Compression::Gzip,
                        "zstd" => Compression::Zstd,
                        _ => return Err(wrong(key, "infer, gzip, zstd or null")),
                    },
                    _ => return Err(wrong(key, "infer, gzip, zstd or null")),
                }
            }
            refused if REFUSED.contains(&refused) => {
                let harmless = value.is_null()
                    || (key == "doublequote" && value == true)
                    || (key == "decimal" && value == ".")
                    || (key == "quoting" && value == 0);
                if !harmless {
                    return Err(Error::config(format!(
                        "reader_options: {key} is not supported, and leaving it out of account would change values; remove it."
                    )));
                }
            }
            unknown => {
                tracing::warn!("The option {unknown:?} in reader_options is not known and has no effect.")
            }
        }
        Ok(())
    }
}

fn wrong(key: &str, expected: &str) -> Error {
    Error::config(format!("reader_options: {key} must be {expected}."))
}

fn one_byte(key: &str, value: &Value) -> Result<u8> {
    let text = match value.as_str() {
        Some("\\t") => "\t",
        Some(text) => text,
        None => return Err(wrong(key, "one character in quotes")),
    };
    match text.as_bytes() {
        [b'\n' | b'\r' | 0] => Err(wrong(key, "a character other than a line end or NUL")),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err(wrong(key, "exactly one ASCII character; patterns are not supported")),
    }
}

fn count(key: &str, value: &Value) -> Result<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| wrong(key, "a whole number from 0"))
}

fn strings(key: &str, value: &Value) -> Result<Vec<String>> {
    let list = value
        .as_array()
        .and_then(|list| list.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
    list.ok_or_else(|| wrong(key, "a list of texts"))
}

fn column_refs(value: &Value) -> Result<Vec<ColumnRef>> {
    let list = value.as_array().ok_or_else(|| wrong("usecols", "a list of names or positions"))?;
    list.iter()
        .map(|v| match v {
            Value::String(name) => Ok(ColumnRef::Name(name.clone())),
            other => count("usecols", other).map(ColumnRef::Position),
        })
        .collect()
}

fn nulls(map: &Map<String, Value>) -> Result<Nulls> {
    let keep = match map.get("keep_default_na") {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_bool().ok_or_else(|| wrong("keep_default_na", "true or false"))?),
    };
    let mut everywhere = match map.get("na_values") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Object(_)) => {
            return Err(wrong(
                "na_values",
                "a text or a list of texts; one list per column is not supported",
            ));
        }
        Some(list) => strings("na_values", list)?,
    };
    if keep == Some(true) {
        everywhere.extend(PANDAS_NULLS.iter().map(|s| (*s).to_owned()));
    }
    let defaults = keep != Some(false);
    let words = if defaults { WORDS_FOR_NULL.to_vec() } else { Vec::new() };
    Ok(Nulls { everywhere, words, empty: defaults })
}

fn types(value: &Value) -> Result<Types> {
    Ok(match value {
        Value::Null => Types::default(),
        Value::String(name) => Types { all: Some(field_type(name)?), columns: Vec::new() },
        Value::Object(map) => {
            let one = |(column, name): (&String, &Value)| {
                let name = name
                    .as_str()
                    .ok_or_else(|| wrong("dtype", "a type's name, or an object of column and type"))?;
                Ok((column.clone(), field_type(name)?))
            };
            Types { all: None, columns: map.iter().map(one).collect::<Result<_>>()? }
        }
        _ => return Err(wrong("dtype", "a type's name, or an object of column and type")),
    })
}

fn field_type(name: &str) -> Result<FieldType> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "str" | "string" | "object" => FieldType::String,
        "int" | "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16" | "uint32" | "uint64"
        | "integer" => FieldType::Integer,
        "float" | "float32" | "float64" | "double" | "number" => FieldType::Number,
        "bool" | "boolean" => FieldType::Boolean,
        "date" => FieldType::Date,
        "datetime64" | "datetime64[ns]" => FieldType::TimestampWithoutTimezone,
        "datetime64[ns, utc]" => FieldType::TimestampWithTimezone,
        _ => {
            return Err(Error::config(format!(
                "reader_options: dtype {name:?} is not known; use string, int64, float64, bool, date or datetime64[ns]."
            )));
        }
    })
}
