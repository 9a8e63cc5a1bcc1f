//! The config, with the keys of Airbyte's file source, and a few of our own.

use connector_kit::{Error, Result, Secret};
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
    /// An object of Amazon S3, or of another store that speaks its protocol; url is bucket/key.
    #[serde(rename = "S3")]
    #[schemars(title = "S3: Amazon Web Services")]
    S3 {
        /// The access key's public half. Without it the object has to be open to all.
        aws_access_key_id: Option<Secret>,
        /// The access key's secret half.
        aws_secret_access_key: Option<Secret>,
        /// The region of the bucket.
        #[serde(default = "first_region")]
        region: String,
        /// The address of a store that is not Amazon's. Empty for Amazon's.
        #[serde(default)]
        endpoint: String,
        /// Also read from loopback and private addresses, and over plain http there.
        #[serde(default)]
        allow_private_addresses: bool,
    },
    /// An object of Google Cloud Storage that is open to all; url is bucket/key.
    #[serde(rename = "GCS")]
    #[schemars(title = "GCS: Google Cloud Storage")]
    Gcs {
        /// Not supported yet; leave it out, and give public objects.
        service_account_json: Option<Secret>,
    },
    /// A file on an SSH server, by its file transfer subsystem.
    #[serde(rename = "SSH")]
    #[schemars(title = "SSH: Secure Shell")]
    Ssh(Sftp),
    /// As SSH; the transfer is SFTP's, which all of them offer.
    #[serde(rename = "SCP")]
    #[schemars(title = "SCP: Secure copy protocol")]
    Scp(Sftp),
    /// As SSH.
    #[serde(rename = "SFTP")]
    #[schemars(title = "SFTP: Secure File Transfer Protocol")]
    Sftp(Sftp),
    /// A file on the machine that runs the connector.
    #[serde(rename = "local")]
    #[schemars(title = "Local Filesystem")]
    Local {},
}

fn first_region() -> String {
    "us-east-1".to_owned()
}

/// An SSH server, and who asks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Sftp {
    /// The user to log in as.
    pub(crate) user: String,
    /// That user's password.
    pub(crate) password: Option<Secret>,
    /// That user's private key, without a passphrase, instead of a password.
    #[schemars(extend("multiline" = true))]
    pub(crate) private_key: Option<Secret>,
    /// The server's name or address.
    pub(crate) host: String,
    /// The server's port.
    #[serde(default = "ssh_port")]
    pub(crate) port: String,
    /// The fingerprint of the server's key, as ssh-keygen -lf prints it (SHA256:…). Without it, whatever key the server
    /// shows is accepted, with a warning that names its fingerprint.
    pub(crate) host_key: Option<String>,
    /// Also connect to loopback and private addresses. Off, because whoever can edit a config could otherwise reach
    /// servers that only this machine can.
    #[serde(default)]
    pub(crate) allow_private_addresses: bool,
}

fn ssh_port() -> String {
    "22".to_owned()
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
        match &self.provider {
            Provider::Gcs { service_account_json: Some(key) } if !key.expose().trim().is_empty() => {
                return Err(Error::config(
                    "service_account_json is not supported yet; leave it out if the object is public, or use the provider HTTPS with a signed address.",
                ));
            }
            Provider::S3 { aws_access_key_id: id, aws_secret_access_key: secret, .. } => {
                let given =
                    |key: &Option<Secret>| key.as_ref().is_some_and(|k| !k.expose().trim().is_empty());
                if given(id) != given(secret) {
                    return Err(Error::config(
                        "aws_access_key_id and aws_secret_access_key go together: give both, or neither for a public object.",
                    ));
                }
            }
            Provider::Ssh(server) | Provider::Scp(server) | Provider::Sftp(server) => server.validate()?,
            _ => {}
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

impl Sftp {
    fn validate(&self) -> Result<()> {
        self.port_number()?;
        if self.host.trim().is_empty() || self.user.trim().is_empty() {
            return Err(Error::config("host and user of the provider must not be empty."));
        }
        if self.password.is_none() == self.private_key.is_none() {
            return Err(Error::config("Give either password or private_key of the provider."));
        }
        Ok(())
    }

    pub(crate) fn port_number(&self) -> Result<u16> {
        let port = self.port.trim().parse().ok().filter(|port| *port != 0);
        port.ok_or_else(|| Error::config("port of the provider must be a number from 1 to 65535."))
    }
}
