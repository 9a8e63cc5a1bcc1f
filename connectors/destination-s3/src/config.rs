//! The config, as users write it: Airbyte's keys, so that a config made for it can be pasted.

use connector_kit::{Error, Result, Secret};
use s3_kit::{Credentials, Keys, Settings};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::formats::Format;

/// Where objects go, how they are named, and what they look like.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Config {
    /// The access key's public half. Leave both halves out to use a role or the environment's credentials.
    #[serde(default)]
    #[schemars(title = "Access key ID")]
    pub(crate) access_key_id: Option<Secret>,
    /// The access key's secret half.
    #[serde(default)]
    #[schemars(title = "Secret access key")]
    pub(crate) secret_access_key: Option<Secret>,
    /// A role to take on with the environment's credentials; not used when an access key is given.
    #[serde(default)]
    #[schemars(title = "Role ARN", example = &"arn:aws:iam::123456789012:role/lake-writer")]
    pub(crate) role_arn: Option<String>,
    /// The bucket, by its name alone.
    #[schemars(title = "Bucket", example = &"lake")]
    pub(crate) s3_bucket_name: String,
    /// The folder in the bucket below which everything is written. The lists by which this destination knows its own
    /// objects are kept in its subfolder _ferry.
    #[schemars(title = "Path in the bucket", example = &"airbyte-data")]
    pub(crate) s3_bucket_path: String,
    /// The bucket's region. Leave it empty for stores without regions, or to use the environment's.
    #[serde(default)]
    #[schemars(title = "Region", example = &"eu-central-1")]
    pub(crate) s3_bucket_region: String,
    /// What the objects look like.
    pub(crate) format: Format,
    /// The address of a store that is not Amazon's, such as MinIO's.
    #[serde(default)]
    #[schemars(title = "Endpoint", example = &"http://localhost:9000")]
    pub(crate) s3_endpoint: Option<String>,
    /// How folders below the path are named, from ${NAMESPACE}, ${STREAM_NAME}, ${YEAR}, ${MONTH}, ${DAY}, ${HOUR},
    /// ${MINUTE}, ${SECOND}, ${MILLISECOND}, ${EPOCH} and ${UUID}. What follows the last slash begins the file's name; a
    /// format that ends in ${STREAM_NAME} names a folder.
    #[serde(default)]
    #[schemars(title = "Path format", example = &"${NAMESPACE}/${STREAM_NAME}/")]
    pub(crate) s3_path_format: Option<String>,
    /// How files are named, from {part_number}, {date}, {date:yyyy_MM}, {timestamp}, {timestamp:millis},
    /// {timestamp:micros}, {sync_id} and {format_extension}.
    #[serde(default)]
    #[schemars(title = "File name pattern", example = &"{date}_{part_number}{format_extension}")]
    pub(crate) file_name_pattern: Option<String>,
    /// An object that has grown to about this many megabytes is ended and the next one begun.
    #[serde(default = "default_object_size")]
    #[schemars(title = "Object size", range(min = 1, max = 100_000))]
    pub(crate) object_size_mb: u32,
}

fn default_object_size() -> u32 {
    200
}

const DEFAULT_PATH: &str = "${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_";
const DEFAULT_FILE: &str = "{part_number}{format_extension}";

/// What the form calls things, for errors.
const KEYS: Keys = Keys {
    bucket: "s3_bucket_name",
    region: "s3_bucket_region",
    endpoint: "s3_endpoint",
    access_key: "access_key_id",
    secret_key: "secret_access_key",
    role: "role_arn",
};

fn given(text: Option<&String>) -> Option<&str> {
    text.map(|t| t.trim()).filter(|t| !t.is_empty())
}

