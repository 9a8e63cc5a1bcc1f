//! Streams that are deduplicated.

use proptest::test_runner::{Config, TestRunner};
use proptest::{collection::vec, prop_assert_eq};
use serde_json::{Value, json};
use testkit::services::Postgres;

use super::{BOTH, columns, emit, emitted, normalize, normalizer, raw_table, stream};
use crate::config::NestedObjects;
use crate::normalize::Normalizer;

fn schema() -> Value {
    let text = json!({"type": "string"});
    json!({
        "id": {"type": "integer"},
        "at": {"type": "integer"},
        "name": text,
        "tags": {"type": "array", "items": {"type": "object", "properties": {"t": text}}},
        "_ab_cdc_deleted_at": text
    })
}

fn people(form: NestedObjects) -> Normalizer {
    normalizer(&stream("people", schema(), "append_dedup"), form).unwrap()
}

fn row(id: i64, at: Option<i64>, name: &str) -> Value {
    json!({"id": id, "at": at, "name": name, "tags": [{"t": name}]})
}

const CURRENT: &str = "SELECT string_agg(id || name || coalesce(t, '-'), ' ' ORDER BY id) FROM people LEFT JOIN people_tags USING (_airbyte_people_hashid)";

#[test]
fn the_latest_version_of_each_key_counts_whatever_the_order_of_arrival() {
    for version in BOTH {
        for form in [NestedObjects::Columns, NestedObjects::Tables] {
            let server = Postgres::start(version);
            let people = people(form);
            raw_table(&server, "people");
            emit(&server, "people", "a1", &row(1, Some(10), "one"), 0);
            emit(&server, "people", "a2", &row(2, None, "two"), 0);
            emit(&server, "people", "a3", &row(3, Some(10), "three"), 0);
            normalize(&server, &people).unwrap();
            assert_eq!(server.psql(CURRENT), "1oneone 2twotwo 3threethree");
            // Older than what is there, newer, with a cursor where there was none, and deleted.
            emit(&server, "people", "b1", &row(1, Some(9), "old"), 1);
            emit(&server, "people", "b2", &row(2, Some(1), "second"), 1);
            let mut deleted = row(3, Some(11), "three");
            deleted["_ab_cdc_deleted_at"] = "2024-01-01".into();
            emit(&server, "people", "b3", &deleted, 1);
            normalize(&server, &people).unwrap();
            assert_eq!(server.psql(CURRENT), "1oneone 2secondsecond");
            // What was deleted does not come back by a row that is older than its end.
            emit(&server, "people", "c1", &row(3, Some(10), "late"), 2);
            emit(&server, "people", "c2", &row(1, Some(10), "tie"), 2);
            normalize(&server, &people).unwrap();
            assert_eq!(server.psql(CURRENT), "1tietie 2secondsecond");
            assert_eq!(
                server.psql("SELECT id, _airbyte_start_at, _airbyte_end_at, _airbyte_active_row, name FROM people_scd ORDER BY 1, 2, 3 NULLS LAST"),
                "1|9|10|0|old\n1|10|10|0|one\n1|10||1|tie\n2|1||1|second\n2||1|0|two\n3|10|10|0|three\n3|10|11|0|late\n3|11||0|three"
            );
        }
    }
}

#[test]
fn the_tables_of_a_deduplicated_stream_are_laid_out_as_airbytes() {
    let server = Postgres::start(BOTH[0]);
    raw_table(&server, "people");
    normalize(&server, &people(NestedObjects::Tables)).unwrap();
    let fields = "id bigint, at bigint, name text, tags jsonb, _ab_cdc_deleted_at text";
    let rest = "_airbyte_ab_id character varying, _airbyte_emitted_at timestamptz, _airbyte_normalized_at timestamptz, _airbyte_people_hashid text";
    assert_eq!(columns(&server, "people"), format!("_airbyte_unique_key text, {fields}, {rest}"));
    assert_eq!(
        columns(&server, "people_scd"),
        format!(
            "_airbyte_unique_key text, _airbyte_unique_key_scd text, {fields}, _airbyte_start_at bigint, \
             _airbyte_end_at bigint, _airbyte_active_row integer, {rest}"
        )
    );
    let server = Postgres::start(BOTH[0]);
    raw_table(&server, "people");
    normalize(&server, &people(NestedObjects::Columns)).unwrap();
    assert_eq!(
        columns(&server, "people"),
        "id bigint, at bigint, name text, _ab_cdc_deleted_at text, _airbyte_normalized_at timestamptz, _airbyte_people_hashid text"
    );
}

