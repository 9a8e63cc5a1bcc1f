//! New raw rows are added to what is there; what others did in between is noticed.

use serde_json::{Value, json};
use testkit::services::Postgres;

use super::{BOTH, columns, insert, normalize, normalizer, raw_table, stream, talk};
use crate::config::NestedObjects;
use crate::normalize::expression::Casting;
use crate::normalize::statements::Scope;
use crate::normalize::{Normalizer, Settings, plan};

fn schema() -> Value {
    let tag = json!({"type": "object", "properties": {"t": {"type": "string"}}});
    json!({"id": {"type": "integer"}, "name": {"type": "string"}, "tags": {"type": "array", "items": tag}})
}

fn things(form: NestedObjects) -> Normalizer {
    normalizer(&stream("things", schema(), "append"), form).unwrap()
}

fn row(id: u32) -> Value {
    json!({"id": id, "name": format!("n{id}"), "tags": [{"t": format!("t{id}")}]})
}

fn server_with_rows() -> Postgres {
    let server = Postgres::start(BOTH[0]);
    raw_table(&server, "things");
    for id in 1..=3 {
        insert(&server, "things", &format!("r{id}"), &row(id));
    }
    server
}

const ALL: &str = "SELECT string_agg(id || name || coalesce(t, '-'), ' ' ORDER BY id, t) FROM things LEFT JOIN things_tags USING (_airbyte_things_hashid)";

#[test]
fn only_new_rows_are_added_and_a_second_run_changes_nothing() {
    for form in [NestedObjects::Columns, NestedObjects::Tables] {
        let server = server_with_rows();
        let things = things(form);
        normalize(&server, &things).unwrap();
        let whole = "SELECT (SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM things t), \
                     (SELECT array_agg(xmin::text || ctid::text ORDER BY ctid) FROM things), (SELECT count(*) FROM things_tags)";
        let before = server.psql(whole);
        normalize(&server, &things).unwrap();
        assert_eq!(server.psql(whole), before);
        let old = "SELECT string_agg(xmin::text || ctid::text, ',' ORDER BY ctid) FROM things WHERE id <= 3";
        let before = server.psql(old);
        insert(&server, "things", "r4", &row(4));
        normalize(&server, &things).unwrap();
        assert_eq!(server.psql(old), before, "rows that were there were written again");
        assert_eq!(server.psql(ALL), "1n1t1 2n2t2 3n3t3 4n4t4");
    }
}

#[test]
fn a_run_that_is_killed_after_any_statement_leaves_the_tables_as_they_were() {
    for (form, scope) in [
        (NestedObjects::Columns, Scope::Rebuild { tag: "1".to_owned() }),
        (NestedObjects::Tables, Scope::After(Some("r3".to_owned()))),
    ] {
        let server = server_with_rows();
        let things = things(form);
        normalize(&server, &things).unwrap();
        let before = server.psql(ALL);
        insert(&server, "things", "r4", &row(4));
        let statements = things.plan.statements(&scope, Casting::Strict);
        for end in 1..=statements.len() {
            talk(&server, async |lane| {
                lane.begin().await.unwrap();
                for sql in &statements[..end] {
                    lane.execute(sql).await.unwrap();
                }
                let kill = "SELECT pg_terminate_backend(pg_backend_pid())";
                lane.execute(kill).await.unwrap_err();
            });
            assert_eq!(server.psql(ALL), before, "{form:?} after {end}");
        }
        normalize(&server, &things).unwrap();
        assert_eq!(server.psql(ALL), "1n1t1 2n2t2 3n3t3 4n4t4");
        assert_eq!(server.psql("SELECT count(*) FROM pg_class WHERE relname LIKE '%ferrybyte_new%'"), "0");
    }
}

#[test]
fn rows_that_somebody_else_put_between_the_old_ones_are_found() {
    let server = server_with_rows();
    let things = things(NestedObjects::Columns);
    normalize(&server, &things).unwrap();
    insert(&server, "things", "r1a", &row(9));
    normalize(&server, &things).unwrap();
    assert_eq!(server.psql(ALL), "1n1t1 2n2t2 3n3t3 9n9t9");
}

#[test]
fn what_was_normalized_stays_when_raw_rows_are_removed_unless_the_tables_must_be_made_anew() {
    let server = server_with_rows();
    let things = things(NestedObjects::Columns);
    normalize(&server, &things).unwrap();
    server.psql("DELETE FROM _airbyte_raw_things WHERE _airbyte_ab_id = 'r1'");
    insert(&server, "things", "r4", &row(4));
    normalize(&server, &things).unwrap();
    assert_eq!(server.psql(ALL), "1n1t1 2n2t2 3n3t3 4n4t4");
    normalize(&server, &things).unwrap();
    assert_eq!(server.psql(ALL), "1n1t1 2n2t2 3n3t3 4n4t4");
    let mut more = schema();
    more["extra"] = json!({"type": "string"});
    let wider = normalizer(&stream("things", more, "append"), NestedObjects::Columns).unwrap();
    let error = normalize(&server, &wider).unwrap_err();
    assert!(
        error.message().contains("_airbyte_raw_things") && error.message().contains("refresh"),
        "{error}"
    );
    assert_eq!(server.psql(ALL), "1n1t1 2n2t2 3n3t3 4n4t4");
}

