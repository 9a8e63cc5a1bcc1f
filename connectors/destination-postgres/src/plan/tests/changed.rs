//! Tables that are there already, and are not as the stream wants them.

use connector_kit::{ErrorKind, SelectedStream};
use serde_json::{Value, json};
use testkit::services::{Postgres, Version};

use super::{again, indexes, open, put, rows, stream, sync, talk, talk_as, with_fields};

const ADDED: &str = "_airbyte_raw_id varchar NOT NULL, _airbyte_extracted_at timestamptz NOT NULL,
    _airbyte_meta jsonb NOT NULL, _airbyte_generation_id bigint";

/// A stream whose only field is of this type.
fn typed(schema: &Value) -> SelectedStream {
    with_fields(json!({"v": schema}), json!({"primary_key": []}))
}

/// A table whose column `v` has this type and holds this value and a null.
fn table_of(server: &Postgres, type_: &str, value: &str) {
    server.psql(&format!(
        "DROP TABLE IF EXISTS t; CREATE TABLE t ({ADDED}, v {type_});
         INSERT INTO t VALUES ('', now(), '{{}}', 0, {value}), ('', now(), '{{}}', 0, NULL)"
    ));
}

#[test]
fn new_fields_get_columns_and_old_columns_stay() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        sync(&mut lane, &stream(json!({})), &["1, 'a'"]).await;
        let fields = json!({"id": {"type": "integer"}, "extra \"x\"": {"type": "number"}});
        sync(&mut lane, &with_fields(fields, json!({})), &["2, 2.50"]).await;
        assert_eq!(server.psql("SELECT id, v, \"extra__x_\" FROM t ORDER BY id"), "1|a|\n2||2.50");
    });
}

#[test]
fn types_are_changed_by_a_cast_that_loses_nothing() {
    let server = Postgres::start(Version::V15);
    server.psql("ALTER DATABASE postgres SET TimeZone = 'America/New_York'");
    let string = json!({"type": "string"});
    let integer = json!({"type": "integer"});
    let number = json!({"type": "number"});
    let object = json!({"type": "object"});
    let date = json!({"type": "string", "format": "date"});
    let zoned = json!({"type": "string", "format": "date-time"});
    let unzoned =
        json!({"type": "string", "format": "date-time", "airbyte_type": "timestamp_without_timezone"});
    for (from, value, to, expected) in [
        ("bigint", "9223372036854775807", &string, "9223372036854775807"),
        ("bigint", "1", &object, "1"),
        ("integer", "1", &integer, "1"),
        ("numeric(38,9)", "1.5", &number, "1.500000000"),
        ("numeric", "12.0", &integer, "12"),
        ("double precision", "0.1234567890123456", &number, "0.1234567890123456"),
        ("jsonb", "'\"text\"'", &string, "text"),
        ("jsonb", "'{\"a\": 1}'", &string, "{\"a\": 1}"),
        ("jsonb", "'12'", &integer, "12"),
        ("json", "'[1]'", &object, "[1]"),
        ("varchar", "'a'", &object, "\"a\""),
        ("varchar(3)", "'abc'", &string, "abc"),
        ("text", "'abc'", &string, "abc"),
        ("varchar", "'2024-02-03T04:05:06'", &zoned, "2024-02-03 04:05:06+00"),
        ("timestamptz", "'2024-02-03 23:30:00-05'", &unzoned, "2024-02-04 04:30:00"),
        ("timestamp(3)", "'2024-02-03 00:00:00.123'", &unzoned, "2024-02-03 00:00:00.123"),
        ("timestamp", "'2024-02-03 00:00:00'", &date, "2024-02-03"),
        ("date", "'2024-02-03'", &zoned, "2024-02-03 00:00:00+00"),
    ] {
        table_of(&server, from, value);
        talk(&server, async |mut lane| {
            open(&mut lane, &typed(to))
                .await
                .unwrap_or_else(|e| panic!("{from} to {to}: {e} {:?}", e.causes()));
        });
        let now = server.psql("SET TimeZone = 'UTC'; SELECT v FROM t WHERE v IS NOT NULL");
        assert_eq!(now, expected, "{from} to {to}");
    }
    for (from, value, to) in [
        ("numeric", "12.5", &integer),
        ("double precision", "1e300", &integer),
        ("timestamp", "'2024-02-03 00:00:01'", &date),
        ("varchar", "'Mallory'", &integer),
        ("varchar", "'Mallory'", &zoned),
        ("boolean", "true", &integer),
        ("jsonb", "'1.5'", &integer),
    ] {
        table_of(&server, from, value);
        let before = server.psql("SELECT * FROM t");
        talk(&server, async |mut lane| {
            let error = open(&mut lane, &typed(to)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{from} to {to}: {error}");
            assert!(
                error.message().contains("\"v\" in the table \"public\".\"t\""),
                "{from} to {to}: {error}"
            );
            assert!(!format!("{error} {:?}", error.causes()).contains("Mallory"), "{error}");
        });
        assert_eq!(server.psql("SELECT * FROM t"), before, "{from} to {to}");
    }
}

#[test]
fn a_table_of_somebody_else_is_left_alone() {
    let server = Postgres::start(Version::V15);
    let own = |more: &str| format!("CREATE TABLE t ({ADDED}, {more})");
    for (made, names) in [
        (
            "CREATE TABLE t (id int)".to_owned(),
            "lacks _airbyte_raw_id, _airbyte_extracted_at, _airbyte_meta and _airbyte_generation_id",
        ),
        ("CREATE VIEW t AS SELECT 1 AS id".to_owned(), "is a view"),
        ("CREATE MATERIALIZED VIEW t AS SELECT 1 AS id".to_owned(), "is a materialized view"),
        ("CREATE SEQUENCE t".to_owned(), "is a sequence"),
        ("CREATE TYPE t AS (id int)".to_owned(), "is no table"),
        (
            "CREATE TABLE t (_airbyte_raw_id uuid, _airbyte_extracted_at timestamptz, _airbyte_meta jsonb, _airbyte_generation_id bigint)".to_owned(),
            "The column _airbyte_raw_id of the table",
        ),
        (own("mine int NOT NULL"), "\"mine\""),
        (own("w text, v text GENERATED ALWAYS AS (w || 'x') STORED"), "\"v\""),
    ] {
        server.psql(&made);
        talk(&server, async |mut lane| {
            for mode in ["append", "overwrite", "append_dedup"] {
                let error = open(&mut lane, &stream(json!({"destination_sync_mode": mode}))).await.unwrap_err();
                assert!(error.message().contains(names), "{error}");
            }
        });
        let kept = server.psql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname <> 't'");
        assert_eq!(kept, "0", "{made}");
        // "CREATE VIEW t AS …" and so on.
        let what = made.strip_prefix("CREATE ").unwrap().split_once(" t ").map_or("SEQUENCE", |(what, _)| what);
        server.psql(&format!("DROP {what} t"));
    }
}

#[test]
fn dp_08_what_the_user_dropped_is_made_again_between_syncs() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        let dedup = stream(json!({"destination_sync_mode": "append_dedup"}));
        sync(&mut lane, &dedup, &["1, 'a'"]).await;
        server.psql("DROP INDEX idx_pk_t; ALTER TABLE t DROP COLUMN v");
        sync(&mut lane, &dedup, &["2, 'b'"]).await;
        assert_eq!(rows(&server), "1=null 2=b");
        assert!(indexes(&server).contains("idx_pk_t (id)"));
        server.psql("DROP TABLE t");
        sync(&mut lane, &dedup, &["3, 'c'"]).await;
        assert_eq!(rows(&server), "3=c");
    });
}

