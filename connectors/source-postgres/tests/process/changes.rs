//! Change data capture: what arrives.

use crate::replica::{Replica, count, data, on_both};

const ONE: &str = "CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'x', 'y'), (2, 'x', NULL); \
                   CREATE PUBLICATION p FOR TABLE t";

/// A value that is stored out of line.
fn big(seed: &str) -> String {
    format!("(SELECT string_agg(md5('{seed}' || i), '') FROM generate_series(1, 400) i)")
}

#[test]
fn a_first_sync_takes_the_rows_and_later_ones_the_changes() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        assert_eq!(count(&replica.sync(), "t"), 2);
        replica.equals("t");
        replica.sql("INSERT INTO t VALUES (3, 'ä\"\\', 'new'); UPDATE t SET a = 'changed' WHERE id = 1; DELETE FROM t WHERE id = 2");
        let output = replica.sync();
        assert_eq!(count(&output, "t"), 3);
        assert!(output.log().contains("The slot \"s\" makes the server keep"), "{}", output.log());
        replica.equals("t");
    });
}

#[test]
fn pg_02_rows_that_were_read_and_never_confirmed_are_read_again_wherever_the_confirmation_ended() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sql("CREATE TABLE u (id int PRIMARY KEY, v int); INSERT INTO u SELECT i, i FROM generate_series(1, 50) i; ALTER PUBLICATION p ADD TABLE u");
        replica.refresh();
        let first = replica.read().output().succeeded();
        // What was read is no longer so: only reading it again, or every change since, gives the truth.
        replica.sql("UPDATE t SET a = 'changed'; DELETE FROM u WHERE id > 40; UPDATE u SET v = -1 WHERE id < 10; INSERT INTO t VALUES (9, 'late', NULL)");
        let is_state = |i: &usize| first.lines[*i].raw.starts_with(br#"{"type":"STATE""#);
        let states: Vec<usize> = (0..first.lines.len()).filter(is_state).collect();
        assert!(states.len() > 2, "{first}");
        for confirmed in std::iter::once(None).chain(states.into_iter().map(Some)) {
            replica.forget();
            if let Some(last) = confirmed {
                replica.take(&first.cut_after(last));
            }
            replica.sync();
            replica.equals("t");
            replica.equals("u");
        }
    });
}

#[test]
fn pg_10_nothing_new_is_no_record() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sync();
        let before = replica.state.clone();
        let output = replica.sync();
        assert_eq!(output.records().count(), 0, "{output}");
        let streams = |state: Option<serde_json::Value>| state.unwrap()["global"]["stream_states"].clone();
        assert_eq!(streams(before), streams(replica.state.clone()));
    });
}

#[test]
fn pg_12_a_value_out_of_line_that_an_update_does_not_touch_stays() {
    on_both(|version| {
        let tables = ["DEFAULT", "FULL", "USING INDEX i2_u_key"].iter().enumerate().map(|(i, identity)| {
            format!(
                "CREATE TABLE i{i} (id int PRIMARY KEY, u int NOT NULL, b text, n int); CREATE UNIQUE INDEX i{i}_u_key ON i{i} (u); \
                 ALTER TABLE i{i} REPLICA IDENTITY {identity}; INSERT INTO i{i} VALUES (1, 1, {}, 0), (2, 2, {}, 0);",
                big("one"),
                big("two")
            )
        });
        let sql: String = tables.chain(["CREATE PUBLICATION p FOR ALL TABLES".to_owned()]).collect();
        let mut replica = Replica::new(version, &sql);
        replica.sync();
        for i in 0..3 {
            replica.sql(&format!("UPDATE i{i} SET n = n + 1; UPDATE i{i} SET n = 7 WHERE id = 2; UPDATE i{i} SET b = {} WHERE id = 1", big("three")));
        }
        let output = replica.sync();
        for i in 0..3 {
            let table = format!("i{i}");
            assert_eq!(count(&output, &table), 4);
            for row in data(&output, &table) {
                assert!(row["b"].as_str().is_some_and(|b| b.len() > 10_000), "a value was lost: {row}");
            }
            replica.equals(&table);
        }
        assert_eq!(output.records().filter(|r| r.extra.contains_key("meta")).count(), 0);
    });
}

#[test]
fn pg_12_a_row_that_is_gone_when_its_value_is_wanted_ends_deleted() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql(&format!(
            "INSERT INTO t VALUES (5, {b}, 'n'), (6, {b}, 'n'); UPDATE t SET b = 'm' WHERE id IN (5, 6); DELETE FROM t WHERE id = 5; \
             UPDATE t SET id = 7 WHERE id = 6",
            b = big("gone")
        ));
        let output = replica.sync();
        replica.equals("t");
        let said: String =
            output.lines.iter().map(|l| String::from_utf8_lossy(&l.raw).into_owned()).collect();
        assert!(said.contains(r#"{"field":"a","change":"NULLED","reason":"SOURCE_RETRIEVAL_ERROR"}"#));
    });
}

