//! The store in which files are put for Dremio to load: its part of the config, and what it is reached by.

use connector_kit::{Error, Result, Secret};
use s3_kit::{Bytes, Condition, Credentials, Keys, Settings, Store};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::names::Place;

/// A folder in a bucket that Dremio has as a source, too.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Staging {
    /// The same folder as Dremio sees it: the name of the source, then the folders, with slashes. A source of Dremio's shows
    /// buckets as its first folders.
    #[schemars(example = &"minio/lake/staging")]
    pub(crate) location: String,
    /// The bucket, by its name alone.
    #[schemars(title = "Bucket", example = &"lake")]
    pub(crate) s3_bucket_name: String,
    /// The folder in the bucket. Files are removed again once they are loaded.
    #[serde(default)]
    #[schemars(title = "Path in the bucket", example = &"staging")]
    pub(crate) s3_bucket_path: String,
    /// The bucket's region. Leave it empty for stores without regions, or to use the environment's.
    #[serde(default)]
    #[schemars(title = "Region", example = &"eu-central-1")]
    pub(crate) s3_bucket_region: String,
    /// The address of a store that is not Amazon's, such as MinIO's.
    #[serde(default)]
    #[schemars(title = "Endpoint", example = &"http://localhost:9000")]
    pub(crate) s3_endpoint: Option<String>,
    /// The access key's public half. Leave both halves out to use the environment's credentials.
    #[serde(default)]
    #[schemars(title = "Access key ID")]
    pub(crate) access_key_id: Option<Secret>,
    /// The access key's secret half.
    #[serde(default)]
    #[schemars(title = "Secret access key")]
    pub(crate) secret_access_key: Option<Secret>,
}

const KEYS: Keys = Keys {
    bucket: "staging.s3_bucket_name",
    region: "staging.s3_bucket_region",
    endpoint: "staging.s3_endpoint",
    access_key: "staging.access_key_id",
    secret_key: "staging.secret_access_key",
    role: "staging.access_key_id",
};

/// Where files are put, and where Dremio finds them.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    store: Store,
    /// Empty, or with a slash at its end.
    prefix: String,
    location: String,
}

impl Stage {
    pub(crate) fn new(config: &Staging) -> Result<Self> {
        let filled = |s: &Option<Secret>| s.clone().filter(|s| !s.expose().trim().is_empty());
        let credentials = match (filled(&config.access_key_id), filled(&config.secret_access_key)) {
            (Some(id), Some(secret)) => Credentials::Static { id, secret },
            (None, None) => Credentials::Environment,
            _ => {
                return Err(Error::config(
                    "staging.access_key_id and staging.secret_access_key go together: give both, or neither to use the environment's credentials.",
                ));
            }
        };
        let location = config.location.trim().trim_start_matches('@').trim_matches('/').to_owned();
        if location.is_empty() || location.contains('\'') {
            return Err(Error::config(
                "staging.location is the folder as Dremio sees it, such as minio/lake/staging; set it so.",
            ));
        }
        let path = config.s3_bucket_path.trim().trim_matches('/');
        if path.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(Error::config(
                "staging.s3_bucket_path must have no parts that are . or .. alone; name folders.",
            ));
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let store = Store::new(Settings {
            bucket: config.s3_bucket_name.trim().to_owned(),
            region: config.s3_bucket_region.trim().to_owned(),
            endpoint: config.s3_endpoint.as_deref().unwrap_or_default().trim().to_owned(),
            credentials,
            keys: KEYS,
        })?;
        Ok(Self { store, prefix, location })
    }

    /// The folder, as Dremio sees it.
    pub(crate) fn location(&self) -> &str {
        &self.location
    }

    /// Loads files into a table.
    pub(crate) fn copy_into(&self, table: &Place, files: &[String]) -> String {
        let names: Vec<String> = files.iter().map(|name| format!("'{name}'")).collect();
        format!(
            "COPY INTO {} FROM '@{}' FILES ({}) FILE_FORMAT 'parquet'",
            table.sql(),
            self.location,
            names.join(", ")
        )
    }

    /// Puts a file there. A file of this name is the same file.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let key = format!("{}{name}", self.prefix);
        let kind = "application/vnd.apache.parquet";
        self.store.put(&key, kind, Bytes::from(bytes), Condition::Any, &[]).await?;
        Ok(())
    }

    /// Removes files.
    pub(crate) async fn remove(&self, names: &[String]) -> Result<()> {
        let keys: Vec<String> = names.iter().map(|name| format!("{}{name}", self.prefix)).collect();
        Ok(self.store.delete(&keys).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Stage, Staging};
    use serde_json::{Value, json};

    fn stage(more: Value) -> Result<Stage, String> {
        let mut config = json!({"location": "@minio/lake/staging/", "s3_bucket_name": "lake", "s3_bucket_path": "/staging/"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config: Staging = serde_json::from_value(config).unwrap();
        Stage::new(&config).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn slashes_at_the_ends_make_no_difference() {
        let stage = stage(json!({})).unwrap();
        assert_eq!((stage.location.as_str(), stage.prefix.as_str()), ("minio/lake/staging", "staging/"));
    }

    #[test]
    fn what_cannot_work_is_told_with_its_key() {
        for (more, key) in [
            (json!({"location": " "}), "staging.location"),
            (json!({"location": "a'b"}), "staging.location"),
            (json!({"s3_bucket_path": "a/../b"}), "staging.s3_bucket_path"),
            (json!({"access_key_id": "AKIA"}), "staging.secret_access_key"),
            (json!({"s3_bucket_name": "s3://x"}), "staging.s3_bucket_name"),
        ] {
            let error = stage(more).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}
