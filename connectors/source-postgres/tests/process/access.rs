//! Streams of the catalog that cannot be read, beside others that can.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::services::{Postgres, Version};
use testkit::{Exit, Output};

use crate::harness::{as_user, cdc, create_user, read, read_as, statement, streams};
use crate::replay::{Replay, configured};

/// What went wrong with the one stream that failed, while the good one arrived.
fn fault(output: &Output) -> String {
    assert_eq!(output.exit, Exit::Code(1), "{output}");
    let good = output.records().filter(|r| r.stream == "good").count();
    assert_eq!(good, 1, "the other stream did not go on: {output}");
    let faults: Vec<String> = output.errors().map(|e| e.message.clone()).collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].clone()
}

#[test]
fn pg_31_a_select_that_is_missing_at_read_is_told_with_the_grant_that_mends_it() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        server.psql(&format!(
            "CREATE TABLE good AS SELECT 1 AS id; CREATE TABLE bad (id int PRIMARY KEY, secret text);
             CREATE SCHEMA locked; CREATE TABLE locked.t (id int); {} GRANT SELECT ON good, locked.t TO reader;",
            create_user("reader", "")
        ));
        let mut config = as_user(server.config_json("postgres"), "reader");
        config["check_privileges"] = false.into();
        config["schemas"] = json!(["public", "locked"]);
        let all = streams(&config);
        let pick = |name: &str| all.iter().find(|(n, _)| n == name).unwrap().1.clone();
        let message = fault(&read(&config, &[pick("public.bad"), pick("public.good")]));
        assert_eq!(statement(&message), "GRANT SELECT ON public.bad TO \"reader\"");
        server.psql("GRANT SELECT (id) ON bad TO reader");
        let message = fault(&read(&config, &[pick("public.bad"), pick("public.good")]));
        assert_eq!(statement(&message), "GRANT SELECT (\"secret\") ON public.bad TO \"reader\"");
        server.psql(&statement(&message));
        let message = fault(&read(&config, &[pick("locked.t"), pick("public.good")]));
        assert_eq!(statement(&message), "GRANT USAGE ON SCHEMA \"locked\" TO \"reader\"");
        server.psql(&statement(&message));
        read(&config, &[pick("public.bad"), pick("public.good"), pick("locked.t")]).succeeded();
    }
}

#[test]
fn a_table_that_is_gone_is_told_apart_from_one_that_the_config_leaves_out() {
    let server = Postgres::start(Version::V15);
    server.psql(
        "CREATE TABLE good AS SELECT 1 AS id; CREATE TABLE gone (id int); CREATE SCHEMA left_out; CREATE TABLE left_out.t (id int);
         CREATE SCHEMA dropped; CREATE TABLE dropped.t (id int);",
    );
    let mut config = server.config_json("postgres");
    config["schemas"] = json!([]);
    let all = streams(&config);
    let pick = |name: &str| all.iter().find(|(n, _)| n == name).unwrap().1.clone();
    server.psql("DROP TABLE gone; DROP SCHEMA dropped CASCADE");
    config["schemas"] = json!(["public", "dropped"]);
    for (name, says) in [
        ("public.gone", "no longer a table public.gone"),
        ("dropped.t", "no longer the schema \"dropped\""),
        ("left_out.t", "not among `schemas`"),
    ] {
        let message = fault(&read(&config, &[pick(name), pick("public.good")]));
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_table_that_left_the_publication_fails_and_is_not_read_whole_instead() {
    let server = Postgres::start(Version::V15);
    server.psql(&format!(
        "CREATE TABLE good (id int PRIMARY KEY); INSERT INTO good VALUES (1); CREATE TABLE bad (id int PRIMARY KEY, secret text);
         CREATE PUBLICATION p FOR TABLE good, bad; SELECT pg_create_logical_replication_slot('s', 'pgoutput');
         {} GRANT SELECT ON good, bad TO reader;",
        create_user("reader", "REPLICATION")
    ));
    let config = as_user(cdc(&server), "reader");
    let all: Vec<_> = streams(&config).into_iter().map(|(_, stream)| stream).collect();
    server.psql("ALTER PUBLICATION p DROP TABLE bad");
    let message = fault(&read_as(&config, &all, "incremental"));
    assert_eq!(statement(&message), "ALTER PUBLICATION \"p\" ADD TABLE public.bad");
    server.psql(&format!(
        "{}; REVOKE SELECT ON bad FROM reader; GRANT SELECT (id) ON bad TO reader",
        statement(&message)
    ));
    let message = fault(&read_as(&config, &all, "incremental"));
    assert_eq!(statement(&message), "GRANT SELECT (\"secret\") ON public.bad TO \"reader\"");
    server.psql(&statement(&message));
    read_as(&config, &all, "incremental").succeeded();
}

#[test]
fn a_publication_made_after_the_slot_is_told_apart_from_one_that_is_missing() {
    let server = Postgres::start(Version::V15);
    server.psql(
        "CREATE TABLE t (id int PRIMARY KEY); SELECT pg_create_logical_replication_slot('s', 'pgoutput');
        INSERT INTO t VALUES (1); CREATE PUBLICATION p FOR TABLE t;",
    );
    let config = cdc(&server);
    let all: Vec<_> = streams(&config).into_iter().map(|(_, stream)| stream).collect();
    let output = read_as(&config, &all, "incremental");
    let message = &output.failed().message;
    assert!(
        message.contains("made after the replication slot") && message.contains("create it again"),
        "{message}"
    );
    server.psql(
        "SELECT pg_drop_replication_slot('s'); SELECT pg_create_logical_replication_slot('s', 'pgoutput');",
    );
    read_as(&config, &all, "incremental").succeeded();
}

#[test]
fn a_table_of_which_some_columns_are_granted_is_read_whole_and_by_cursor() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        server.psql(&format!(
            "CREATE TABLE partly (id int PRIMARY KEY, secret text, at int); CREATE INDEX ON partly (at);
             INSERT INTO partly SELECT n, 'hidden', nullif(n % 10, 0) FROM generate_series(1, 100) n;
             {} GRANT SELECT (id, at) ON partly TO reader;",
            create_user("reader", "")
        ));
        let mut config = as_user(server.config_json("postgres"), "reader");
        config["max_db_connections"] = 2.into();
        let stream = &streams(&config)[0].1;
        let whole = Replay::new(&config, &[configured(stream, "full_refresh", "overwrite", None)]).sync();
        assert_eq!(whole.records().count(), 100, "{version:?}: {whole}");
        let mut replay = Replay::new(&config, &[configured(stream, "incremental", "append", Some("at"))]);
        replay.sync();
        server.psql("INSERT INTO partly VALUES (101, 'hidden', 50), (102, 'hidden', 60); UPDATE partly SET at = 70 WHERE id = 1");
        replay.sync();
        let expected: BTreeMap<String, Value> = serde_json::from_str::<Vec<Value>>(
            &server.psql("SELECT json_agg(json_build_object('id', id, 'at', at)) FROM partly"),
        )
        .unwrap()
        .into_iter()
        .map(|row| (row["id"].to_string(), row))
        .collect();
        assert_eq!(replay.latest("public.partly", "id"), expected, "{version:?}");
    }
}