#[test]
fn dp_08_a_table_dropped_during_the_sync_fails_it_by_name() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        for mode in ["append", "overwrite"] {
            let mut plan = open(&mut lane, &stream(json!({"destination_sync_mode": mode}))).await.unwrap();
            put(&mut lane, &plan, &["1, 'a'"]).await;
            lane.commit().await.unwrap();
            let table = plan.load.clone();
            server.psql(&format!("DROP TABLE {table}"));
            let error = plan.publish(&mut lane).await.unwrap_err();
            assert!(error.message().contains(&table.quoted()), "{error}");
            lane.rollback().await.unwrap();
        }
    });
}

#[test]
fn dp_07_more_columns_than_a_table_can_have_are_refused_by_name() {
    let server = Postgres::start(Version::V15);
    let wide = |n: usize| {
        let fields = (0..n).map(|i| (format!("c{i}"), json!({"type": "integer"})));
        with_fields(Value::Object(fields.collect()), json!({"primary_key": []}))
    };
    talk(&server, async |mut lane| {
        let error = open(&mut lane, &wide(1_597)).await.unwrap_err();
        assert!(error.message().contains("1597 fields") && error.message().contains("Stream t"), "{error}");
        open(&mut lane, &wide(1_596)).await.unwrap();
        // Columns that the stream no longer has stay, and count.
        let other = with_fields(json!({"new": {"type": "integer"}}), json!({"primary_key": []}));
        let error = open(&mut lane, &other).await.unwrap_err();
        assert!(error.message().contains("1,600"), "{error}");
    });
}

#[test]
fn dp_14_what_a_user_may_not_do_is_told_with_the_statement_that_mends_it() {
    let server = Postgres::start(Version::V15);
    server.psql("CREATE ROLE w LOGIN PASSWORD 'w'");
    let statement = || {
        let mut message = None;
        talk_as(&server, "w", "w", async |mut lane| {
            let mut dedup = stream(json!({"destination_sync_mode": "append_dedup"}));
            dedup.descriptor.namespace = Some("Sales".into());
            if let Err(error) = open(&mut lane, &dedup).await {
                assert_eq!(error.kind(), ErrorKind::Config, "{error} {:?}", error.causes());
                message = Some(error.message().to_owned());
            }
        });
        message.map(|m| {
            m.split_once("Run ").unwrap_or_else(|| panic!("{m}")).1.split_once(';').unwrap().0.to_owned()
        })
    };
    assert_eq!(statement().unwrap(), "GRANT CREATE ON DATABASE postgres TO w");
    server.psql("CREATE SCHEMA \"Sales\"");
    let table = format!("CREATE TABLE \"Sales\".t ({ADDED}, id bigint)");
    for (expected, then) in [
        ("GRANT USAGE, CREATE ON SCHEMA \"Sales\" TO w", table.as_str()),
        ("GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE \"Sales\".\"t\" TO w", ""),
        ("ALTER TABLE \"Sales\".\"t\" OWNER TO w", ""),
    ] {
        let said = statement().unwrap();
        assert_eq!(said, expected);
        server.psql(&said);
        server.psql(then);
    }
    assert_eq!(statement(), None);
}

#[test]
fn a_run_that_was_killed_leaves_no_defaults_for_the_next() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        let plan = open(&mut lane, &stream(json!({"sync_id": 1}))).await.unwrap();
        put(&mut lane, &plan, &["1, 'a'"]).await;
        lane.commit().await.unwrap();
        again(&server, &mut lane).await;
        let plan = open(&mut lane, &stream(json!({"sync_id": 2}))).await.unwrap();
        assert!(plan.plain().is_none());
        assert_eq!(server.psql("SELECT count(*) FROM pg_attrdef WHERE adrelid = 't'::regclass"), "0");
    });
}
