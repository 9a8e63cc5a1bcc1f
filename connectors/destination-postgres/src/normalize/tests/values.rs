//! Types, values that do not fit, and names that bite.

use serde_json::{Value, json};
use testkit::services::Postgres;

use super::{BOTH, columns, insert, normalize, normalizer, raw_table, stream};
use crate::config::NestedObjects;

#[test]
fn every_type_has_its_column_and_keeps_its_value() {
    let time = |format: &str, kind: &str| json!({"type": "string", "format": format, "airbyte_type": kind});
    let schema = json!({
        "s": {"type": "string"},
        "n": {"type": "number"},
        "i": {"type": ["null", "integer"]},
        "big": {"type": "string", "airbyte_type": "big_integer"},
        "b": {"type": "boolean"},
        "d": {"type": "string", "format": "date"},
        "t": time("time", "time_without_timezone"),
        "tz": time("time", "time_with_timezone"),
        "ts": time("date-time", "timestamp_without_timezone"),
        "tstz": time("date-time", "timestamp_with_timezone"),
        "bin": {"type": "string", "contentEncoding": "base64"},
        "o": {"type": "object"},
        "a": {"type": "array", "items": {"type": "integer"}},
        "u": {"type": ["string", "integer"]}
    });
    let data = json!({
        "s": "it's", "n": 1.5, "i": 9_223_372_036_854_775_807_i64, "big": "123456789012345678901234567890", "b": true,
        "d": "2024-02-29", "t": "12:30:00.5", "tz": "12:30:00+02:00", "ts": "2024-01-01T00:00:00",
        "tstz": "2024-01-01T02:00:00+02:00", "bin": "AQI=", "o": {"k": null}, "a": [1, null], "u": 5
    });
    for version in BOTH {
        for (form, number) in
            [(NestedObjects::Columns, "numeric"), (NestedObjects::Tables, "double precision")]
        {
            let server = Postgres::start(version);
            raw_table(&server, "types");
            insert(&server, "types", "r1", &data);
            insert(&server, "types", "r2", &json!({"d": "", "tstz": null}));
            normalize(&server, &normalizer(&stream("types", schema.clone(), "append"), form).unwrap())
                .unwrap();
            let there = columns(&server, "types");
            let expected = format!(
                "s text, n {number}, i bigint, big numeric, b boolean, d date, t time without time zone, tz time with time zone, \
                 ts timestamp without time zone, tstz timestamptz, bin bytea, o jsonb, a jsonb, u text, "
            );
            assert!(there.starts_with(&expected), "{there}");
            assert_eq!(
                server.psql("SET TimeZone = 'UTC'; SELECT s, n, i, big, b, d, t, tz, ts, tstz, bin, o, a, u FROM types ORDER BY s"),
                "it's|1.5|9223372036854775807|123456789012345678901234567890|t|2024-02-29|12:30:00.5|12:30:00+02|\
                 2024-01-01 00:00:00|2024-01-01 00:00:00+00|\\x0102|{\"k\": null}|[1, null]|5\n|||||||||||||"
            );
        }
    }
}

#[test]
fn digits_that_a_double_cannot_hold_are_kept() {
    let server = Postgres::start(BOTH[0]);
    raw_table(&server, "digits");
    server.psql("INSERT INTO _airbyte_raw_digits VALUES ('r1', '{\"n\": 0.1234567890123456789012345}')");
    let digits = stream("digits", json!({"n": {"type": "number"}}), "append");
    normalize(&server, &normalizer(&digits, NestedObjects::Columns).unwrap()).unwrap();
    assert_eq!(server.psql("SELECT n FROM digits"), "0.1234567890123456789012345");
}

#[test]
fn values_that_do_not_fit_are_null_in_the_table_and_the_rest_of_their_row_is_there() {
    let text = json!({"type": "string"});
    let schema = json!({
        "id": {"type": "integer"},
        "day": {"type": "string", "format": "date"},
        "on": {"type": "boolean"},
        "bin": {"type": "string", "contentEncoding": "base64"},
        "contact": {"type": "object", "properties": {"email": text}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "number"}}}}
    });
    let wrong: [Value; 6] = [
        json!({"id": 1.0, "day": "2024-02-30", "on": "perhaps", "bin": "?"}),
        json!({"id": 1.5, "list": [{"n": "many"}, {"n": 2}]}),
        json!({"id": "3", "contact": "nobody"}),
        json!({"id": 4, "list": {"n": 1}}),
        json!({"id": 99_999_999_999_999_999_999_u128.to_string()}),
        json!({"id": 6, "contact": {"email": "e"}, "list": [3]}),
    ];
    for version in BOTH {
        let server = Postgres::start(version);
        raw_table(&server, "odd");
        for (i, data) in wrong.iter().enumerate() {
            insert(&server, "odd", &format!("r{i}"), data);
        }
        let odd = normalizer(&stream("odd", schema.clone(), "append"), NestedObjects::Columns).unwrap();
        normalize(&server, &odd).unwrap();
        assert_eq!(
            server.psql("SELECT id, day, \"on\", bin, contact_email, (SELECT string_agg(coalesce(n::text, '?'), ',' ORDER BY n) FROM odd_list l WHERE l._airbyte_odd_hashid = o._airbyte_odd_hashid) FROM odd o ORDER BY 1 NULLS LAST, 6"),
            "1|||||\n3|||||\n4|||||\n6||||e|?\n|||||2,?\n|||||"
        );
    }
}

#[test]
fn names_of_any_kind_make_tables_and_touch_nothing_else() {
    let names =
        ["\"; DROP TABLE canary; --", "it's", "a\\'b", "🦀", "x\0y", "Größe", "select", "", "%s", "$1", "{}"];
    let long = "n".repeat(300);
    let server = Postgres::start(BOTH[0]);
    server.psql("CREATE TABLE canary (v int); INSERT INTO canary VALUES (1)");
    for name in names.iter().copied().chain([long.as_str()]) {
        for form in [NestedObjects::Columns, NestedObjects::Tables] {
            let text = json!({"type": "string"});
            let nested = json!({"type": "object", "properties": {name: text}});
            let schema = json!({
                name: text,
                "o": nested,
                "l": {"type": "array", "items": nested}
            });
            let plan = normalizer(&stream(name, schema, "append"), form).unwrap();
            raw_table(&server, &plan.plan.raw);
            server.psql(&format!("ALTER TABLE \"_airbyte_raw_{0}\" RENAME TO \"{0}\"", plan.plan.raw));
            let data = json!({name: "v", "o": {name: "w"}, "l": [{name: "x"}]});
            if !name.contains('\0') {
                let data = data.to_string().replace('\'', "''");
                server.psql(&format!("INSERT INTO \"{}\" VALUES ('r1', '{data}')", plan.plan.raw));
            }
            normalize(&server, &plan).unwrap();
            let table = &plan.plan.root.table;
            let rows = server.psql(&format!("SELECT to_jsonb(t) FROM \"{table}\" t"));
            assert!(
                name.contains('\0') || (rows.contains("\"v\"") && rows.contains("\"w\"")),
                "{name}: {rows}"
            );
            server.psql("DROP SCHEMA airbyte_internal CASCADE");
            for made in plan.plan.tables() {
                server.psql(&format!("DROP TABLE \"{}\"", made.name));
            }
            server.psql(&format!("DROP TABLE \"{}\"", plan.plan.raw));
        }
    }
    assert_eq!(server.psql("SELECT v FROM canary"), "1");
    assert_eq!(server.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "1");
}
