//! A real PostgreSQL through `ferry sync` into files.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testkit::services::{Postgres, Version};
use testkit::{Connector, Exit, Folder, Output, binary};

fn ferry(folder: &Folder, args: &[&str]) -> Output {
    let run = Connector::new(binary("ferry")).command(args.iter().copied()).in_folder(folder.path());
    run.env("PGPASSWORD", Postgres::PASSWORD).output()
}

fn synced(folder: &Folder) -> Output {
    let output = ferry(folder, &["sync", "sync.yaml"]);
    assert!(output.exit == Exit::Code(0), "{output}");
    output
}

/// The rows of a stream in JSONL files.
fn rows(folder: &Folder, stream: &str) -> Vec<Value> {
    fn collect(at: &Path, stream: &str, rows: &mut Vec<Value>) {
        for entry in fs::read_dir(at).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                collect(&path, stream, rows);
            } else if name.ends_with(".jsonl") && at.file_name().is_some_and(|n| n == stream) {
                let text = fs::read_to_string(path).unwrap();
                rows.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            }
        }
    }
    let mut rows = Vec::new();
    collect(&folder.path().join("lake"), stream, &mut rows);
    rows
}

/// The example's files beside each other, for a server of the test and with rows one can read.
fn example(server: &Postgres) -> Folder {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/postgres");
    let folder = Folder::new();
    let sync = fs::read_to_string(source.join("sync.yaml")).unwrap();
    let sync = sync
        .replace("port: 5432", &format!("port: {}", server.port))
        .replace("connector: source-postgres", &format!("connector: {}", binary("source-postgres").display()))
        .replace(
            "connector: destination-local",
            &format!("connector: {}", binary("destination-local").display()),
        )
        .replace("destination_path: lake", "destination_path: lake\n    format: {format_type: jsonl}");
    folder.write("sync.yaml", sync);
    server.psql(&fs::read_to_string(source.join("shop.sql")).unwrap());
    folder
}

fn shop(server: &Postgres) -> Vec<String> {
    server
        .psql("SELECT id || ' ' || amount FROM shop.orders ORDER BY id")
        .lines()
        .map(str::to_owned)
        .collect()
}

fn orders(folder: &Folder) -> Vec<String> {
    let mut orders: Vec<_> = rows(folder, "orders")
        .into_iter()
        .filter(|row| row["_ab_cdc_deleted_at"].is_null())
        .map(|row| (row["id"].as_i64().unwrap(), row["amount"].to_string()))
        .collect();
    orders.sort_unstable();
    orders.into_iter().map(|(id, amount)| format!("{id} {:.2}", amount.parse::<f64>().unwrap())).collect()
}

#[test]
fn the_example_follows_the_tables_run_after_run() {
    let server = Postgres::start(Version::V15);
    let folder = example(&server);
    synced(&folder);
    assert_eq!(orders(&folder), shop(&server));
    assert_eq!(rows(&folder, "customers").len(), 200);
    server.psql(
        "INSERT INTO shop.orders VALUES (9001, 5, 12.34, now(), NULL); UPDATE shop.orders SET amount = 0.01 WHERE id < 20; \
         DELETE FROM shop.orders WHERE id BETWEEN 30 AND 40; UPDATE shop.orders SET id = 9002 WHERE id = 50",
    );
    synced(&folder);
    assert_eq!(orders(&folder), shop(&server));
    synced(&folder);
    assert_eq!(orders(&folder), shop(&server));
}

#[test]
fn pg_03_a_state_lost_after_the_destination_committed_costs_no_row_and_doubles_none() {
    let server = Postgres::start(Version::V18);
    let folder = example(&server);
    synced(&folder);
    server.psql("UPDATE shop.orders SET amount = amount + 1; DELETE FROM shop.orders WHERE id = 7");
    synced(&folder);
    // As if the crash had come between the destination's commit and the saving of the state.
    let reset = ferry(&folder, &["state", "reset", "sync.yaml"]);
    assert!(reset.exit == Exit::Code(0), "{reset}");
    synced(&folder);
    let mut seen = std::collections::HashSet::new();
    assert!(orders(&folder).iter().all(|o| seen.insert(o.clone())), "an order is there twice");
    for order in shop(&server) {
        assert!(seen.contains(&order), "{order} is missing");
    }
}

#[test]
fn pg_04_a_destination_that_refuses_keeps_the_position_where_it_was() {
    let server = Postgres::start(Version::V15);
    let folder = example(&server);
    synced(&folder);
    let position =
        || server.psql("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'ferry_shop'");
    let before = ferry(&folder, &["state", "show", "sync.yaml"])
        .lines
        .iter()
        .map(|l| l.raw.clone())
        .collect::<Vec<_>>();
    server.psql("INSERT INTO shop.orders VALUES (9001, 5, 12.34, now(), NULL)");
    let lake = folder.path().join("lake");
    fs::rename(&lake, folder.path().join("aside")).unwrap();
    folder.write("lake", "a file where the folder was");
    let output = ferry(&folder, &["sync", "sync.yaml"]);
    assert!(output.exit != Exit::Code(0), "{output}");
    let after = ferry(&folder, &["state", "show", "sync.yaml"])
        .lines
        .iter()
        .map(|l| l.raw.clone())
        .collect::<Vec<_>>();
    assert_eq!(before, after);
    let refused_at = position();
    fs::remove_file(&lake).unwrap();
    fs::rename(folder.path().join("aside"), &lake).unwrap();
    synced(&folder);
    assert!(!refused_at.trim().is_empty());
    assert_eq!(orders(&folder), shop(&server));
}

#[test]
fn a_full_refresh_of_every_kind_of_relation_arrives_with_receipts() {
    let server = Postgres::start(Version::V18);
    server.psql(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 3000) i; \
         CREATE VIEW v AS SELECT * FROM t WHERE id <= 10; CREATE MATERIALIZED VIEW m AS SELECT * FROM t WHERE id <= 20; \
         CREATE TABLE p (id int, v text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (50); \
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (50) TO (100); INSERT INTO p SELECT i, '' FROM generate_series(0, 99) i; \
         CREATE TABLE parent (id int); CREATE TABLE child (more text) INHERITS (parent); \
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 'x'); CREATE TABLE nothing ()",
    );
    let folder = Folder::new();
    let mut config = server.config_json("postgres");
    config["max_db_connections"] = 3.into();
    folder.json(
        "sync.yaml",
        &json!({"source": {"connector": binary("source-postgres"), "config": config},
            "destination": {"connector": binary("destination-local"),
                "config": {"destination_path": "lake", "format": {"format_type": "jsonl"}}}}),
    );
    synced(&folder);
    for (stream, count) in [
        ("t", 3000),
        ("v", 10),
        ("m", 20),
        ("p", 100),
        ("p1", 50),
        ("p2", 50),
        ("parent", 2),
        ("child", 1),
        ("nothing", 0),
    ] {
        assert_eq!(rows(&folder, stream).len(), count, "{stream}");
    }
}
