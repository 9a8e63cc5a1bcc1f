//! The config, with the keys of Airbyte's S3 source.

use connector_kit::{Error, Result, Secret};
use s3_kit::{Keys, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::format::Format;
use crate::time;

/// The longest record, unless the config says otherwise.
const DEFAULT_RECORD_MIB: u32 = 16;

/// A bucket, and the streams that its files are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Config {
    /// The name of the bucket.
    pub(crate) bucket: String,
    /// Each stream is the files that its globs match, all of one format.
    pub(crate) streams: Vec<StreamConfig>,
    /// Only files written at this time or later are read.
    #[schemars(example = "2026-01-01T00:00:00.000000Z")]
    pub(crate) start_date: Option<String>,
    /// As whom the bucket is read.
    #[serde(default)]
    pub(crate) credentials: Credentials,
    /// The address of a store that is not Amazon's, such as http://localhost:9000. Empty for Amazon's.
    #[serde(default)]
    pub(crate) endpoint: String,
    /// The region of the bucket. Left out, it is the environment's.
    #[schemars(example = "eu-central-1")]
    pub(crate) region_name: Option<String>,
    /// How files are handed on.
    #[serde(default)]
    #[expect(dead_code, reason = "its schema refuses the one that is not there")]
    pub(crate) delivery_method: DeliveryMethod,
    /// The longest record accepted, in MiB. Memory grows to about four times the longest record met.
    #[schemars(range(min = 1, max = 256))]
    #[serde(default = "default_record_mib")]
    pub(crate) max_record_mib: u32,
    /// A compressed file that yields more than this many bytes for each of its own is not read on, as a guard against
    /// files made to fill memory or disks. Raise it for data that truly repeats itself so much.
    #[schemars(range(min = 1))]
    #[serde(default = "default_ratio")]
    pub(crate) max_decompression_ratio: u32,
}

fn default_record_mib() -> u32 {
    DEFAULT_RECORD_MIB
}

fn default_ratio() -> u32 {
    files_kit::options::DEFAULT_RATIO
}

/// As whom the bucket is read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "auth_type")]
pub(crate) enum Credentials {
    /// An access key of an IAM user, or of a store with keys of its own.
    #[serde(rename = "iam_user")]
    #[schemars(title = "IAM User")]
    User {
        /// The access key's public half.
        aws_access_key_id: Secret,
        /// The access key's secret half.
        aws_secret_access_key: Secret,
    },
    /// A role, taken on with what the environment has.
    #[serde(rename = "iam_role")]
    #[schemars(title = "IAM Role")]
    Role {
        /// The role's ARN.
        role_arn: String,
    },
    /// What the environment has: variables, the profile, a web identity, the container's or machine's role.
    #[serde(rename = "default_credentials")]
    #[schemars(title = "Default Credentials")]
    Environment {},
    /// Nobody: for buckets that are open to all.
    #[serde(rename = "anonymous")]
    #[schemars(title = "Public Bucket")]
    Anonymous {},
}

impl Default for Credentials {
    fn default() -> Self {
        Self::Environment {}
    }
}

/// How files are handed on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "delivery_type")]
pub(crate) enum DeliveryMethod {
    /// Their rows are sent as records.
    #[serde(rename = "use_records_transfer")]
    #[schemars(title = "Replicate Records")]
    Records {},
}

impl Default for DeliveryMethod {
    fn default() -> Self {
        Self::Records {}
    }
}