impl Config {
    /// The store.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let secret = |key: &Option<Secret>| key.clone().filter(|s| !s.expose().trim().is_empty());
        let credentials = match (secret(&self.access_key_id), secret(&self.secret_access_key)) {
            (Some(id), Some(secret)) => {
                if given(self.role_arn.as_ref()).is_some() {
                    connector_kit::tracing::warn!("role_arn is not used, because access_key_id is given.");
                }
                Credentials::Static { id, secret }
            }
            (None, None) => match given(self.role_arn.as_ref()) {
                Some(arn) => Credentials::Role { arn: arn.to_owned(), session: "airbyte-sts-session" },
                None => Credentials::Environment,
            },
            _ => {
                return Err(Error::config(
                    "access_key_id and secret_access_key go together: give both, or neither to use a role or the environment's credentials.",
                ));
            }
        };
        Ok(Settings {
            bucket: self.s3_bucket_name.trim().to_owned(),
            region: self.s3_bucket_region.trim().to_owned(),
            endpoint: given(self.s3_endpoint.as_ref()).unwrap_or_default().to_owned(),
            credentials,
            keys: KEYS,
        })
    }

    /// The folder below which everything is written, without slashes at its ends; empty for the bucket itself.
    pub(crate) fn root(&self) -> Result<String> {
        let parts: Vec<&str> = self.s3_bucket_path.trim().split('/').filter(|p| !p.is_empty()).collect();
        no_dots("s3_bucket_path", &parts)?;
        Ok(parts.join("/"))
    }

    pub(crate) fn path_format(&self) -> Result<String> {
        let format = given(self.s3_path_format.as_ref()).unwrap_or(DEFAULT_PATH);
        no_dots("s3_path_format", &format.split('/').collect::<Vec<_>>())?;
        // Airbyte would glue the file's name to the stream's, and all streams into one folder.
        let folder = format.ends_with("${STREAM_NAME}");
        Ok(if folder { format!("{format}/") } else { format.to_owned() })
    }

    pub(crate) fn file_pattern(&self) -> Result<String> {
        let pattern = given(self.file_name_pattern.as_ref()).unwrap_or(DEFAULT_FILE);
        if pattern.contains('/') {
            return Err(Error::config(
                "file_name_pattern is a file's name: put folders into s3_path_format.",
            ));
        }
        Ok(pattern.to_owned())
    }
}

/// Stores allow such keys, and most of what reads them does not.
fn no_dots(key: &str, parts: &[&str]) -> Result<()> {
    if parts.iter().any(|p| matches!(*p, "." | "..")) {
        return Err(Error::config(format!("{key} must have no parts that are . or .. alone; name folders.")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Config;
    use serde_json::{Value, json};

    fn config(more: Value) -> Config {
        let mut config =
            json!({"s3_bucket_name": "lake", "s3_bucket_path": "a", "format": {"format_type": "JSONL"}});
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn a_path_format_that_ends_in_the_streams_name_is_a_folder() {
        for (given, expected) in [
            ("${NAMESPACE}/${STREAM_NAME}", "${NAMESPACE}/${STREAM_NAME}/"),
            ("${NAMESPACE}/${STREAM_NAME}_", "${NAMESPACE}/${STREAM_NAME}_"),
            ("", super::DEFAULT_PATH),
        ] {
            assert_eq!(config(json!({"s3_path_format": given})).path_format().unwrap(), expected);
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for more in [json!({"s3_bucket_path": "a/../b"}), json!({"s3_bucket_path": "./b"})] {
            assert!(config(more).root().unwrap_err().message().contains("s3_bucket_path"));
        }
        let error = config(json!({"s3_path_format": "../${STREAM_NAME}/"})).path_format().unwrap_err();
        assert!(error.message().contains("s3_path_format"), "{error}");
        assert!(config(json!({"file_name_pattern": "a/{part_number}"})).file_pattern().is_err());
        assert_eq!(config(json!({"s3_bucket_path": "/a//b/"})).root().unwrap(), "a/b");
    }

    #[test]
    fn half_an_access_key_is_refused_and_an_empty_one_is_none() {
        let half = config(json!({"access_key_id": "AKIA"})).settings().unwrap_err();
        assert!(half.message().contains("secret_access_key"), "{half}");
        let none = config(
            json!({"access_key_id": "", "secret_access_key": "", "role_arn": "arn:aws:iam::1:role/x"}),
        );
        assert!(matches!(none.settings().unwrap().credentials, s3_kit::Credentials::Role { .. }));
    }
}