#[test]
fn keys_whose_hashes_are_one_are_kept_apart() {
    let text = json!({"type": "string"});
    let mut pairs = stream("pairs", json!({"id": text, "b": text, "at": text}), "append_dedup");
    pairs.primary_key = vec![vec!["id".to_owned()], vec!["b".to_owned()]];
    for form in [NestedObjects::Columns, NestedObjects::Tables] {
        let server = Postgres::start(BOTH[0]);
        raw_table(&server, "pairs");
        let pairs = normalizer(&pairs, form).unwrap();
        let rows = [("x-y", Some("z")), ("x", Some("y-z")), ("x", None), ("x", Some(""))];
        for round in 0..2 {
            for (i, (id, b)) in rows.iter().enumerate() {
                emit(&server, "pairs", &format!("{round}{i}"), &json!({"id": id, "b": b}), round);
            }
            normalize(&server, &pairs).unwrap();
            assert_eq!(server.psql("SELECT count(*), count(b) FROM pairs"), "4|3", "{form:?} {round}");
        }
    }
}

/// Whatever comes in whatever portions, the tables are those that all raw rows together make.
#[test]
fn portions_make_the_same_tables_as_all_at_once() {
    let server = Postgres::start(BOTH[0]);
    raw_table(&server, "people");
    for form in [NestedObjects::Columns, NestedObjects::Tables] {
        let people = people(form);
        let portions = vec(vec((0..4_i64, 0..5_i64, 0..3_u8, 0..8_u8, 0..3_u32), 1..6), 1..5);
        let mut runner =
            TestRunner::new(Config { cases: 10, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&portions, |portions| {
            server.psql(
                "TRUNCATE _airbyte_raw_people; DROP TABLE IF EXISTS people, people_scd, people_tags; \
                 DROP SCHEMA IF EXISTS airbyte_internal CASCADE",
            );
            let mut number = 0;
            for portion in &portions {
                let mut rows = String::new();
                for (id, at, name, deleted, second) in portion {
                    let at = (*at > 0).then_some(*at);
                    let mut data = row(*id, at, &format!("n{name}"));
                    if *deleted == 0 {
                        data["_ab_cdc_deleted_at"] = "x".into();
                    }
                    number += 1;
                    rows += &emitted("people", &format!("r{number:04}"), &data, *second);
                }
                server.psql(&rows);
                normalize(&server, &people).unwrap();
            }
            let all = "SELECT md5(concat((SELECT string_agg(t::text, ',' ORDER BY t::text) FROM (SELECT to_jsonb(p) - '_airbyte_normalized_at' t FROM people p) t), \
                       (SELECT string_agg(t::text, ',' ORDER BY t::text) FROM (SELECT to_jsonb(p) - '_airbyte_normalized_at' t FROM people_scd p) t), \
                       (SELECT string_agg(t::text, ',' ORDER BY t::text) FROM (SELECT to_jsonb(p) - '_airbyte_normalized_at' t FROM people_tags p) t))), \
                       (SELECT count(*) FROM people_scd), (SELECT count(*) FROM people), (SELECT count(*) FROM people_tags)";
            let by_portions = server.psql(all);
            server.psql("DROP SCHEMA airbyte_internal CASCADE; DROP TABLE people_tags");
            normalize(&server, &people).unwrap();
            prop_assert_eq!(by_portions, server.psql(all), "{:?}", form);
            Ok(())
        });
        outcome.unwrap();
        server.psql("DROP TABLE people, people_scd, people_tags; DROP SCHEMA airbyte_internal CASCADE");
    }
}
