//! What becomes of values, names and sizes.

use crate::harness::{STATE, Site, many, record, stream};
use serde_json::{Value, json};
use testkit_dremio::Dremio;

fn typed(properties: Value) -> Value {
    let mut stream = stream("append");
    stream["stream"]["json_schema"]["properties"] = properties;
    stream["cursor_field"] = json!([]);
    stream
}

/// The row's change list.
fn changes(site: &Site, id: i64) -> Value {
    let found = site.server.query(&format!("SELECT _airbyte_meta FROM lake.production.s WHERE id = {id}"));
    let meta: Value = serde_json::from_str(found[0][0].as_str().unwrap()).unwrap();
    meta["changes"].clone()
}

#[test]
fn dw_11_every_value_is_kept_exactly_or_its_loss_is_said() {
    Site::both().iter().for_each(every_value);
}

fn every_value(site: &Site) {
    let stream = typed(json!({
        "id": {"type": "integer"}, "n": {"type": "number"}, "s": {"type": "string"}, "b": {"type": "boolean"},
        "d": {"type": "string", "format": "date"},
        "ts": {"type": "string", "format": "date-time"},
        "local": {"type": "string", "format": "date-time", "airbyte_type": "timestamp_without_timezone"},
        "t": {"type": "string", "format": "time", "airbyte_type": "time_without_timezone"},
        "o": {"type": "object"}, "a": {"type": "array"},
    }));
    let rows = [
        r#"{"id":1,"n":0.1,"s":"it's \"é\" 漢字 🚢 \\ %_ --","b":true,"d":"2024-02-29","ts":"2024-02-29T23:59:59.123+02:00","local":"2024-02-29T23:59:59","t":"23:59:59.5","o":{"x":{"y":1.50,"z":null}},"a":[1,null,"'"]}"#,
        r#"{"id":-9223372036854775808,"n":1.7976931348623157e308,"s":"","o":{},"a":[]}"#,
        r#"{"id":9223372036854775807,"n":-5e-324,"s":null,"o":null,"a":null,"b":null,"d":null,"ts":null,"t":null}"#,
        r#"{"id":2,"n":"no number","b":"yes","d":"yesterday","ts":"2024-02-29T23:59:59.123456Z","t":"25:00:00","o":"text","a":{}}"#,
        r#"{"id":3,"n":1e400,"s":{"x":1},"d":"0001-01-01","ts":"9999-12-31T23:59:59.999Z"}"#,
    ];
    let input: String = rows
        .iter()
        .map(|data| {
            format!(
                "{{\"type\":\"RECORD\",\"record\":{{\"stream\":\"s\",\"emitted_at\":1,\"data\":{data}}}}}\n"
            )
        })
        .collect();
    site.sync(stream, &(input + STATE));
    let row = |id: i64| {
        let columns = "id, n, s, b, d, ts, \"local\", t, o, a";
        let sql = format!("SELECT {columns} FROM lake.production.s WHERE id = CAST('{id}' AS BIGINT)");
        site.server.query(&sql).remove(0)
    };
    assert_eq!(
        row(1)[1..],
        [
            json!("0.1"),
            json!("it's \"é\" 漢字 🚢 \\ %_ --"),
            json!(true),
            json!("2024-02-29"),
            json!("2024-02-29 21:59:59.123000"),
            json!("2024-02-29 23:59:59"),
            json!("23:59:59.500000"),
            json!(r#"{"x":{"y":1.50,"z":null}}"#),
            json!(r#"[1,null,"'"]"#),
        ]
    );
    assert_eq!(changes(site, 1), json!([]));
    let least = row(i64::MIN);
    assert_eq!(
        (&least[1], &least[2], &least[8], &least[9]),
        (&json!("1.7976931348623157e+308"), &json!(""), &json!("{}"), &json!("[]"))
    );
    let most = row(i64::MAX);
    assert_eq!(most[1], json!("-5e-324"));
    assert!(most[2..].iter().all(Value::is_null), "{most:?}");
    // What does not fit is null, or has lost what Dremio has no room for, and the row says so.
    let wrong = row(2);
    assert_eq!(wrong[5], json!("2024-02-29 23:59:59.123000"));
    assert!([1, 3, 4, 7].iter().all(|i| wrong[*i].is_null()), "{wrong:?}");
    let mut fields: Vec<(String, String)> = changes(site, 2)
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            (change["field"].as_str().unwrap().to_owned(), change["change"].as_str().unwrap().to_owned())
        })
        .collect();
    fields.sort();
    let of = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, change)| change.as_str());
    for name in ["n", "b", "d", "t"] {
        assert_eq!(of(name), Some("NULLED"), "{name}: {fields:?}");
    }
    assert_eq!(of("ts"), Some("TRUNCATED"), "{fields:?}");
    let large = row(3);
    assert_eq!((&large[2], &large[4]), (&json!("{\"x\":1}"), &json!("0001-01-01")));
    assert!(large[1].is_null());
}

