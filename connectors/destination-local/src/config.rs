//! The config, as users write it.

use columnar::Codec;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where files go, and what they look like.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Config {
    /// The directory to write to; it is made when missing. Each stream gets its own
    /// directory below it: namespace/stream, or stream alone when it has no namespace.
    #[schemars(example = "/data/warehouse")]
    pub(crate) destination_path: String,
    /// What the files look like. Parquet when left out.
    #[serde(default)]
    pub(crate) format: Format,
    /// A file that has grown to this many megabytes is ended and the next one begun.
    #[serde(default = "default_file_size")]
    #[schemars(range(min = 1, max = 65536))]
    pub(crate) max_file_size_mb: u32,
}

fn default_file_size() -> u32 {
    256
}

fn default_block() -> u32 {
    16
}

fn default_delimiter() -> String {
    ",".into()
}

/// What the files look like.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "format_type", rename_all = "lowercase")]
pub(crate) enum Format {
    /// Typed columns, compressed. For analytics.
    #[schemars(title = "Parquet")]
    Parquet {
        /// How pages are compressed.
        #[serde(default)]
        compression_codec: ParquetCodec,
        /// Megabytes of memory for the open row groups of all streams together; a row
        /// group is written out when they are full.
        #[serde(default = "default_block")]
        #[schemars(range(min = 1, max = 4096))]
        block_size_mb: u32,
    },
    /// One JSON object per line; every value as the source wrote it.
    #[schemars(title = "JSON lines")]
    Jsonl {
        /// Whether files are compressed as a whole.
        #[serde(default)]
        compression: TextCompression,
    },
    /// One line per row below a header; RFC 4180. Null is an empty field, an empty string is "".
    #[schemars(title = "CSV")]
    Csv {
        /// The character between fields: one ASCII character, or \t.
        #[serde(default = "default_delimiter")]
        delimiter: String,
        /// Put ' before text that a spreadsheet would run as a formula (beginning with = + - @,
        /// tab or carriage return). Changes such values; leave it off unless people open the files in spreadsheets.
        #[serde(default)]
        escape_formulas: bool,
        /// Whether files are compressed as a whole.
        #[serde(default)]
        compression: TextCompression,
    },
}

impl Default for Format {
    fn default() -> Self {
        Self::Parquet { compression_codec: ParquetCodec::default(), block_size_mb: default_block() }
    }
}

/// How Parquet pages are compressed.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ParquetCodec {
    #[default]
    Snappy,
    Zstd,
    Gzip,
    Uncompressed,
}

impl From<ParquetCodec> for Codec {
    fn from(codec: ParquetCodec) -> Self {
        match codec {
            ParquetCodec::Snappy => Self::Snappy,
            ParquetCodec::Zstd => Self::Zstd,
            ParquetCodec::Gzip => Self::Gzip,
            ParquetCodec::Uncompressed => Self::None,
        }
    }
}

/// How text files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TextCompression {
    #[default]
    None,
    Gzip,
}

/// The delimiter as a byte: the character itself, `\t`, or a label such as `Comma: ,` or `Tab: \t`.
pub(crate) fn delimiter_byte(text: &str) -> Option<u8> {
    let bare = match text.split_once(": ") {
        Some((label, rest)) if label.chars().all(char::is_alphabetic) => match rest {
            "' '" => " ",
            rest => rest,
        },
        _ => text,
    };
    match bare.as_bytes() {
        b"\\t" => Some(b'\t'),
        [byte]
            if byte.is_ascii()
                && !matches!(byte, b'"' | b'\n' | b'\r' | 0)
                && !byte.is_ascii_alphanumeric() =>
        {
            Some(*byte)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::delimiter_byte;

    #[test]
    fn delimiters_come_bare_or_labelled() {
        for (text, expected) in [
            (",", Some(b',')),
            (";", Some(b';')),
            ("\\t", Some(b'\t')),
            ("\t", Some(b'\t')),
            ("Comma: ,", Some(b',')),
            ("Tab: \\t", Some(b'\t')),
            ("Space: ' '", Some(b' ')),
            ("Pipe: |", Some(b'|')),
            ("", None),
            ("\"", None),
            ("é", None),
            ("ab", None),
            ("\n", None),
            ("7", None),
            ("-", Some(b'-')),
        ] {
            assert_eq!(delimiter_byte(text), expected, "{text:?}");
        }
    }
}
