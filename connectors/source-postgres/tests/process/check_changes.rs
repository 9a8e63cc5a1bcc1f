//! What check says of change data capture.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::services::{Options, Postgres, Version};

use crate::harness::{accepted, as_user, cdc, create_user, refused, statement};

const SLOT: &str = "SELECT pg_create_logical_replication_slot('s', 'pgoutput');";

/// A server with everything that CDC needs, and one table.
fn ready(options: Options) -> Postgres {
    let server = options.start();
    server.psql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, note text); CREATE PUBLICATION p FOR TABLE t; {SLOT}"
    ));
    server
}

fn start(version: Version) -> Postgres {
    ready(Postgres::options(version))
}

/// A client that reads a slot until it is dropped.
struct Reader(Child);

impl Reader {
    fn of(server: &Postgres, slot: &str) -> Self {
        let mut client = server.client("pg_recvlogical", "postgres");
        client.args([
            "-d",
            "postgres",
            "--slot",
            slot,
            "--start",
            "-o",
            "proto_version=1",
            "-o",
            "publication_names=p",
            "-f",
            "-",
        ]);
        client
            .env("PGAPPNAME", "the other reader")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let reader = Self(client.spawn().unwrap());
        let until = Instant::now() + Duration::from_secs(20);
        let active =
            format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active");
        while server.psql(&active) != "1" {
            assert!(Instant::now() < until, "pg_recvlogical does not read: {}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        reader
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_with_slot_and_publication_is_accepted_without_a_warning() {
    for version in [Version::V15, Version::V18] {
        let server = start(version);
        assert_eq!(accepted(&cdc(&server)), "");
        // The slot stands where it stood, and nobody holds it.
        let left = "SELECT count(*) FROM pg_replication_slots WHERE active UNION ALL SELECT count(*) FROM pg_replication_slots";
        assert_eq!(server.psql(left), "0\n1");
    }
}

#[test]
fn a_method_that_says_standard_but_names_a_slot_means_cdc() {
    let server = start(Version::V15);
    let mut config = cdc(&server);
    config["replication_method"]["method"] = "Standard".into();
    config["replication_method"]["replication_slot"] = "absent".into();
    assert!(refused(&config).contains("no replication slot \"absent\""));
}

#[test]
fn pg_31_a_wal_level_below_logical_is_told_with_the_statement_that_mends_it() {
    for version in [Version::V15, Version::V18] {
        let mut server = Postgres::options(version).start();
        server.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t; ALTER SYSTEM SET wal_level = replica;");
        server.restart();
        let message = refused(&cdc(&server));
        assert!(message.contains("wal_level is replica") && message.contains("restart"), "{message}");
        server.psql(&statement(&message));
        server.restart();
        server.psql(SLOT);
        accepted(&cdc(&server));
    }
}

#[test]
fn pg_31_a_user_without_replication_is_told_with_the_statement_that_mends_it() {
    for version in [Version::V15, Version::V18] {
        let server = start(version);
        server.psql(&format!("{} GRANT SELECT ON t TO reader;", create_user("reader", "")));
        let config = as_user(cdc(&server), "reader");
        let message = refused(&config);
        assert_eq!(statement(&message), "ALTER ROLE \"reader\" REPLICATION", "{message}");
        server.psql(&statement(&message));
        assert_eq!(accepted(&config), "");
    }
}

#[test]
fn a_server_without_room_for_a_replication_connection_is_told_by_its_setting() {
    let server = ready(Postgres::options(Version::V15).setting("max_wal_senders = 1"));
    server.psql("SELECT pg_create_logical_replication_slot('other', 'pgoutput')");
    let reader = Reader::of(&server, "other");
    let message = refused(&cdc(&server));
    assert!(message.contains("max_wal_senders"), "{message}");
    drop(reader);
}

#[test]
fn a_missing_slot_is_told_with_the_statement_that_makes_it() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        server.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t");
        let message = refused(&cdc(&server));
        assert!(message.contains("no replication slot \"s\""), "{message}");
        let (_, create) = message.split_once(" with ").unwrap();
        server.psql(&create[..=create.find(';').unwrap()]);
        assert_eq!(accepted(&cdc(&server)), "");
    }
}

#[test]
fn slots_that_are_all_used_up_are_told_of() {
    let server = Postgres::options(Version::V15).setting("max_replication_slots = 1").start();
    server.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t");
    server.psql("SELECT pg_create_logical_replication_slot('other', 'pgoutput')");
    let message = refused(&cdc(&server));
    assert!(
        message.contains("no replication slot") && message.contains("max_replication_slots"),
        "{message}"
    );
    server.psql(&format!("SELECT pg_drop_replication_slot('other'); {SLOT}"));
    let warning = accepted(&cdc(&server));
    assert!(warning.contains("All 1 of max_replication_slots"), "{warning}");
}

#[test]
fn a_slot_of_another_plugin_database_or_kind_is_told_apart() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        server.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t; CREATE DATABASE elsewhere;");
        let drop_slot = "SELECT pg_drop_replication_slot('s')";
        server.psql("SELECT pg_create_physical_replication_slot('s')");
        assert!(refused(&cdc(&server)).contains("physical"));
        server.psql(drop_slot);
        server.psql_in("elsewhere", SLOT);
        let message = refused(&cdc(&server));
        assert!(message.contains("\"elsewhere\", not to \"postgres\""), "{message}");
        server.psql_in("elsewhere", drop_slot);
        if version == Version::V15 {
            server.psql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')");
            let message = refused(&cdc(&server));
            assert!(message.contains("plugin test_decoding"), "{message}");
            let (_, fix) = message.split_once("make it anew with ").unwrap();
            server.psql(&fix[..=fix.rfind("');").unwrap() + 2]);
            assert_eq!(accepted(&cdc(&server)), "");
        }
    }
}