#[test]
fn dw_03_a_row_over_the_limit_loses_its_long_value_and_the_rest_is_there() {
    let site = Site::new();
    let long = "x".repeat(40_000);
    let input = many(0..50, 10) + &record(&json!({"id": 50, "v": long})) + &many(51..100, 10) + STATE;
    site.sync(stream("append"), &input);
    let count = site.server.query("SELECT COUNT(*), COUNT(v), COUNT(DISTINCT id) FROM lake.production.s");
    assert_eq!(count, [vec![json!(100), json!(99), json!(100)]]);
    let change = &changes(&site, 50)[0];
    assert_eq!(
        (&change["field"], &change["reason"]),
        (&json!("v"), &json!("DESTINATION_FIELD_SIZE_LIMITATION"))
    );
    assert_eq!(changes(&site, 51), json!([]));
}

#[test]
fn dw_03_a_refusal_is_read_though_it_repeats_a_large_statement() {
    let site = Site::with(Dremio::options().whole_messages());
    let input = many(0..500, 1_000) + &record(&json!({"id": 500, "v": "x".repeat(100_000)})) + STATE;
    site.sync(stream("append"), &input);
    let count = site.server.query("SELECT COUNT(*), COUNT(v) FROM lake.production.s");
    assert_eq!(count, [vec![json!(501), json!(500)]]);
    assert!(site.ran("SELECT status FROM sys.jobs_recent") == 0, "nothing was taken for lost");
}

#[test]
fn dw_03_statements_shrink_where_dremio_takes_no_large_ones() {
    let site = Site::with(Dremio::options().statement_limit(20_000));
    site.sync(stream("append"), &(many(0..600, 100) + STATE));
    let count = site.server.query("SELECT COUNT(*), COUNT(DISTINCT id), COUNT(v) FROM lake.production.s");
    assert_eq!(count, [vec![json!(600), json!(600), json!(600)]]);
}

#[test]
fn dw_10_names_of_every_kind_have_a_column_and_a_table_of_their_own() {
    let site = Site::new();
    let names = [
        "select",
        "Value",
        "value",
        "VALUE_1",
        "größe",
        "a.b",
        "a_b",
        "x\"y",
        " ",
        "",
        "_airbyte_raw_id",
        "1",
        "a b",
        "漢字",
    ];
    let long = "n".repeat(400);
    let properties: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| (*name).to_owned())
        .chain([long.clone(), format!("{long}2"), "id".into()])
        .map(|name| (name, json!({"type": "string"})))
        .collect();
    let data: serde_json::Map<String, Value> =
        properties.keys().map(|name| (name.clone(), json!(format!("of {name}")))).collect();
    let stream = typed(Value::Object(properties.clone()));
    // Twice: the second run finds the same columns.
    for _ in 0..2 {
        site.sync(stream.clone(), &(record(&Value::Object(data.clone())) + STATE));
    }
    let columns =
        site.server.query("SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 's'");
    assert_eq!(columns.len(), properties.len() + 4, "{columns:?}");
    let rows = site.server.query("SELECT * FROM lake.production.s");
    assert_eq!(rows.len(), 2);
    for row in &rows {
        let mut values: Vec<&str> = row[4..].iter().map(|value| value.as_str().unwrap()).collect();
        values.sort_unstable();
        let mut expected: Vec<String> = properties.keys().map(|name| format!("of {name}")).collect();
        expected.sort_unstable();
        assert_eq!(values, expected);
    }
    assert_eq!(rows[0][4..], rows[1][4..], "each value is in the same column again");
}

#[test]
fn dw_10_streams_that_want_the_same_table_get_two() {
    let site = Site::new();
    let named = |name: &str| {
        let mut one = stream("append");
        one["stream"]["name"] = name.into();
        one
    };
    let names = ["ab", "AB", "a.b", "a_b", "a/b", "Ä", "A"];
    let streams: Vec<Value> = names.iter().map(|name| named(name)).collect();
    let input: String = names
        .iter()
        .map(|name| {
            record(&json!({"id": 1, "v": name}))
                .replace("\"stream\":\"s\"", &format!("\"stream\":{}", json!(name)))
        })
        .collect();
    let _ = site.invocation(&streams, &input).output().succeeded();
    let tables = site.tables();
    assert_eq!(tables.len(), names.len(), "{tables:?}");
    let mut found: Vec<String> = tables
        .iter()
        .map(|table| {
            let rows = site.server.query(&format!("SELECT v FROM lake.production.\"{table}\""));
            assert_eq!(rows.len(), 1, "{table}");
            rows[0][0].as_str().unwrap().to_owned()
        })
        .collect();
    found.sort();
    let mut expected = names.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
}
