//! Change data capture: tables that change, that join, and that are large.

use crate::replica::{Replica, count, data, on_both};

const ONE: &str = "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x'), (2, 'y'); \
                   CREATE TABLE other (id int PRIMARY KEY); CREATE PUBLICATION p FOR ALL TABLES";

#[test]
fn pg_19_an_added_column_converges_once_the_schema_was_refreshed() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql("ALTER TABLE t ADD COLUMN c text DEFAULT 'filled'; INSERT INTO t VALUES (3, 'z', 'c'); UPDATE t SET c = 'later' WHERE id = 1");
        let output = replica.sync();
        assert_eq!(count(&output, "t"), 2);
        assert!(data(&output, "t")[0].get("c").is_none(), "a column that the catalog does not have");
        replica.refresh();
        let output = replica.sync();
        assert!(output.log().contains("\"c\" was chosen since"), "{}", output.log());
        assert_eq!((count(&output, "t"), count(&output, "other")), (3, 0));
        replica.equals("t");
        assert_eq!(count(&replica.sync(), "t"), 0);
    });
}

#[test]
fn pg_19_a_column_added_while_the_log_is_read_is_named_once() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        let running = replica.read().start();
        drop(running);
        replica.sql("ALTER TABLE t ADD COLUMN c text; INSERT INTO t VALUES (3, 'z', 'c')");
        let output = replica.sync();
        let warnings = output.log().lines().filter(|l| l.contains("new column \"c\"")).count();
        assert_eq!(warnings, 1, "{}", output.log());
    });
}

#[test]
fn pg_20_a_dropped_column_becomes_null_and_the_stream_goes_on() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql("INSERT INTO t VALUES (3, 'z'); ALTER TABLE t DROP COLUMN a; INSERT INTO t VALUES (4)");
        let output = replica.sync();
        let rows = data(&output, "t");
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0]["a"].as_str(), rows[1]["a"].is_null()), (Some("z"), true));
    });
}

#[test]
fn pg_20_a_renamed_column_stops_its_stream_and_no_other() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql(
            "ALTER TABLE t RENAME COLUMN a TO b; INSERT INTO t VALUES (3, 'z'); INSERT INTO other VALUES (1)",
        );
        let (message, output) = replica.sync_fails();
        assert!(message.contains("\"a\"") && message.contains("\"b\""), "{message}");
        assert_eq!((count(&output, "t"), count(&output, "other")), (0, 1));
        replica.equals("other");
        replica.refresh();
        let output = replica.sync();
        assert_eq!((count(&output, "t"), count(&output, "other")), (3, 0));
        replica.equals("t");
    });
}

#[test]
fn pg_20_a_column_of_another_type_stops_its_stream_and_no_other() {
    on_both(|version| {
        let mut replica = Replica::new(
            version,
            "CREATE TABLE t (id int PRIMARY KEY, a int, v varchar(10)); INSERT INTO t VALUES (1, 5, 'v'); CREATE TABLE other (id int PRIMARY KEY); CREATE PUBLICATION p FOR ALL TABLES",
        );
        replica.sync();
        // Types that look the same in JSON are no reason to stop.
        replica.sql("ALTER TABLE t ALTER v TYPE text, ALTER a TYPE bigint; INSERT INTO t VALUES (2, 6000000000, 'longer than ten')");
        replica.sync();
        replica.equals("t");
        replica.sql("ALTER TABLE t ALTER a TYPE text; INSERT INTO t VALUES (3, 'z', ''); INSERT INTO other VALUES (1)");
        let (message, output) = replica.sync_fails();
        assert!(
            message.contains("\"a\"") && message.contains("string") && message.contains("integer"),
            "{message}"
        );
        assert_eq!((count(&output, "t"), count(&output, "other")), (0, 1));
        replica.refresh();
        replica.sync();
        replica.equals("t");
        replica.equals("other");
    });
}

#[test]
fn pg_23_a_table_that_joins_is_the_only_one_read_whole() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql("CREATE TABLE late (id int PRIMARY KEY, a text); INSERT INTO late SELECT i, 'l' FROM generate_series(1, 50) i; UPDATE late SET a = 'm' WHERE id = 7; INSERT INTO t VALUES (3, 'z')");
        replica.refresh();
        let output = replica.sync();
        // Rows that the snapshot has are not sent again from the log.
        assert_eq!((count(&output, "late"), count(&output, "t")), (50, 1));
        replica.sql("DELETE FROM late WHERE id = 9; INSERT INTO t VALUES (4, '')");
        let output = replica.sync();
        assert_eq!((count(&output, "late"), count(&output, "t")), (1, 1));
        for table in ["t", "late", "other"] {
            replica.equals(table);
        }
    });
}

#[test]
fn pg_17_a_large_transaction_needs_little_memory() {
    on_both(|version| {
        let mut replica = Replica::new(version, ONE);
        replica.sync();
        replica.sql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(10, 200009) i");
        let output = replica.read().output().succeeded();
        assert_eq!(count(&output, "t"), 200_000);
        assert!(output.peak_kib < 64 << 10, "{} KiB", output.peak_kib);
    });
}

#[test]
fn odd_names_and_deselected_columns_are_no_hindrance() {
    on_both(|version| {
        let mut replica = Replica::new(
            version,
            "CREATE SCHEMA \"S x\"; CREATE TABLE \"S x\".\"T\"\"q.é\" (id int PRIMARY KEY, \"select\" text, \"😀 b\" text); CREATE PUBLICATION p FOR ALL TABLES",
        );
        replica.config["schemas"] = serde_json::json!(["S x"]);
        replica.refresh();
        let properties = &mut replica.catalog["streams"][0]["stream"]["json_schema"]["properties"];
        properties.as_object_mut().unwrap().remove("select");
        replica.sync();
        replica.sql("INSERT INTO \"S x\".\"T\"\"q.é\" VALUES (1, 'not chosen', 'chosen')");
        let output = replica.sync();
        let rows = data(&output, "T\"q.é");
        assert_eq!((rows.len(), rows[0]["😀 b"].as_str(), rows[0].get("select")), (1, Some("chosen"), None));
        assert!(!output.log().contains("new column"), "{}", output.log());
    });
}