#[test]
fn pg_07_a_slot_that_another_reads_is_told_with_its_process_and_name() {
    for version in [Version::V15, Version::V18] {
        let server = start(version);
        let reader = Reader::of(&server, "s");
        let pid = server.psql("SELECT active_pid FROM pg_replication_slots WHERE slot_name = 's'");
        let message = refused(&cdc(&server));
        assert!(message.contains(&format!("process {pid} (the other reader from 127.0.0.1)")), "{message}");
        server.psql(&format!("SELECT pg_terminate_backend({pid})"));
        drop(reader);
        let until = Instant::now() + Duration::from_secs(20);
        while server.psql("SELECT count(*) FROM pg_replication_slots WHERE active") != "0" {
            assert!(Instant::now() < until);
        }
        accepted(&cdc(&server));
    }
}

/// Fills so many segments of 16 MiB.
fn write_log(server: &Postgres, segments: u32) {
    for _ in 0..segments {
        server.psql("INSERT INTO t SELECT coalesce(max(id), 0) + 1, 'x' FROM t; SELECT pg_switch_wal();");
    }
    server.psql("CHECKPOINT");
}

#[test]
fn a_slot_that_is_lost_is_told_with_the_setting_that_lost_it() {
    for version in [Version::V15, Version::V18] {
        let server = start(version);
        server.psql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
        server.psql("SELECT pg_reload_conf()");
        write_log(&server, 4);
        assert_eq!(server.psql("SELECT wal_status FROM pg_replication_slots"), "lost");
        let message = refused(&cdc(&server));
        assert!(message.contains("is lost") && message.contains("raise max_slot_wal_keep_size"), "{message}");
        let (_, fix) = message.split_once("make the slot anew with ").unwrap();
        server.psql(&fix[..fix.find(" and re-sync").unwrap()]);
        accepted(&cdc(&server));
    }
}

#[test]
fn a_slot_that_holds_back_much_log_is_warned_of() {
    let server = ready(
        Postgres::options(Version::V15)
            .setting("max_slot_wal_keep_size = '1GB'")
            .setting("max_wal_size = '32MB'")
            .setting("min_wal_size = '32MB'"),
    );
    assert_eq!(accepted(&cdc(&server)), "");
    write_log(&server, 8);
    assert_eq!(server.psql("SELECT wal_status FROM pg_replication_slots"), "extended");
    let warning = accepted(&cdc(&server));
    assert!(warning.contains("holds back 12") && warning.contains("it will be lost"), "{warning}");
}

#[test]
fn an_idle_timeout_of_slots_is_warned_of() {
    let server = ready(Postgres::options(Version::V18).setting("idle_replication_slot_timeout = '1h'"));
    let warning = accepted(&cdc(&server));
    assert!(warning.contains("idle_replication_slot_timeout is 3600 s"), "{warning}");
}

