//! The kit against two stores, and against faults between it and a store.

mod reading;
mod roles;
mod writing;

use connector_kit::Secret;
use s3_kit::{Credentials, Keys, Settings, Store};
use testkit::services::ObjectStore;

pub(crate) const KEYS: Keys = Keys {
    bucket: "s3_bucket_name",
    region: "s3_bucket_region",
    endpoint: "s3_endpoint",
    access_key: "access_key_id",
    secret_key: "secret_access_key",
    role: "role_arn",
};

pub(crate) fn settings(endpoint: &str) -> Settings {
    Settings {
        bucket: ObjectStore::BUCKET.into(),
        region: "us-east-1".into(),
        endpoint: endpoint.into(),
        credentials: Credentials::Static {
            id: Secret::from(ObjectStore::ACCESS_KEY.to_owned()),
            secret: Secret::from(ObjectStore::SECRET_KEY.to_owned()),
        },
        keys: KEYS,
    }
}

pub(crate) fn store(endpoint: &str) -> Store {
    Store::new(settings(endpoint)).unwrap()
}

/// Runs a future as a connector does: on a runtime of one thread.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(60), work).await.unwrap() })
}
