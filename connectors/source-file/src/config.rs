//! The config, with the keys of Airbyte's file source, and a few of our own.

use connector_kit::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Decompressed bytes per compressed byte above which a file counts as a bomb.
const DEFAULT_RATIO: u32 = 200;
/// The longest record, unless the config says otherwise.
const DEFAULT_RECORD_MIB: u32 = 16;

/// One file, read as one stream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Config {
    /// The name of the stream, and so of the table at the destination.
    pub(crate) dataset_name: String,
    /// How the file is written. A file compressed with gzip or zstd needs nothing here: it is recognised.
    #[serde(default)]
    pub(crate) format: Format,
    /// A JSON object, in a string, with options for reading text formats, by the names that pandas gives them: sep,
    /// encoding, header, names, quotechar, skiprows, na_values, keep_default_na, usecols, nrows, dtype, compression.
    #[schemars(example = r#"{"sep": ";", "encoding": "latin-1"}"#)]
    pub(crate) reader_options: Option<String>,
    /// Where the file is: a path on this machine, or an address, as the provider says.
    #[schemars(example = "/data/orders.csv.gz", example = "https://example.com/orders.csv")]
    pub(crate) url: String,
    /// Where the file is kept.
    pub(crate) provider: Provider,
    /// What happens to a CSV row with more or fewer fields than the header. With error the sync ends and names the line.
    /// With null_and_report missing fields become null, a row with too many becomes null in every column, and each such
    /// null is noted in the record's changes.
    #[serde(default)]
    pub(crate) ragged_rows: RaggedRows,
    /// The longest record accepted, in MiB. Memory grows to about four times the longest record met.
    #[schemars(range(min = 1, max = 256))]
    #[serde(default = "default_record_mib")]
    pub(crate) max_record_mib: u32,
    /// A compressed file that yields more than this many bytes for each of its own ends the sync, as a guard against
    /// files made to fill memory or disks. Raise it for data that truly repeats itself so much.
    #[schemars(range(min = 1))]
    #[serde(default = "default_ratio")]
    pub(crate) max_decompression_ratio: u32,
}

fn default_record_mib() -> u32 {
    DEFAULT_RECORD_MIB
}

fn default_ratio() -> u32 {
    DEFAULT_RATIO
}

/// The formats read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Csv,
    Tsv,
    Json,
    Jsonl,
    Parquet,
}

/// Where the file is kept.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "storage")]
pub(crate) enum Provider {
    /// Public address on the web, read over HTTPS.
    #[serde(rename = "HTTPS")]
    #[schemars(title = "HTTPS: Public Web")]
    Https {
        /// Say who is asking in the User-Agent header; some servers insist.
        #[serde(default)]
        user_agent: bool,
        /// Also read from loopback and private addresses, and over plain http there. Off, because whoever can edit a
        /// config could otherwise reach servers that only this machine can.
        #[serde(default)]
        allow_private_addresses: bool,
    },
    /// A file on the machine that runs the connector.
    #[serde(rename = "local")]
    #[schemars(title = "Local Filesystem")]
    Local {},
}

/// What to do with a row that has not as many fields as the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RaggedRows {
    #[default]
    Error,
    NullAndReport,
}

impl Config {
    /// What the schema cannot say.
    pub(crate) fn validate(&self) -> Result<()> {
        if self.dataset_name.trim().is_empty() {
            return Err(Error::config("dataset_name is empty; it becomes the stream's name."));
        }
        if self.url.trim().is_empty() {
            return Err(Error::config("url is empty; write the file's path or address there."));
        }
        if self.url.contains("docs.google.com/spreadsheets") {
            return Err(Error::config(
                "url is a Google spreadsheet, not a file; export it as CSV and give the file's address.",
            ));
        }
        Ok(())
    }

    pub(crate) fn max_record_bytes(&self) -> usize {
        self.max_record_mib as usize * (1 << 20)
    }
}
