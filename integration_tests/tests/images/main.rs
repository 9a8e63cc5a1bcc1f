//! The connectors' images under the platform's conditions, see `platform.rs`: every connector answers
//! `spec`, `check` and `discover` there, and every pair brings what is new in a second sync.

mod build;
mod dremio;
mod ferry;
mod platform;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use testkit::Folder;
use testkit::services::{Containers, ObjectStore, Postgres, StoreKind, Version};

use platform::{End, Platform};

/// A connector's image in that place.
fn end(containers: &Containers, name: &str, config: Value) -> End {
    End { image: containers.image(name), config, local: None }
}

/// A folder in which user 1000 may write.
fn shared() -> Folder {
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// What every connector must answer; the streams of a source.
fn answers(platform: &Platform<'_>, end: &End) -> Vec<Value> {
    let (spec, code) = platform.ask(end, "spec", "SPEC");
    assert!(spec["spec"]["connectionSpecification"].is_object() && code == "0", "{}: {spec}", end.image);
    let (status, code) = platform.ask(end, "check", "CONNECTION_STATUS");
    assert_eq!(
        (&status["connectionStatus"]["status"], code.as_str()),
        (&"SUCCEEDED".into(), "0"),
        "{status}"
    );
    if !end.image.contains("source-") {
        return Vec::new();
    }
    let (catalog, code) = platform.ask(end, "discover", "CATALOG");
    assert_eq!(code, "0");
    catalog["catalog"]["streams"].as_array().unwrap().clone()
}

fn configured(streams: &[Value], name: &str, modes: (&str, &str), extra: &Value) -> Value {
    let stream = streams.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("{name}: {streams:?}"));
    let mut one = json!({"stream": stream, "sync_mode": modes.0, "destination_sync_mode": modes.1,
        "generation_id": 1, "minimum_generation_id": 0, "sync_id": 7, "cursor_field": [], "primary_key": []});
    for (key, value) in extra.as_object().unwrap() {
        one[key] = value.clone();
    }
    json!({"streams": [one]})
}

/// Two syncs, the second from where the first came to; how many records each brought.
fn twice(
    platform: &Platform<'_>,
    from: &mut End,
    to: &End,
    catalog: &Value,
    more: impl FnOnce(&mut End),
) -> [usize; 2] {
    let count = |from: &End, states: &[Value]| {
        let synced = platform.sync(from, to, catalog, states);
        assert_eq!((synced.source_code.as_str(), synced.destination_code.as_str()), ("0", "0"), "{synced:?}");
        assert!(!synced.states.is_empty() && !synced.said.contains("ERROR"), "{synced:?}");
        (synced.records, synced.states)
    };
    let (first, states) = count(from, &[]);
    more(from);
    let (second, _) = count(from, &states);
    [first, second]
}

fn lines_below(folder: &Folder, ending: &str) -> usize {
    let files = folder.files().into_iter().filter(|f| {
        let name = f.file_name().unwrap().to_string_lossy();
        name.ends_with(ending) && !name.starts_with('.')
    });
    files.map(|f| fs::read_to_string(folder.path().join(f)).unwrap().lines().count()).sum()
}

#[test]
fn source_faker_and_destination_local_bring_what_is_new() {
    let containers = Containers::new();
    let platform = Platform { containers: &containers };
    let lake = shared();
    let mut from = end(&containers, "source-faker", json!({"count": 100, "always_updated": false}));
    let mut to = end(
        &containers,
        "destination-local",
        json!({"destination_path": "/local/lake", "format": {"format_type": "jsonl"}}),
    );
    to.local = Some(lake.path().to_path_buf());
    answers(&platform, &to);
    let catalog = configured(&answers(&platform, &from), "users", ("incremental", "append"), &json!({}));
    let counts = twice(&platform, &mut from, &to, &catalog, |from| from.config["count"] = 130.into());
    assert_eq!((counts, lines_below(&lake, ".jsonl")), ([100, 30], 130));
}

