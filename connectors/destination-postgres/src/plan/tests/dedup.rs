//! Streams that are deduplicated.

use connector_kit::SelectedStream;
use serde_json::{Value, json};
use testkit::services::{Postgres, Version};

use super::{OPTIONS, again, indexes, open, put, rows, stream, sync, sync_with, talk, with_fields};
use crate::plan::Options;

fn with_cursor(more: Value) -> SelectedStream {
    let mut fields = json!({"id": {"type": "integer"}, "v": {"type": "string"}, "at": {"type": "integer"}});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    with_fields(fields, json!({"destination_sync_mode": "append_dedup", "cursor_field": ["at"]}))
}

fn dedup() -> SelectedStream {
    with_cursor(json!({}))
}

#[test]
fn dp_12_the_winner_of_rows_with_one_key_is_the_documented_one() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        talk(&server, async |mut lane| {
            for (sent, expected) in [
                // The greater cursor, wherever it stands.
                (&["1, 'a', 1", "1, 'b', 2"][..], "1=b"),
                (&["1, 'b', 2", "1, 'a', 1"], "1=b"),
                // Of equal cursors and times, the one that came last.
                (&["1, 'a', 1", "1, 'b', 1", "1, 'c', 1"], "1=c"),
                // Null is the smallest.
                (&["1, 'a', NULL", "1, 'b', 1", "1, 'c', NULL"], "1=b"),
                (&["1, 'a', NULL", "1, 'b', NULL"], "1=b"),
                // Other keys are untouched.
                (&["2, 'x', 1", "1, 'a', 1", "2, 'y', 2"], "1=a 2=y"),
            ] {
                // Loaded straight into the empty table and settled there, or gathered and merged: the same.
                for there in [&[][..], &["0, 'there', 0"]] {
                    server.psql("DROP TABLE IF EXISTS t");
                    again(&server, &mut lane).await;
                    if !there.is_empty() {
                        sync(&mut lane, &dedup(), there).await;
                    }
                    sync(&mut lane, &dedup(), sent).await;
                    let before = if there.is_empty() { "" } else { "0=there " };
                    assert_eq!(rows(&server), format!("{before}{expected}"), "{sent:?}");
                }
            }
        });
    }
}

#[test]
fn dp_12_a_stored_row_is_replaced_by_one_that_is_newer_or_ties() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        for (stored, sent, expected) in [
            ("1, 'a', 1", "1, 'b', 2", "1=b"),
            ("1, 'a', 2", "1, 'b', 1", "1=a"),
            ("1, 'a', 1", "1, 'b', 1", "1=b"),
            ("1, 'a', NULL", "1, 'b', 1", "1=b"),
            ("1, 'a', 1", "1, 'b', NULL", "1=a"),
            ("1, 'a', NULL", "1, 'b', NULL", "1=b"),
        ] {
            server.psql("DROP TABLE IF EXISTS t");
            sync(&mut lane, &dedup(), &[stored]).await;
            sync(&mut lane, &dedup(), &[sent]).await;
            assert_eq!(rows(&server), expected, "{stored} then {sent}");
        }
    });
}

#[test]
fn dp_12_without_a_cursor_the_later_extraction_wins() {
    let server = Postgres::start(Version::V15);
    let plain = stream(json!({"destination_sync_mode": "append_dedup"}));
    talk(&server, async |mut lane| {
        sync(&mut lane, &plain, &["1, 'a'", "1, 'b'"]).await;
        assert_eq!(rows(&server), "1=b");
        sync(&mut lane, &plain, &["1, 'c'"]).await;
        assert_eq!(rows(&server), "1=c");
        server.psql("UPDATE t SET _airbyte_extracted_at = '2030-01-01Z'");
        sync(&mut lane, &plain, &["1, 'd'"]).await;
        assert_eq!(rows(&server), "1=c");
    });
}

#[test]
fn dp_12_deleted_rows_go_or_are_marked_as_the_config_says() {
    let server = Postgres::start(Version::V15);
    let cdc = with_cursor(json!({"_ab_cdc_deleted_at": {"type": "string"}}));
    for (deletes, expected) in [(true, "2=b 5=e"), (false, "1=a2 2=b 3=c 4=d 5=e")] {
        server.psql("DROP TABLE IF EXISTS t");
        let options = Options { deletes, ..OPTIONS };
        talk(&server, async |mut lane| {
            // A row that was born and died in between never was; one that is born again stays.
            let first = [
                "1, 'a', 1, NULL",
                "2, 'b', 5, NULL",
                "4, 'd', 1, 'gone'",
                "5, 'e0', 1, 'gone'",
                "5, 'e', 2, NULL",
            ];
            sync_with(&mut lane, &cdc, &first, options).await;
            // A deletion older than the stored row is no news; one of a row that is not there neither.
            let second = ["1, 'a2', 2, 'gone'", "2, 'b0', 4, 'gone'", "3, 'c', 1, 'gone'"];
            sync_with(&mut lane, &cdc, &second, options).await;
        });
        assert_eq!(rows(&server), expected);
    }
}

#[test]
fn rows_without_a_whole_key_equal_no_other() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        sync(&mut lane, &dedup(), &["NULL, 'a', 1", "NULL, 'b', 1"]).await;
        sync(&mut lane, &dedup(), &["NULL, 'c', 1"]).await;
        assert_eq!(server.psql("SELECT string_agg(v, ' ' ORDER BY v) FROM t"), "a b c");
    });
}