#[test]
fn a_field_that_comes_later_is_filled_for_the_rows_that_had_it() {
    let server = server_with_rows();
    insert(&server, "things", "r4", &json!({"id": 4, "name": "n4", "tags": [], "extra": {"a": "x"}}));
    normalize(&server, &things(NestedObjects::Columns)).unwrap();
    let mut more = schema();
    more["extra"] = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let wider = normalizer(&stream("things", more, "append"), NestedObjects::Columns).unwrap();
    normalize(&server, &wider).unwrap();
    assert_eq!(server.psql("SELECT id, extra_a FROM things ORDER BY id"), "1|\n2|\n3|\n4|x");
}

#[test]
fn tables_that_were_dropped_or_altered_are_made_anew_and_those_of_others_are_left_alone() {
    let server = server_with_rows();
    let things = things(NestedObjects::Columns);
    server.psql("CREATE TABLE things_tags (mine int); INSERT INTO things_tags VALUES (7)");
    let error = normalize(&server, &things).unwrap_err();
    assert!(error.message().contains("\"things_tags\"") && error.message().contains("rename"), "{error}");
    let prepared = talk(&server, async |lane| things.prepare(lane).await);
    assert!(prepared.is_err(), "it is refused before anything is loaded");
    assert_eq!(server.psql("SELECT mine FROM things_tags"), "7");
    assert_eq!(server.psql("SELECT to_regclass('things') IS NULL"), "t");
    server.psql("DROP TABLE things_tags");
    normalize(&server, &things).unwrap();
    server.psql("DROP TABLE things_tags; ALTER TABLE things ALTER name TYPE varchar(10)");
    normalize(&server, &things).unwrap();
    assert_eq!(server.psql(ALL), "1n1t1 2n2t2 3n3t3");
    assert!(columns(&server, "things").contains("name text"));
}

#[test]
fn views_of_the_tables_survive_their_being_made_anew() {
    let server = server_with_rows();
    let things = things(NestedObjects::Columns);
    normalize(&server, &things).unwrap();
    server.psql(
        "CREATE VIEW names AS SELECT name FROM things; CREATE ROLE reader; GRANT SELECT ON things TO reader",
    );
    insert(&server, "things", "a", &row(4));
    normalize(&server, &things).unwrap();
    assert_eq!(server.psql("SELECT count(*) FROM names"), "4");
    assert_eq!(server.psql("SELECT has_table_privilege('reader', 'things', 'SELECT')"), "t");
    assert_eq!(server.psql(ALL), "1n1t1 2n2t2 3n3t3 4n4t4");
}

#[test]
fn several_streams_are_normalized_in_one_transaction() {
    let server = server_with_rows();
    server.psql("CREATE TABLE _airbyte_raw_others AS TABLE _airbyte_raw_things");
    let things = things(NestedObjects::Columns);
    let others = normalizer(&stream("others", schema(), "append"), NestedObjects::Columns).unwrap();
    talk(&server, async |lane| {
        things.prepare(lane).await.unwrap();
        for _ in 0..2 {
            lane.begin().await.unwrap();
            things.run(lane, true).await.unwrap();
            others.run(lane, true).await.unwrap();
            lane.commit().await.unwrap();
        }
    });
    assert_eq!(
        server.psql("SELECT (SELECT count(*) FROM things_tags), (SELECT count(*) FROM others_tags)"),
        "3|3"
    );
}

#[test]
fn streams_that_want_one_table_do_not_take_it_from_each_other() {
    for form in [NestedObjects::Columns, NestedObjects::Tables] {
        let server = server_with_rows();
        let things = things(form);
        normalize(&server, &things).unwrap();
        // Called as what is nested in the other stream.
        raw_table(&server, "things_tags");
        insert(&server, "things_tags", "x1", &row(7));
        let tags = normalizer(&stream("things_tags", schema(), "append"), form).unwrap();
        let error = normalize(&server, &tags).unwrap_err();
        assert!(error.message().contains("another stream"), "{error}");
        assert_eq!(server.psql(ALL), "1n1t1 2n2t2 3n3t3");
        // Planned together they have names of their own; the first to be written must not lose its table to the other's tidying.
        server.psql("DROP TABLE things_tags");
        let both = [stream("things", schema(), "append"), stream("things_tags", schema(), "append")];
        let settings = Settings {
            form,
            internal: "airbyte_internal".to_owned(),
            keeps_deleted: false,
            drop_cascade: false,
        };
        let plans = plan(&both, &["public".to_owned(), "public".to_owned()], &settings).unwrap();
        for i in [1, 0, 1, 0] {
            normalize(&server, &plans[i]).unwrap();
        }
        assert_eq!(server.psql("SELECT id, name FROM things_tags"), "7|n7");
        let nested = &plans[0].plan.root.children[0].node.table;
        assert_eq!(server.psql(&format!("SELECT string_agg(t, ',' ORDER BY t) FROM {nested}")), "t1,t2,t3");
    }
}