#[test]
fn a_missing_publication_is_told_with_the_statement_that_makes_it() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        server.psql(&format!("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE log (at text); {SLOT}"));
        let message = refused(&cdc(&server));
        // Not the table whose updates it would break.
        assert_eq!(statement(&message), "CREATE PUBLICATION \"p\" FOR TABLE public.t");
        server.psql(&statement(&message));
        accepted(&cdc(&server));
    }
}

#[test]
fn tables_that_are_not_in_the_publication_are_named_with_the_statement_that_adds_them() {
    let server = start(Version::V15);
    server.psql("CREATE TABLE other (id int PRIMARY KEY); CREATE VIEW v AS SELECT 1 AS one");
    let warning = accepted(&cdc(&server));
    assert!(warning.contains("public.other not in the publication"), "{warning}");
    assert_eq!(statement(&warning), "ALTER PUBLICATION \"p\" ADD TABLE public.other");
    server.psql("ALTER PUBLICATION p DROP TABLE t");
    let message = refused(&cdc(&server));
    assert!(
        message.contains("No table of the config's schemas") && message.contains("public.t"),
        "{message}"
    );
    server.psql(&statement(&message));
    accepted(&cdc(&server));
}

#[test]
fn partitions_need_not_be_listed_beside_their_table() {
    let server = start(Version::V15);
    server.psql(
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); ALTER PUBLICATION p ADD TABLE parts",
    );
    for via_root in [false, true] {
        server.psql(&format!("ALTER PUBLICATION p SET (publish_via_partition_root = {via_root})"));
        assert_eq!(accepted(&cdc(&server)), "");
    }
}

#[test]
fn a_publication_that_leaves_out_kinds_of_change_is_told() {
    let server = start(Version::V15);
    server.psql("ALTER PUBLICATION p SET (publish = 'insert, update')");
    let warning = accepted(&cdc(&server));
    assert!(warning.contains("does not publish deletes and truncates"), "{warning}");
    server.psql("ALTER PUBLICATION p SET (publish = 'update')");
    let message = refused(&cdc(&server));
    assert!(message.contains("does not publish inserts"), "{message}");
    server.psql(&statement(&message));
    assert_eq!(accepted(&cdc(&server)), "");
}

#[test]
fn pg_21_a_table_without_a_key_is_full_refresh_only_and_check_says_so() {
    let server = start(Version::V15);
    server.psql("CREATE TABLE keyless (a int NOT NULL, b text); ALTER TABLE keyless REPLICA IDENTITY FULL; ALTER PUBLICATION p ADD TABLE keyless");
    let warning = accepted(&cdc(&server));
    assert!(warning.contains("full refresh only") && warning.contains("public.keyless"), "{warning}");
    server.psql("CREATE UNIQUE INDEX i ON keyless (a); ALTER TABLE keyless REPLICA IDENTITY USING INDEX i");
    assert_eq!(accepted(&cdc(&server)), "");
    server.psql("ALTER TABLE keyless ADD PRIMARY KEY (b)");
    assert!(accepted(&cdc(&server)).contains("lacks columns of the primary key"));
}