#[test]
fn keys_of_several_columns_and_odd_names_are_merged() {
    let server = Postgres::start(Version::V15);
    let odd = with_fields(
        json!({"a\"b": {"type": "string"}, "select": {"type": "string", "format": "date"}, "v": {"type": "number"}}),
        json!({"destination_sync_mode": "append_dedup", "primary_key": [["a\"b"], ["select"]], "cursor_field": ["v"]}),
    );
    talk(&server, async |mut lane| {
        let first = ["'x', '2024-01-01', 1", "'x', '2024-01-02', 1", "'x', '2024-01-01', 2"];
        sync(&mut lane, &odd, &first).await;
        sync(&mut lane, &odd, &["'x', '2024-01-02', 3"]).await;
    });
    assert_eq!(server.psql("SELECT a_b, \"select\", v FROM t ORDER BY 2"), "x|2024-01-01|2\nx|2024-01-02|3");
    assert_eq!(
        indexes(&server),
        "idx_cursor_t (v), idx_extracted_at_t (_airbyte_extracted_at), idx_pk_t (a_b, \"select\")"
    );
}

#[test]
fn every_commit_leaves_one_row_per_key() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        let mut plan = open(&mut lane, &dedup()).await.unwrap();
        for round in 0..3 {
            put(&mut lane, &plan, &[&format!("1, 'r{round}', {round}"), &format!("1, 'r{round}x', {round}")])
                .await;
            plan.flush(&mut lane).await.unwrap();
            let before = if round == 0 { String::new() } else { format!("1=r{}x", round - 1) };
            assert_eq!(rows(&server), before);
            lane.commit().await.unwrap();
            assert_eq!(rows(&server), format!("1=r{round}x"));
        }
        // A source that fails now has lost nothing.
        plan.abandon(&mut lane).await.unwrap();
        assert_eq!(rows(&server), "1=r2x");
    });
}

#[test]
fn what_was_gathered_and_rolled_back_is_not_merged_later() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        let mut plan = open(&mut lane, &dedup()).await.unwrap();
        for (keep, row) in [(true, "1, 'a', 1"), (false, "1, 'b', 2"), (true, "2, 'c', 1")] {
            put(&mut lane, &plan, &[row]).await;
            if keep {
                plan.flush(&mut lane).await.unwrap();
                lane.commit().await.unwrap();
            } else {
                lane.rollback().await.unwrap();
            }
        }
        assert_eq!(rows(&server), "1=a 2=c");
    });
}

#[test]
fn another_key_or_cursor_gets_other_indexes() {
    let server = Postgres::start(Version::V15);
    let other = {
        let mut other = dedup();
        other.primary_key = vec![vec!["v".into()]];
        other.cursor_field = vec!["id".into()];
        other
    };
    talk(&server, async |mut lane| {
        sync(&mut lane, &dedup(), &["1, 'a', 1"]).await;
        again(&server, &mut lane).await;
        sync(&mut lane, &other, &["2, 'a', 1"]).await;
        assert_eq!(rows(&server), "2=a");
        assert_eq!(
            indexes(&server),
            "idx_cursor_t (id), idx_extracted_at_t (_airbyte_extracted_at), idx_pk_t (v)"
        );
    });
}

#[test]
fn a_key_that_is_no_field_is_refused_by_name() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        let odd = stream(json!({"destination_sync_mode": "append_dedup", "primary_key": [["absent"]]}));
        let error = open(&mut lane, &odd).await.unwrap_err();
        assert!(error.message().contains("\"absent\""), "{error}");
    });
}

#[test]
fn keys_that_were_there_twice_before_are_merged_all_the_same() {
    let server = Postgres::start(Version::V15);
    let key = "SELECT indisunique, obj_description(indexrelid) FROM pg_index WHERE indexrelid = 'idx_pk_t'::regclass";
    talk(&server, async |mut lane| {
        let append = {
            let mut append = dedup();
            append.destination_sync_mode = connector_kit::protocol::DestinationSyncMode::Append;
            append
        };
        sync(&mut lane, &append, &["1, 'a', 1", "1, 'b', 1", "2, 'c', 1"]).await;
        again(&server, &mut lane).await;
        for v in ["d", "e"] {
            sync(&mut lane, &dedup(), &[&format!("2, '{v}x', 1"), &format!("2, '{v}', 1"), "3, 'f', 1"])
                .await;
            assert_eq!(rows(&server), format!("1=a 1=b 2={v} 3=f"));
            assert_eq!(server.psql(key), "f|Rows with equal keys were there when this index was made.");
            again(&server, &mut lane).await;
        }
    });
}

#[test]
fn an_index_that_airbyte_made_becomes_unique() {
    let server = Postgres::start(Version::V15);
    server.psql(
        "CREATE TABLE t (_airbyte_raw_id varchar NOT NULL, _airbyte_extracted_at timestamptz NOT NULL, _airbyte_meta jsonb NOT NULL,
         _airbyte_generation_id bigint, id bigint, v varchar, at bigint); CREATE INDEX idx_pk_t ON t (id);
         INSERT INTO t VALUES ('', '2023-01-01Z', '{}', 0, 1, 'a', 1), ('', '2023-01-01Z', '{}', 0, 2, 'b', 1), ('', '2023-01-01Z', '{}', 0, NULL, 'n', 1)",
    );
    talk(&server, async |mut lane| {
        sync(&mut lane, &dedup(), &["1, 'c', 1", "3, 'd', 1", "NULL, 'm', 1"]).await;
    });
    assert_eq!(server.psql("SELECT id, v FROM t ORDER BY 1, 2"), "1|c\n2|b\n3|d\n|m\n|n");
    assert_eq!(
        server.psql("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass AND indisunique"),
        "1"
    );
    assert!(indexes(&server).ends_with("idx_pk_t (id)"), "{}", indexes(&server));
}
