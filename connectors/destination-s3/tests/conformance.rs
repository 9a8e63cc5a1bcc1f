//! The suite that every destination passes, run against the built binary and a store, writing JSON lines.

use std::path::Path;
use std::rc::Rc;

use serde_json::{Value, json};
use testkit::conformance::{DestinationSuite, StreamDescriptor};
use testkit::services::{ObjectStore, StoreKind};

fn suite() -> DestinationSuite {
    let store = Rc::new(ObjectStore::start(StoreKind::Strict));
    let of_config = Rc::clone(&store);
    DestinationSuite {
        connector: testkit::Connector::new(env!("CARGO_BIN_EXE_destination-s3")),
        config: Box::new(move |folder| {
            let mut config = of_config.destination();
            config["s3_bucket_path"] = place(folder).into();
            config["s3_path_format"] = "${NAMESPACE}/${STREAM_NAME}/".into();
            config["format"] = json!({"format_type": "JSONL", "flattening": "Root level flattening"});
            config
        }),
        rows: Box::new(move |folder, stream| {
            rows(&store.files(ObjectStore::BUCKET).join(place(folder)), stream)
        }),
        holds_nul: true,
    }
}

fn place(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().trim_start_matches('.').to_owned()
}

/// What somebody who lists the bucket sees, told apart by the lists, which have the streams' names plain.
fn rows(place: &Path, stream: &StreamDescriptor) -> Vec<String> {
    let mut rows = Vec::new();
    for list in std::fs::read_dir(place.join("_ferry")).into_iter().flatten().flatten() {
        let list = std::fs::read(list.path()).unwrap_or_default();
        let list: Value = serde_json::from_slice(&list).unwrap_or_default();
        if list["stream"] != stream.name.as_str() {
            continue;
        }
        for object in list["objects"].as_array().into_iter().flatten() {
            let key = object["key"].as_str().unwrap().split_once('/').unwrap().1.to_owned();
            let text = std::fs::read_to_string(place.join(key)).unwrap();
            rows.extend(text.lines().map(str::to_owned));
        }
    }
    rows
}

testkit::destination_trials!(suite);

/// The same as ferry runs it: all streams and their states committed together.
mod of_a_connection {
    use testkit::conformance::DestinationSuite;

    fn suite() -> DestinationSuite {
        let suite = super::suite();
        let connector = suite.connector.clone().env("FERRY_CONNECTION", "conformance");
        DestinationSuite { connector, ..suite }
    }

    testkit::destination_trials!(suite);
}