#[test]
fn pg_12_many_rows_whose_values_are_wanted_keep_their_order() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sql(&format!("INSERT INTO t SELECT i, {}, '' FROM generate_series(10, 3009) i", big("many")));
        replica.sync();
        replica.sql("UPDATE t SET b = 'first' WHERE id >= 10; UPDATE t SET b = 'second' WHERE id % 3 = 0; DELETE FROM t WHERE id % 7 = 0");
        let output = replica.sync();
        replica.equals("t");
        let lsns: Vec<u64> = data(&output, "t").iter().map(|r| r["_ab_cdc_lsn"].as_u64().unwrap()).collect();
        assert!(lsns.is_sorted(), "records are out of order");
    });
}

#[test]
fn pg_13_a_row_inserted_and_updated_in_one_transaction_is_whole() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql(&format!(
            "BEGIN; INSERT INTO t VALUES (3, {}, 'n'); UPDATE t SET b = 'm' WHERE id = 3; COMMIT",
            big("whole")
        ));
        replica.sync();
        replica.equals("t");
    });
}

#[test]
fn pg_14_a_row_whose_key_changes_leaves_no_copy_under_the_old_key() {
    on_both(|version| {
        for identity in ["DEFAULT", "FULL"] {
            let mut replica =
                Replica::new(version, &format!("{ONE}; ALTER TABLE t REPLICA IDENTITY {identity}"));
            replica.sync();
            replica.sql(&format!("INSERT INTO t VALUES (8, {}, '')", big("moved")));
            replica.sql("UPDATE t SET id = 100 WHERE id = 1; UPDATE t SET id = 80 WHERE id = 8; UPDATE t SET a = 'z' WHERE id = 2");
            let output = replica.sync();
            replica.equals("t");
            let deleted = data(&output, "t").iter().filter(|r| !r["_ab_cdc_deleted_at"].is_null()).count();
            assert_eq!(deleted, 2, "{identity}");
        }
    });
}

#[test]
fn pg_15_the_last_word_on_a_key_within_a_transaction_wins() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql("BEGIN; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'again', 'b'); DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (2, '', ''); DELETE FROM t WHERE id = 2; COMMIT");
        replica.sync();
        replica.equals("t");
        assert_eq!(replica.rows("t").len(), 1);
    });
}

#[test]
fn pg_16_a_truncate_is_told() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql("TRUNCATE t; INSERT INTO t VALUES (9, 'after', '')");
        let output = replica.sync();
        let warnings: Vec<_> =
            output.log().lines().filter(|l| l.contains("TRUNCATE")).map(str::to_owned).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("public.t") && warnings[0].contains("refresh"), "{warnings:?}");
        assert!(replica.rows("t").contains_key("9"));
    });
}

#[test]
fn rollbacks_and_savepoints_leave_nothing_behind() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql(
            "BEGIN; INSERT INTO t VALUES (20, 'never', ''); ROLLBACK; \
             BEGIN; INSERT INTO t VALUES (21, 'kept', ''); SAVEPOINT s; INSERT INTO t VALUES (22, 'never', ''); UPDATE t SET a = 'never'; ROLLBACK TO s; \
             INSERT INTO t VALUES (23, 'kept', ''); COMMIT",
        );
        assert_eq!(count(&replica.sync(), "t"), 2);
        replica.equals("t");
    });
}

#[test]
fn a_transaction_that_was_open_during_the_snapshot_comes_after_it() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        let mut session = replica.server.session("postgres");
        session
            .run("BEGIN; UPDATE t SET a = 'from before' WHERE id = 1; INSERT INTO t VALUES (3, 'open', '')");
        // Moves the log on, so that the snapshot's place is far behind the change's.
        replica.sql("CREATE TABLE noise AS SELECT generate_series(1, 10000)");
        replica.sync();
        assert_eq!(replica.rows("t").len(), 2);
        session.run("UPDATE t SET b = 'and after' WHERE id = 1; COMMIT");
        replica.sync();
        replica.equals("t");
    });
}

#[test]
fn changes_of_partitions_arrive_whichever_way_they_are_published() {
    on_both(|version| {
        for via_root in ["true", "false"] {
            let mut replica = Replica::new(
                version,
                &format!(
                    "CREATE TABLE t (id int PRIMARY KEY, a text) PARTITION BY RANGE (id); \
                     CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100); \
                     CREATE TABLE t2 (a text, id int NOT NULL); ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (100) TO (200); \
                     INSERT INTO t VALUES (1, 'one'), (101, 'two'); \
                     CREATE PUBLICATION p FOR TABLE t WITH (publish_via_partition_root = {via_root})"
                ),
            );
            replica.sync();
            replica.sql("INSERT INTO t VALUES (2, 'n'), (102, 'n'); UPDATE t SET a = 'u' WHERE id IN (1, 101); UPDATE t SET id = 150 WHERE id = 2; DELETE FROM t WHERE id = 101");
            replica.sync();
            // Published by its root it has no changes of its own; else the partitions have them, too.
            let streams = replica.streams();
            assert_eq!(streams.contains(&"t1".to_owned()), via_root == "false", "{streams:?}");
            for stream in streams {
                replica.equals(&stream);
            }
        }
    });
}