#[test]
fn source_file_and_destination_local_replace_what_was_there() {
    let containers = Containers::new();
    let platform = Platform { containers: &containers };
    let (files, lake) = (shared(), shared());
    files.write("a.csv", "id,name\n1,a\n2,b\n");
    let mut from = end(
        &containers,
        "source-file",
        json!({"dataset_name": "a", "format": "csv", "url": "/local/a.csv", "provider": {"storage": "local"}}),
    );
    from.local = Some(files.path().to_path_buf());
    let mut to = end(
        &containers,
        "destination-local",
        json!({"destination_path": "/local/lake", "format": {"format_type": "jsonl"}}),
    );
    to.local = Some(lake.path().to_path_buf());
    let catalog = configured(&answers(&platform, &from), "a", ("full_refresh", "overwrite"), &json!({}));
    let counts = twice(&platform, &mut from, &to, &catalog, |_| {
        files.write("a.csv", "id,name\n1,a\n2,b\n3,c\n");
    });
    assert_eq!((counts, lines_below(&lake, ".jsonl")), ([2, 3], 3));
}

#[test]
fn source_postgres_and_destination_postgres_bring_what_is_new() {
    let containers = Containers::new();
    let platform = Platform { containers: &containers };
    let server = Postgres::start(Version::V15);
    server.psql("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t SELECT i, 'n' FROM generate_series(1, 5) i; CREATE DATABASE copy");
    let mut from = end(&containers, "source-postgres", server.config_json("postgres"));
    let mut target = server.config_json("copy");
    target["schema"] = "public".into();
    target.as_object_mut().unwrap().remove("replication_method");
    let to = end(&containers, "destination-postgres", target);
    answers(&platform, &to);
    let streams = answers(&platform, &from);
    let extra = json!({"cursor_field": ["id"], "primary_key": [["id"]]});
    let catalog = configured(&streams, "t", ("incremental", "append_dedup"), &extra);
    let counts = twice(&platform, &mut from, &to, &catalog, |_| {
        server.psql("INSERT INTO t VALUES (6, 'six'), (7, 'seven')");
    });
    assert_eq!(counts, [5, 2]);
    assert_eq!(server.psql_in("copy", "SELECT count(*), max(name) FROM public.t"), "7|six");
}

#[test]
fn source_s3_and_destination_s3_bring_what_is_new() {
    let containers = Containers::new();
    let platform = Platform { containers: &containers };
    let store = ObjectStore::start(StoreKind::Strict);
    let objects = store.files(ObjectStore::BUCKET);
    fs::create_dir(objects.join("in")).unwrap();
    fs::write(objects.join("in/a.csv"), "id,name\n1,a\n2,b\n").unwrap();
    let mut from = end(
        &containers,
        "source-s3",
        json!({"bucket": ObjectStore::BUCKET, "endpoint": store.endpoint(),
            "credentials": {"auth_type": "iam_user", "aws_access_key_id": ObjectStore::ACCESS_KEY,
                "aws_secret_access_key": ObjectStore::SECRET_KEY},
            "streams": [{"name": "s", "globs": ["in/*.csv"], "format": {"filetype": "csv"}}]}),
    );
    let mut target = store.destination();
    target["s3_bucket_path"] = "out".into();
    target["format"] = json!({"format_type": "JSONL"});
    let to = end(&containers, "destination-s3", target);
    answers(&platform, &to);
    let catalog = configured(&answers(&platform, &from), "s", ("incremental", "append"), &json!({}));
    let counts = twice(&platform, &mut from, &to, &catalog, |_| {
        fs::write(objects.join("in/b.csv"), "id,name\n3,c\n").unwrap();
    });
    assert_eq!(counts, [2, 1]);
}

#[test]
fn a_source_that_is_told_to_terminate_ends() {
    let containers = Containers::new();
    let platform = Platform { containers: &containers };
    let from = end(&containers, "source-faker", json!({"count": 100_000_000}));
    let catalog = configured(&answers(&platform, &from), "users", ("full_refresh", "append"), &json!({}));
    assert_eq!(platform.terminated(&from, &catalog), "143");
}

#[test]
fn a_container_without_credentials_says_so_in_its_status_and_ends_well() {
    let containers = Containers::new();
    let platform = Platform { containers: &containers };
    let server = Postgres::start(Version::V15);
    let mut config = server.config_json("postgres");
    config["password"] = "wrong".into();
    let (status, code) =
        platform.ask(&end(&containers, "source-postgres", config), "check", "CONNECTION_STATUS");
    assert_eq!((&status["connectionStatus"]["status"], code.as_str()), (&"FAILED".into(), "0"), "{status}");
}
