//! What objects may look like: the part of the form below `format`.

use columnar::{AvroCodec, Codec, ParquetOptions, TextFormat, TextStyle};
use connector_kit::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// What the objects look like.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "format_type")]
pub(crate) enum Format {
    /// Typed columns, compressed. For analytics.
    #[schemars(title = "Parquet: columnar storage")]
    Parquet {
        /// How pages are compressed.
        #[serde(default)]
        compression_codec: ParquetCodec,
        /// Megabytes of memory for the open row groups of all streams together; a row group is written out when they
        /// are full. Readers hold one row group at a time.
        #[serde(default = "default_block")]
        #[schemars(range(min = 1, max = 4096))]
        block_size_mb: u32,
        /// Taken for the sake of older configs: this writer aligns nothing and so pads nothing.
        #[serde(default = "default_padding")]
        max_padding_size_mb: u32,
        /// About how large a page is, before compression.
        #[serde(default = "default_kilobytes")]
        #[schemars(range(min = 1, max = 1_048_576))]
        page_size_kb: u32,
        /// How large the dictionary of one column may grow.
        #[serde(default = "default_kilobytes")]
        #[schemars(range(min = 1, max = 1_048_576))]
        dictionary_page_size_kb: u32,
        /// Whether columns whose values repeat get a dictionary.
        #[serde(default = "default_true")]
        dictionary_encoding: bool,
        /// What becomes of objects and arrays whose schema says what is in them: JSON text, or groups and lists, as
        /// Airbyte writes them. Where the schema does not say, they are JSON text.
        #[serde(default)]
        #[schemars(title = "Objects and arrays")]
        nested_values: NestedValues,
    },
    /// Records in rows, compressed in blocks. Objects and arrays are records and arrays where the schema says what is in them.
    #[schemars(title = "Avro: Apache Avro")]
    Avro {
        /// How blocks are compressed.
        #[serde(default)]
        compression_codec: AvroCompression,
    },
    /// Comma-separated values below a header; RFC 4180. Null is an empty field, an empty string is "".
    #[schemars(title = "CSV: comma-separated values")]
    #[serde(rename = "CSV")]
    Csv {
        /// Whether the record's fields become columns, or one column _airbyte_data holds it as JSON.
        #[serde(default)]
        flattening: Flattening,
        /// Whether objects are compressed as a whole.
        #[serde(default)]
        compression: TextCompression,
    },
    /// One JSON object per line; every value as the source wrote it.
    #[schemars(title = "JSON Lines: newline-delimited JSON")]
    #[serde(rename = "JSONL")]
    Jsonl {
        /// Whether the record's fields stand beside the added ones, or in one object _airbyte_data.
        #[serde(default)]
        flattening: Flattening,
        /// Whether objects are compressed as a whole.
        #[serde(default)]
        compression: TextCompression,
    },
}

/// Whether a record's fields stand beside the added ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum Flattening {
    #[default]
    #[serde(rename = "No flattening")]
    None,
    #[serde(rename = "Root level flattening")]
    Root,
}

/// How text objects are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "compression_type")]
pub(crate) enum TextCompression {
    /// Not at all.
    #[schemars(title = "No compression")]
    #[serde(rename = "No Compression")]
    None {},
    /// As one gzip file each.
    #[schemars(title = "GZIP")]
    #[serde(rename = "GZIP")]
    Gzip {},
}

impl Default for TextCompression {
    fn default() -> Self {
        Self::None {}
    }
}

/// What becomes of objects and arrays in Parquet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum NestedValues {
    #[default]
    #[serde(rename = "JSON text")]
    JsonText,
    #[serde(rename = "Groups and lists")]
    GroupsAndLists,
}

/// How Avro blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "codec")]
pub(crate) enum AvroCompression {
    /// Not at all.
    #[schemars(title = "No compression")]
    #[serde(rename = "no compression")]
    None {},
    /// As zip does.
    #[schemars(title = "Deflate")]
    Deflate {
        /// From 0, stored as it is, to 9, the smallest.
        #[serde(default)]
        #[schemars(range(min = 0, max = 9))]
        compression_level: u32,
    },
    /// Small and slow.
    #[schemars(title = "bzip2")]
    #[serde(rename = "bzip2")]
    Bzip2 {},
    /// The smallest, and the slowest.
    #[schemars(title = "xz")]
    #[serde(rename = "xz")]
    Xz {
        /// From 0 to 9.
        #[serde(default = "default_xz")]
        #[schemars(range(min = 0, max = 9))]
        compression_level: u32,
    },
    /// Small and fast.
    #[schemars(title = "zstandard")]
    #[serde(rename = "zstandard")]
    Zstandard {
        /// From -5, the fastest, to 22, the smallest.
        #[serde(default = "default_zstandard")]
        #[schemars(range(min = -5, max = 22))]
        compression_level: i32,
        /// Whether each block ends in a checksum.
        #[serde(default)]
        include_checksum: bool,
    },
    /// The fastest.
    #[schemars(title = "snappy")]
    #[serde(rename = "snappy")]
    Snappy {},
}

