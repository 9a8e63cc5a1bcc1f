//! Tables and names as syncs make them.

use serde_json::{Value, json};
use testkit::conformance::feed::{Feed, in_mode};

use crate::harness::{Site, by_ferry, incremental};

/// A stream with these fields, all integers.
fn of_integers(name: &str, fields: &[&str]) -> Value {
    let mut stream = in_mode(name, "append");
    stream["stream"]["json_schema"]["properties"] =
        fields.iter().map(|field| ((*field).to_owned(), json!({"type": "integer"}))).collect();
    stream
}

fn record(stream: &str, data: &Value) -> String {
    json!({"type": "RECORD", "record": {"stream": stream, "emitted_at": 1, "data": data}}).to_string()
}

#[test]
fn dp_06_streams_whose_names_collide_have_a_table_each_in_every_run() {
    let site = Site::new();
    let names =
        ["a b", "a-b", "a_b", "A_b", "long".repeat(40).leak(), format!("{}x", "long".repeat(40)).leak()];
    let streams: Vec<Value> = names.iter().map(|name| of_integers(name, &["id"])).collect();
    let mut turned = streams.clone();
    turned.reverse();
    for (round, streams) in [streams, turned].iter().enumerate() {
        let mut feed = Feed::new();
        for (n, name) in names.iter().enumerate() {
            feed = feed.line(record(name, &json!({"id": 10 * n + round})));
        }
        let _ = site.sync(streams, feed);
    }
    let tables = site.psql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname COLLATE \"C\"");
    let tables: Vec<&str> = tables.lines().collect();
    assert_eq!(tables.len(), names.len(), "{tables:?}");
    let mut all: Vec<String> = tables.iter().map(|table| site.ids(&format!("\"{table}\""))).collect();
    assert_eq!(site.ids("a_b"), "20,21");
    assert_eq!(site.ids("\"A_b\""), "30,31");
    all.sort();
    assert_eq!(all, ["0,1", "10,11", "20,21", "30,31", "40,41", "50,51"]);
}

#[test]
fn dp_06_fields_whose_names_collide_have_a_column_each() {
    let site = Site::new();
    let deep = format!("{}end", "path.".repeat(400));
    let fields = ["id", "a b", "a-b", "a_b", "ID", "_airbyte_raw_id", &deep, "2nd"];
    let data: serde_json::Map<String, Value> =
        fields.iter().enumerate().map(|(n, field)| ((*field).to_owned(), n.into())).collect();
    let _ = site.sync(&[of_integers("t", &fields)], Feed::new().line(record("t", &Value::Object(data))));
    let values = "SELECT id, a_b, a_b_1, a_b_2, \"ID\", _airbyte_raw_id_1, _2nd FROM t";
    assert_eq!(site.psql(values), "0|3|1|2|4|5|7");
    let long =
        site.psql("SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attname LIKE 'path%'");
    assert_eq!(long.len(), 63);
    assert_eq!(site.psql(&format!("SELECT {long} FROM t")), "6");
}

#[test]
fn dp_07_too_many_columns_and_too_large_rows_are_refused_by_name() {
    let site = Site::new();
    let names: Vec<String> = (0..1_700).map(|n| format!("c{n}")).collect();
    let fields: Vec<&str> = names.iter().map(String::as_str).collect();
    let output = site.write(&[of_integers("wide", &fields)], Feed::new());
    let error = output.failed();
    assert!(error.message.contains("wide") && error.message.contains("1700 fields"), "{error:?}");
    // A row of a page at most, where its values cannot be moved out: 1,500 bigints are 12,000 bytes.
    let fields = &fields[..1_500];
    let data: Value = fields.iter().map(|field| ((*field).to_owned(), json!(1))).collect();
    let output = site.write(&[of_integers("wide", fields)], Feed::new().line(record("wide", &data)));
    let error = output.failed();
    assert!(error.message.contains("select fewer or smaller fields"), "{error:?}");
    assert_eq!(error.stream_descriptor.as_ref().map(|s| s.name.as_str()), Some("wide"), "{error:?}");
}

#[test]
fn dp_08_a_dropped_table_of_a_stream_that_goes_on_is_not_made_anew_without_its_rows() {
    let site = Site::new();
    let stream = [incremental(in_mode("users", "append"))];
    let run = |job, from, to| {
        let feed = Feed::new().rows("users", from, to).state("users", to);
        by_ferry(site.writing(&stream, feed), "connection", job, 0).output()
    };
    let _ = run(1, 0, 3).succeeded();
    site.psql("DROP TABLE users");
    let output = run(2, 3, 5);
    let message = &output.failed().message;
    assert!(
        message.contains("\"public\".\"users\" is gone") && message.contains("ferry state reset"),
        "{message}"
    );
    assert_eq!(site.ids("users"), "none");
    // After the reset the connection goes by another name.
    let all = Feed::new().rows("users", 0, 5).state("users", 5);
    let _ = by_ferry(site.writing(&stream, all), "after the reset", 3, 0).output().succeeded();
    assert_eq!(site.ids("users"), "0,1,2,3,4");
}

#[test]
fn dp_08_a_column_that_the_user_changed_is_changed_back_or_the_sync_fails_by_name() {
    let site = Site::new();
    let stream = [incremental(in_mode("users", "append"))];
    let _ = site.sync(&stream, Feed::new().rows("users", 0, 2).state("users", 2));
    site.psql(
        "ALTER TABLE users ALTER COLUMN amount TYPE varchar; ALTER TABLE users RENAME COLUMN name TO large",
    );
    let _ = site.sync(&stream, Feed::new().rows("users", 2, 4).state("users", 4));
    let type_ = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'amount'";
    assert_eq!((site.psql(type_).as_str(), site.ids("users").as_str()), ("numeric", "0,1,2,3"));
    assert_eq!(site.psql("SELECT count(large), count(name) FROM users"), "2|2");
    site.psql(
        "ALTER TABLE users ALTER COLUMN amount TYPE varchar; UPDATE users SET amount = 'plenty' WHERE id = 1",
    );
    let output = site.write(&stream, Feed::new().rows("users", 4, 6).state("users", 6));
    let error = output.failed();
    assert!(
        error.message.contains("\"amount\" in the table") && !error.message.contains("plenty"),
        "{error:?}"
    );
    assert_eq!(site.ids("users"), "0,1,2,3");
}

#[test]
fn the_schema_of_our_own_tables_is_named_as_airbyte_names_it() {
    let mut site = Site::new();
    site.more = json!({"raw_data_schema": "My Own"});
    let stream = [incremental(in_mode("users", "append"))];
    let feed = Feed::new().rows("users", 0, 2).state("users", 2);
    let _ = by_ferry(site.writing(&stream, feed), "c", 1, 0).output().succeeded();
    assert_eq!(site.psql("SELECT count(*) FROM my_own._ferrybyte_checkpoints"), "1");
}
