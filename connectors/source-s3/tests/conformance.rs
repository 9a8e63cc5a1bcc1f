//! The suite that every source passes, run against the built binary and a real store.

use std::fmt::Write;

use serde_json::json;
use testkit::conformance::{Resumed, SourceSuite};
use testkit::services::{ObjectStore, StoreKind};

/// Rows with a whole number, a decimal, text with commas, a date and gaps.
fn csv(rows: u32) -> String {
    let mut text = String::from("id,amount,name,day,flag,maybe\n");
    for n in 0..rows {
        let gap = if n % 3 == 0 { String::new() } else { n.to_string() };
        writeln!(
            text,
            "{n},{n}.{:02},\"name, of {n}\",2024-02-{:02},{},{gap}",
            n % 100,
            1 + n % 28,
            n % 2 == 0
        )
        .unwrap();
    }
    text
}

fn suite() -> SourceSuite {
    let store = ObjectStore::start(StoreKind::Strict);
    let folder = store.files(ObjectStore::BUCKET);
    for name in ["small", "large"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("small/a.csv"), csv(120)).unwrap();
    std::fs::write(folder.join("small/b.csv"), csv(80)).unwrap();
    std::fs::write(folder.join("large/a.csv"), csv(60_000)).unwrap();
    let endpoint = store.endpoint();
    let config = move |name: &str| {
        json!({
            "bucket": ObjectStore::BUCKET,
            "endpoint": endpoint,
            "credentials": {
                "auth_type": "iam_user",
                "aws_access_key_id": ObjectStore::ACCESS_KEY,
                "aws_secret_access_key": ObjectStore::SECRET_KEY,
            },
            "streams": [{
                "name": name,
                "globs": [format!("{name}/*.csv")],
                "format": {"filetype": "csv", "inference_type": "Primitive Types Only"},
            }],
        })
    };
    SourceSuite {
        connector: testkit::Connector::new(env!("CARGO_BIN_EXE_source-s3")),
        config: config("small"),
        large: config("large"),
        resumed: Resumed::SendsNothing,
        keep: Box::new(store),
    }
}

testkit::source_trials!(suite);
