//! destination-dremio under the platform's conditions, before the stand-in server: by INSERT, and staged in a store.

use serde_json::{Value, json};
use testkit::services::{Containers, ObjectStore, Postgres, StoreKind, Version};
use testkit_dremio::{Dremio, Source};

use crate::platform::Platform;
use crate::{answers, configured, end, twice};

const ROWS: &str = "SELECT id, name, \"at\" FROM lake.production.public.t ORDER BY id, \"at\"";

/// Five rows, and three more in a second sync, one of them a newer version. What is there then, and how often files were copied.
fn brings_what_is_new(server: &Dremio, to: Value, mode: &str) -> (Vec<Vec<Value>>, usize) {
    let containers = Containers::new();
    let platform = Platform { containers: &containers };
    let origin = Postgres::start(Version::V15);
    origin.psql(
        "CREATE TABLE t (id int PRIMARY KEY, name text, at timestamptz); \
         INSERT INTO t SELECT i, 'naïve ''' || i || ''' 漢', '2024-02-29 12:00:00.123+00'::timestamptz + i * interval '1 day' \
         FROM generate_series(1, 5) i",
    );
    let mut from = end(&containers, "source-postgres", origin.config_json("postgres"));
    let to = end(&containers, "destination-dremio", to);
    answers(&platform, &to);
    let streams = answers(&platform, &from);
    let extra = json!({"cursor_field": ["at"], "primary_key": [["id"]]});
    let catalog = configured(&streams, "t", ("incremental", mode), &extra);
    let counts = twice(&platform, &mut from, &to, &catalog, |_| {
        origin.psql(
            "UPDATE t SET name = 'newer', at = '2024-04-01 00:00:00+00' WHERE id = 2; \
             INSERT INTO t VALUES (6, '', '2024-04-02 00:00:00+00'), (7, NULL, '2024-04-03 00:00:00+00')",
        );
    });
    assert_eq!(counts, [5, 3]);
    (server.query(ROWS), server.statements().iter().filter(|sql| sql.starts_with("COPY INTO")).count())
}

/// What is to be found; with the version of row 2 that was replaced, where it stays.
fn expected(with_old: bool) -> Vec<Vec<Value>> {
    let row = |id: u32, name: Value, at: &str| vec![json!(id), name, json!(at)];
    let text = |id: u32| json!(format!("naïve '{id}' 漢"));
    let mut rows = vec![row(1, text(1), "2024-03-01 12:00:00.123000")];
    if with_old {
        rows.push(row(2, text(2), "2024-03-02 12:00:00.123000"));
    }
    rows.push(row(2, json!("newer"), "2024-04-01 00:00:00"));
    rows.push(row(3, text(3), "2024-03-03 12:00:00.123000"));
    rows.push(row(4, text(4), "2024-03-04 12:00:00.123000"));
    rows.push(row(5, text(5), "2024-03-05 12:00:00.123000"));
    rows.push(row(6, json!(""), "2024-04-02 00:00:00"));
    rows.push(row(7, Value::Null, "2024-04-03 00:00:00"));
    rows
}

#[test]
fn source_postgres_and_destination_dremio_bring_what_is_new_by_insert() {
    let server = Dremio::start();
    let found = brings_what_is_new(&server, server.destination(), "append");
    assert_eq!(found, (expected(true), 0));
}

#[test]
fn source_postgres_and_destination_dremio_bring_what_is_new_staged() {
    let store = ObjectStore::start(StoreKind::Strict);
    let bucket = Source::Store(store.files(ObjectStore::BUCKET));
    let server = Dremio::options().source("minio", bucket).start();
    let mut to = server.destination();
    to["staging"] = json!({
        "location": "minio/staging", "s3_bucket_name": ObjectStore::BUCKET, "s3_bucket_path": "staging",
        "s3_bucket_region": "us-east-1", "s3_endpoint": store.endpoint(),
        "access_key_id": ObjectStore::ACCESS_KEY, "secret_access_key": ObjectStore::SECRET_KEY,
    });
    // One for the check, one for each sync.
    assert_eq!(brings_what_is_new(&server, to, "append_dedup"), (expected(false), 3));
}

#[test]
fn destination_dremio_says_in_its_status_who_is_not_let_in_and_what_is_missing() {
    let containers = Containers::new();
    let platform = Platform { containers: &containers };
    let server = Dremio::start();
    let mut to = end(&containers, "destination-dremio", server.destination());
    for (key, value) in [("password", "wrong"), ("dataset", "nowhere.production")] {
        to.config = server.destination();
        to.config[key] = value.into();
        let (status, code) = platform.ask(&to, "check", "CONNECTION_STATUS");
        let status = &status["connectionStatus"];
        assert_eq!((&status["status"], code.as_str()), (&"FAILED".into(), "0"), "{status}");
        assert!(status["message"].as_str().unwrap().contains(key), "{status}");
    }
}