/// One stream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct StreamConfig {
    /// The stream's name, and so that of the table at the destination.
    pub(crate) name: String,
    /// Which files belong to it: * stands for anything but a slash, ** for any folders, ? for one character, [a-c] for
    /// one of several. A file that several of them match is read once.
    #[serde(default = "everything")]
    pub(crate) globs: Vec<String>,
    /// How its files are written. Compression with gzip, zstd or bzip2 is recognised.
    pub(crate) format: Format,
    /// What happens to a record with a value that does not fit its column. With Emit Record the value becomes null, which
    /// is noted in the record. With Skip Record the record is left out and counted. With Wait for Discover the stream
    /// ends with an error until the schema is discovered again.
    #[serde(default)]
    pub(crate) validation_policy: ValidationPolicy,
    /// The columns and their types as a JSON object in a string; types are string, number, integer, boolean, object, array.
    /// Without it, files are looked at.
    #[schemars(example = r#"{"id": "integer", "name": "string"}"#)]
    pub(crate) input_schema: Option<String>,
    /// Send each record whole, as an object in the one column data.
    #[serde(default)]
    pub(crate) schemaless: bool,
    /// Of files not in the state, when it is full at 10,000 files: those written within so many days are read even
    /// if they are older than all in the state.
    #[serde(default = "three")]
    #[schemars(range(min = 0))]
    pub(crate) days_to_sync_if_history_is_full: u32,
    /// How many of the newest files are looked at for the columns. Left out, ten.
    #[schemars(range(min = 1))]
    pub(crate) recent_n_files_to_read_for_schema_discovery: Option<u32>,
    /// Look only at the first file found for the columns.
    #[serde(default)]
    pub(crate) use_first_found_file_for_schema_discovery: bool,
    /// Read nothing but the footer of a Parquet file when the connection is checked. That is all that is read here in any
    /// case.
    #[serde(default)]
    #[expect(dead_code, reason = "pasted configs have it")]
    pub(crate) skip_full_check_for_parquet: bool,
    /// A prefix of keys, from configs of older versions.
    pub(crate) legacy_prefix: Option<String>,
}

fn everything() -> Vec<String> {
    vec!["**".to_owned()]
}

fn three() -> u32 {
    3
}

/// What happens to a record that does not fit the schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum ValidationPolicy {
    #[default]
    #[serde(rename = "Emit Record")]
    Emit,
    #[serde(rename = "Skip Record")]
    Skip,
    #[serde(rename = "Wait for Discover")]
    Wait,
}

impl Config {
    /// What the schema cannot say.
    pub(crate) fn validate(&self) -> Result<()> {
        if self.streams.is_empty() {
            return Err(Error::config("streams is empty; describe at least one stream of files."));
        }
        for (i, stream) in self.streams.iter().enumerate() {
            let name = &stream.name;
            if name.trim().is_empty() {
                return Err(Error::config(format!(
                    "streams: the name of stream {} is empty; give it one.",
                    i + 1
                )));
            }
            if self.streams[..i].iter().any(|other| other.name == *name) {
                return Err(Error::config(format!(
                    "streams: two are called {name}; give each a name of its own."
                )));
            }
            if stream.globs.is_empty() {
                return Err(Error::config(format!(
                    "streams: globs of {name} is empty, so it has no files; write ** for all."
                )));
            }
            let ways = [
                stream.schemaless,
                stream.input_schema.as_ref().is_some_and(|s| !s.trim().is_empty()),
                stream.recent_n_files_to_read_for_schema_discovery.is_some(),
                stream.use_first_found_file_for_schema_discovery,
            ];
            if ways.iter().filter(|set| **set).count() > 1 {
                return Err(Error::config(format!(
                    "streams: {name} has more than one of schemaless, input_schema, recent_n_files_to_read_for_schema_discovery and use_first_found_file_for_schema_discovery; choose one."
                )));
            }
        }
        self.start().map(|_| ())
    }

    /// The start date in microseconds since 1970.
    pub(crate) fn start(&self) -> Result<Option<i64>> {
        let Some(text) = self.start_date.as_deref().map(str::trim).filter(|t| !t.is_empty()) else {
            return Ok(None);
        };
        time::parse(text).map(Some).ok_or_else(|| {
            Error::config("start_date is no point in time; write it like 2026-01-31T00:00:00.000000Z.")
        })
    }

    /// The bucket as the kit takes it.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            bucket: self.bucket.trim().to_owned(),
            region: self.region_name.clone().unwrap_or_default(),
            endpoint: self.endpoint.clone(),
            credentials: match &self.credentials {
                Credentials::User { aws_access_key_id, aws_secret_access_key } => {
                    s3_kit::Credentials::Static {
                        id: aws_access_key_id.clone(),
                        secret: aws_secret_access_key.clone(),
                    }
                }
                Credentials::Role { role_arn } => {
                    s3_kit::Credentials::Role { arn: role_arn.clone(), session: "airbyte-source-s3" }
                }
                Credentials::Environment {} => s3_kit::Credentials::Environment,
                Credentials::Anonymous {} => s3_kit::Credentials::Anonymous,
            },
            keys: Keys {
                bucket: "bucket",
                region: "region_name",
                endpoint: "endpoint",
                access_key: "aws_access_key_id",
                secret_key: "aws_secret_access_key",
                role: "role_arn",
            },
        }
    }
}
