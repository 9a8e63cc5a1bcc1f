//! The suite once more, with rows staged as Parquet in a store that the server has as a source: what is true of one way of
//! loading is true of the other.

#[path = "conformance/reading.rs"]
mod reading;

use std::sync::Arc;

use serde_json::json;
use testkit::conformance::DestinationSuite;
use testkit::services::{ObjectStore, StoreKind};
use testkit_dremio::{Dremio, Source};

fn suite() -> DestinationSuite {
    let store = ObjectStore::start(StoreKind::Strict);
    let bucket = Source::Store(store.files(ObjectStore::BUCKET));
    let server = Arc::new(Dremio::options().field_limit(16 << 20).source("minio", bucket).start());
    let theirs = Arc::clone(&server);
    DestinationSuite {
        connector: testkit::Connector::new(env!("CARGO_BIN_EXE_destination-dremio")),
        config: Box::new(move |lake| {
            let mut config = server.destination();
            config["dataset"] = json!(format!("lake.{}", reading::folder(lake)));
            config["staging"] = json!({
                "location": "minio/staging", "s3_bucket_name": ObjectStore::BUCKET, "s3_bucket_path": "staging",
                "s3_bucket_region": "us-east-1", "s3_endpoint": store.endpoint(),
                "access_key_id": ObjectStore::ACCESS_KEY, "secret_access_key": ObjectStore::SECRET_KEY,
            });
            config
        }),
        rows: Box::new(move |lake, stream| reading::rows(&theirs, lake, stream)),
        holds_nul: false,
    }
}

testkit::destination_trials!(suite);