#[test]
fn pg_22_what_check_refuses_are_exactly_the_tables_whose_writes_the_publication_breaks() {
    // Table, and how it is added to the publication.
    let cases = [
        ("x (id int PRIMARY KEY, a int)", "", "x", false),
        ("x (id int, a int)", "", "x", true),
        ("x (id int, a int)", "ALTER TABLE x REPLICA IDENTITY FULL", "x", false),
        ("x (id int PRIMARY KEY, a int)", "ALTER TABLE x REPLICA IDENTITY NOTHING", "x", true),
        ("x (id int PRIMARY KEY DEFERRABLE, a int)", "", "x", true),
        (
            "x (id int NOT NULL UNIQUE, a int)",
            "ALTER TABLE x REPLICA IDENTITY USING INDEX x_id_key",
            "x",
            false,
        ),
        (
            "x (id int NOT NULL UNIQUE, a int)",
            "ALTER TABLE x REPLICA IDENTITY USING INDEX x_id_key; ALTER TABLE x DROP CONSTRAINT x_id_key",
            "x",
            true,
        ),
        ("x (id int PRIMARY KEY, a int)", "", "x (a)", true),
        ("x (id int PRIMARY KEY, a int)", "", "x (id)", false),
        ("x (id int, a int)", "ALTER TABLE x REPLICA IDENTITY FULL", "x (id, a)", true),
        ("x (id int PRIMARY KEY, a int)", "", "x WHERE (a > 0)", true),
        ("x (id int PRIMARY KEY, a int)", "", "x WHERE (id > 0)", false),
        ("x (id int PRIMARY KEY, a int)", "ALTER TABLE x REPLICA IDENTITY FULL", "x WHERE (a > 0)", false),
        ("x (id int, a int, PRIMARY KEY (id) INCLUDE (a))", "", "x (id)", false),
        (
            "x (id int, a int) PARTITION BY RANGE (id)",
            "CREATE TABLE y PARTITION OF x FOR VALUES FROM (0) TO (9)",
            "x",
            true,
        ),
        (
            "x (id int PRIMARY KEY, a int) PARTITION BY RANGE (id)",
            "CREATE TABLE y PARTITION OF x FOR VALUES FROM (0) TO (9)",
            "x",
            false,
        ),
        // Identities are each partition's own.
        (
            "x (id int, a int) PARTITION BY RANGE (id)",
            "CREATE TABLE y PARTITION OF x FOR VALUES FROM (0) TO (9); ALTER TABLE y ADD PRIMARY KEY (id)",
            "x",
            false,
        ),
    ];
    for version in [Version::V15, Version::V18] {
        let server = start(version);
        for (table, then, published, breaks) in cases {
            for via_root in [false, true] {
                server.psql(&format!(
                    "CREATE TABLE {table}; {then}; INSERT INTO x VALUES (1, 1);
                     ALTER PUBLICATION p SET (publish_via_partition_root = {via_root});
                     ALTER PUBLICATION p ADD TABLE {published};"
                ));
                let case = format!("{version:?}: {table}; {then}; {published}; via root {via_root}");
                let works = server.try_psql_in("postgres", "UPDATE x SET a = 2; DELETE FROM x;");
                assert_eq!(works.is_err(), breaks, "the server is of another mind: {case}: {works:?}");
                if breaks {
                    let message = refused(&cdc(&server));
                    assert!(message.contains("UPDATE and DELETE fail for everybody"), "{case}: {message}");
                    let statement = message.contains("REPLICA IDENTITY") || message.contains("SET TABLE");
                    assert!(statement, "{case}: {message}");
                } else {
                    accepted(&cdc(&server));
                }
                server.psql("DROP TABLE x");
            }
        }
    }
}

#[test]
fn pg_22_a_keyless_table_whose_inserts_alone_are_published_breaks_nothing() {
    let server = start(Version::V15);
    server.psql("CREATE TABLE keyless (a int); ALTER PUBLICATION p SET (publish = 'insert'); ALTER PUBLICATION p ADD TABLE keyless;
        INSERT INTO keyless VALUES (1); UPDATE keyless SET a = 2; DELETE FROM keyless;");
    accepted(&cdc(&server));
    server.psql("ALTER PUBLICATION p SET (publish = 'insert, delete')");
    let message = refused(&cdc(&server));
    assert!(message.contains("makes DELETE fail"), "{message}");
}

#[test]
fn pg_22_tables_of_other_schemas_count_as_well() {
    let server = start(Version::V15);
    server.psql("CREATE SCHEMA other; CREATE TABLE other.keyless (a int); ALTER PUBLICATION p ADD TABLE other.keyless");
    let message = refused(&cdc(&server));
    assert!(message.contains("\"other\".keyless"), "{message}");
}

#[test]
fn modes_of_encryption_that_try_twice_are_refused() {
    let server = start(Version::V15);
    for (mode, fine) in [("allow", false), ("prefer", false), ("require", true), ("disable", true)] {
        let mut config = cdc(&server);
        config["ssl_mode"] = json!({ "mode": mode });
        if fine {
            accepted(&config);
        } else {
            assert!(refused(&config).contains(&format!("ssl_mode {mode}")));
        }
    }
    let mut config = cdc(&server);
    config["ssl_mode"] = server.config_json_verify_full("postgres")["ssl_mode"].clone();
    config["host"] = Value::from("localhost");
    accepted(&config);
}

#[test]
fn pg_29_a_standby_that_cannot_decode_its_log_is_told() {
    let primary = start(Version::V15);
    let standby = Postgres::options(Version::V15).standby_of(&primary).start();
    let message = refused(&cdc(&standby));
    assert!(message.contains("standby of version 15") && message.contains("primary"), "{message}");
    // Everything else works there.
    accepted(&standby.config_json("postgres"));
}