impl Default for AvroCompression {
    fn default() -> Self {
        Self::None {}
    }
}

/// How Parquet pages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum ParquetCodec {
    #[default]
    Uncompressed,
    Snappy,
    Gzip,
    Lzo,
    Brotli,
    Lz4,
    Zstd,
}

fn default_block() -> u32 {
    128
}

fn default_padding() -> u32 {
    8
}

fn default_kilobytes() -> u32 {
    1024
}

fn default_xz() -> u32 {
    6
}

fn default_zstandard() -> i32 {
    3
}

fn default_true() -> bool {
    true
}

/// What the config says about objects, ready for use.
#[derive(Clone, Debug)]
pub(crate) enum Style {
    Parquet { options: ParquetOptions, block: usize, nested: bool },
    Avro { codec: AvroCodec },
    Text { style: TextStyle, gzip: bool },
}

impl Style {
    pub(crate) fn new(format: &Format) -> Result<Self> {
        let text = |format, flattening, compression| Self::Text {
            style: TextStyle { format, flat: flattening == Flattening::Root },
            gzip: compression == TextCompression::Gzip {},
        };
        Ok(match *format {
            Format::Csv { flattening, compression } => {
                text(TextFormat::Csv { delimiter: b',', escape_formulas: false }, flattening, compression)
            }
            Format::Jsonl { flattening, compression } => text(TextFormat::Jsonl, flattening, compression),
            Format::Avro { compression_codec } => Self::Avro {
                codec: match compression_codec {
                    AvroCompression::None {} => AvroCodec::Null,
                    AvroCompression::Deflate { compression_level } => AvroCodec::Deflate(compression_level),
                    AvroCompression::Bzip2 {} => AvroCodec::Bzip2,
                    AvroCompression::Xz { compression_level } => AvroCodec::Xz(compression_level),
                    AvroCompression::Zstandard { compression_level, include_checksum } => {
                        AvroCodec::Zstandard { level: compression_level, checksum: include_checksum }
                    }
                    AvroCompression::Snappy {} => AvroCodec::Snappy,
                },
            },
            Format::Parquet {
                compression_codec,
                nested_values,
                block_size_mb,
                page_size_kb,
                dictionary_page_size_kb,
                dictionary_encoding,
                max_padding_size_mb,
            } => {
                if max_padding_size_mb != default_padding() {
                    connector_kit::tracing::info!("max_padding_size_mb has no effect: nothing is padded.");
                }
                let codec = match compression_codec {
                    ParquetCodec::Uncompressed => Codec::None,
                    ParquetCodec::Snappy => Codec::Snappy,
                    ParquetCodec::Gzip => Codec::Gzip,
                    ParquetCodec::Brotli => Codec::Brotli,
                    ParquetCodec::Lz4 => Codec::Lz4,
                    ParquetCodec::Zstd => Codec::Zstd,
                    ParquetCodec::Lzo => {
                        return Err(Error::config(
                            "format.compression_codec LZO cannot be written: no maintained encoder for it exists; choose SNAPPY, or LZ4 for speed, or ZSTD for size.",
                        ));
                    }
                };
                let mut options = ParquetOptions::new(
                    codec,
                    concat!("ferrybyte destination-s3 ", env!("CARGO_PKG_VERSION")),
                );
                options.page_bytes = (page_size_kb as usize) << 10;
                options.dictionary_bytes =
                    if dictionary_encoding { (dictionary_page_size_kb as usize) << 10 } else { 0 };
                let nested = nested_values == NestedValues::GroupsAndLists;
                Self::Parquet { options, block: (block_size_mb as usize) << 20, nested }
            }
        })
    }

    /// Whether objects and arrays are more than text.
    pub(crate) fn nests(&self) -> bool {
        matches!(self, Self::Parquet { nested: true, .. } | Self::Avro { .. })
    }

    /// How many bytes of JSON make one byte of an object, about.
    pub(crate) fn factor(&self) -> u64 {
        match self {
            Self::Parquet { .. } => 4,
            Self::Avro { codec } if *codec != AvroCodec::Null => 4,
            Self::Avro { .. } => 2,
            Self::Text { .. } => 1,
        }
    }

    /// The ending of file names, with its dot.
    pub(crate) fn extension(&self) -> &'static str {
        match self {
            Self::Parquet { .. } => ".parquet",
            Self::Avro { .. } => ".avro",
            Self::Text { style, gzip } => match (style.format, gzip) {
                (TextFormat::Jsonl, false) => ".jsonl",
                (TextFormat::Jsonl, true) => ".jsonl.gz",
                (TextFormat::Csv { .. }, false) => ".csv",
                (TextFormat::Csv { .. }, true) => ".csv.gz",
            },
        }
    }

    pub(crate) fn content_type(&self) -> &'static str {
        match self {
            Self::Parquet { .. } => "application/vnd.apache.parquet",
            Self::Avro { .. } => "application/avro",
            Self::Text { gzip: true, .. } => "application/gzip",
            Self::Text { style: TextStyle { format: TextFormat::Jsonl, .. }, .. } => "application/x-ndjson",
            Self::Text { .. } => "text/csv",
        }
    }
}
