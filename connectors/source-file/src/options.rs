//! `reader_options`: a JSON object in a string, by the names that pandas uses.

use connector_kit::{Error, FieldType, Result, tracing};
use serde_json::{Map, Value};

use files_kit::compression::Compression;
use files_kit::encoding::TextEncoding;
use files_kit::options::{ColumnRef, Header, Nulls, Ragged, Types};
use files_kit::{Keys, Options};

use crate::config::{Config, Format, RaggedRows};

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

/// What messages call the options.
pub(crate) static KEYS: Keys = Keys {
    delimiter: "sep in reader_options",
    quote: "quotechar in reader_options",
    encoding: "encoding in reader_options",
    compression: "compression in reader_options",
    header: "header in reader_options",
    names: "names in reader_options",
    columns: "usecols in reader_options",
    columns_out: "choose other columns with usecols in reader_options",
    types: "dtype in reader_options",
    max_ratio: "max_decompression_ratio",
    max_record: "max_record_mib",
    ragged: "ragged_rows to null_and_report",
    format: "format",
    place: "url",
};

/// The options of a config.
pub(crate) fn of(config: &Config) -> Result<Options> {
    let mut options = parse(config.reader_options.as_deref(), config.format)?;
    options.max_ratio = config.max_decompression_ratio;
    options.max_record = config.max_record_bytes();
    options.ragged = match config.ragged_rows {
        RaggedRows::Error => Ragged::Error,
        RaggedRows::NullAndReport => Ragged::NullAndReport,
    };
    Ok(options)
}

fn parse(text: Option<&str>, format: Format) -> Result<Options> {
    let text = text.map(str::trim).filter(|t| !t.is_empty()).unwrap_or("{}");
    let Ok(Value::Object(map)) = serde_json::from_str(text) else {
        return Err(Error::config(
            "Field 'reader_options' is not valid JSON object. Write it as one, such as {\"sep\": \";\"}.",
        ));
    };
    let mut options = Options::new(&KEYS);
    if format == Format::Tsv {
        options.delimiter = b'\t';
    }
    if map.contains_key("names") {
        options.header = Header::None("");
    }
    options.nulls = nulls(&map)?;
    for (key, value) in &map {
        set(&mut options, key, value, format)?;
    }
    if Some(options.delimiter) == options.quote {
        return Err(Error::config("reader_options: sep and quotechar are the same; they must differ."));
    }
    Ok(options)
}

fn set(options: &mut Options, key: &str, value: &Value, format: Format) -> Result<()> {
    let common = matches!(key, "encoding" | "compression" | "nrows" | "dtype" | "usecols");
    if !common && !matches!(format, Format::Csv | Format::Tsv) {
        tracing::warn!("The option {key:?} in reader_options has no effect on this format.");
        return Ok(());
    }
    match key {
        "sep" | "delimiter" => options.delimiter = one_byte(key, value)?,
        "quotechar" => options.quote = if value.is_null() { None } else { Some(one_byte(key, value)?) },
        "encoding" => {
            if !value.is_null() {
                let name = value.as_str().ok_or_else(|| wrong(key, "the name of an encoding"))?;
                options.encoding = TextEncoding::by_name(name).ok_or_else(|| {
                        Error::config(format!(
                            "reader_options: the encoding {name:?} is not known; use utf-8, utf-16, latin-1, windows-1252 or another name of the Encoding Standard."
                        ))
                    })?;
            }
        }
        "header" => {
            options.header = match value {
                Value::Null => Header::None(""),
                Value::String(s) if s == "infer" => options.header.clone(),
                other => Header::Row(count(key, other)?),
            }
        }
        "names" => options.names = if value.is_null() { None } else { Some(strings(key, value)?) },
        "skiprows" => options.skip_lines = if value.is_null() { 0 } else { count(key, value)? },
        "skip_blank_lines" => {
            options.skip_blank_lines = value.as_bool().ok_or_else(|| wrong(key, "true or false"))?
        }
        "na_values" | "keep_default_na" => {}
        "usecols" => options.columns = if value.is_null() { None } else { Some(column_refs(value)?) },
        "nrows" => options.rows = if value.is_null() { None } else { Some(count(key, value)? as u64) },
        "dtype" => options.types = types(value)?,
        "compression" => {
            options.compression = match value {
                Value::Null => Compression::None,
                Value::String(s) => match s.as_str() {
                    "infer" => Compression::Infer,
                    "gzip" | "gz" => Compression::Gzip,
                    "zstd" => Compression::Zstd,
                    "bz2" | "bzip2" => Compression::Bzip2,
                    _ => return Err(wrong(key, "infer, gzip, zstd, bz2 or null")),
                },
                _ => return Err(wrong(key, "infer, gzip, zstd, bz2 or null")),
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
    Ok(Nulls { everywhere, in_text: true, words, empty: defaults })
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
