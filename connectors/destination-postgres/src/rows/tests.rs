//! What a real server makes of our tuples, compared with what it makes of the same text by itself.

use std::time::Duration;

use connector_kit::bench::select;
use connector_kit::protocol::ConfiguredCatalog;
use connector_kit::{RecordBatch, Secret, SelectedStream};
use postgres_kit::{Connection, Endpoint, Params, Purpose, SslMode, TunnelMethod, quote_identifier};
use serde_json::{Value, json};
use testkit::services::{Postgres, Version};

use super::{Constants, RowWriter, Tuples};
use crate::column_type::ColumnType;

/// A stream of these properties, in this order.
pub(super) fn stream(properties: &[(&str, Value)], key: &[&str]) -> SelectedStream {
    let properties: Vec<_> =
        properties.iter().map(|(name, schema)| format!("{}:{schema}", json!(name))).collect();
    let key: Vec<_> = key.iter().map(|name| json!([name])).collect();
    let catalog = format!(
        r#"{{"streams":[{{"stream":{{"name":"s","json_schema":{{"type":"object","properties":{{{}}}}},"supported_sync_modes":["full_refresh"]}},"sync_mode":"full_refresh","destination_sync_mode":"append","primary_key":{},"sync_id":7,"generation_id":3,"minimum_generation_id":0}}]}}"#,
        properties.join(","),
        json!(key)
    );
    select(ConfiguredCatalog::parse(catalog.as_bytes()).unwrap().streams.remove(0))
}

/// Runs a test's conversation with a server; none takes longer than a minute.
fn talk(version: Version, f: impl AsyncFnOnce(Connection)) {
    let server = Postgres::start(version);
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: server.port,
        database: "postgres".into(),
        user: Postgres::USER.into(),
        password: Some(Secret::from(Postgres::PASSWORD.to_owned())),
        ssl: SslMode::Disable,
        tunnel: TunnelMethod::NoTunnel,
        params: Params::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let conversation = async { f(endpoint.connect(Purpose::Ordinary).await.unwrap()).await };
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), conversation).await })
        .expect("the server answers within a minute");
}

/// Makes the table `t`, with an added column that numbers the rows, and copies the records into it.
async fn load(
    connection: &mut Connection,
    stream: &SelectedStream,
    constants: Constants,
    records: &[String],
) {
    let mut writer = RowWriter::new(stream, constants).unwrap();
    let columns: Vec<_> = stream
        .columns
        .iter()
        .map(|c| format!("{} {}", quote_identifier(&c.name), ColumnType::of(c.field_type).sql()))
        .collect();
    connection
        .execute(&format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (_airbyte_raw_id varchar NOT NULL, _airbyte_extracted_at timestamptz NOT NULL, \
             _airbyte_meta jsonb NOT NULL DEFAULT '{{\"sync_id\": 7, \"changes\": []}}', _airbyte_generation_id bigint NOT NULL DEFAULT 3, {})",
            columns.join(", ")
        ))
        .await
        .unwrap();
    let mut batch = RecordBatch::default();
    for (line, record) in (1..).zip(records) {
        let (data, meta) = record.split_once('\n').map_or((record.as_str(), None), |(d, m)| (d, Some(m)));
        batch.push(data.as_bytes(), meta.map(str::as_bytes), 1_700_000_000_123, line);
    }
    let mut tuples = Tuples::default();
    writer.write(&batch, &mut tuples).unwrap();
    let own = stream.columns.iter().map(|c| c.name.as_str());
    for (added, tuples) in [(&RowWriter::PLAIN[..], &tuples.plain), (&RowWriter::FULL[..], &tuples.full)] {
        let columns: Vec<_> = added.iter().copied().chain(own.clone()).map(quote_identifier).collect();
        let sql = format!("COPY t ({}) FROM STDIN (FORMAT binary)", columns.join(", "));
        connection.copy_in(&sql).await.unwrap();
        connection.send_copy_data(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0").await.unwrap();
        connection.send_copy_data(tuples).await.unwrap();
        connection.finish_copy_in().await.unwrap();
    }
}

async fn ask(connection: &mut Connection, sql: &str) -> Vec<Vec<Option<String>>> {
    let rows = connection.query(sql).await.unwrap();
    rows.iter().map(|row| (0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()).collect()
}

/// Each value beside what the server says that it is, `None` for NULL with an entry of that reason.
async fn stored_as(connection: &mut Connection, schema: Value, values: &[(&str, Result<&str, &str>)]) {
    let records: Vec<_> = values.iter().map(|(json, _)| format!("{{\"v\":{json}}}")).collect();
    load(connection, &stream(&[("v", schema.clone())], &[]), Constants::Defaults, &records).await;
    let sql = "SELECT v::text, _airbyte_meta #>> '{changes,0,reason}', _airbyte_meta #>> '{changes,0,change}' \
               FROM t ORDER BY _airbyte_raw_id";
    let rows = ask(connection, sql).await;
    assert_eq!(rows.len(), values.len());
    for (row, (json, expected)) in rows.iter().zip(values) {
        let json = &json[..json.len().min(80)];
        match expected {
            Ok(text) => {
                assert_eq!((row[0].as_deref(), row[1].as_deref()), (Some(*text), None), "{json} as {schema}")
            }
            Err(reason) => {
                let seen = (row[0].as_deref(), row[1].as_deref(), row[2].as_deref());
                let reason = format!("DESTINATION_{reason}");
                assert_eq!(seen, (None, Some(reason.as_str()), Some("NULLED")), "{json} as {schema}");
            }
        }
    }
}

const WRONG: &str = "SERIALIZATION_ERROR";
const TOO_LARGE: &str = "FIELD_SIZE_LIMITATION";

fn timestamp(zone: &str) -> Value {
    json!({"type": "string", "format": "date-time", "airbyte_type": format!("timestamp_{zone}_timezone")})
}

fn time(zone: &str) -> Value {
    json!({"type": "string", "format": "time", "airbyte_type": format!("time_{zone}_timezone")})
}

async fn every_type(mut connection: Connection) {
    let c = &mut connection;
    c.execute("SET TIME ZONE 'UTC'").await.unwrap();
    stored_as(
        c,
        json!({"type": "boolean"}),
        &[("true", Ok("true")), ("false", Ok("false")), ("1", Err(WRONG))],
    )
    .await;
    let integers = [
        ("-9223372036854775808", Ok("-9223372036854775808")),
        ("9223372036854775807", Ok("9223372036854775807")),
        ("9223372036854775808", Err(TOO_LARGE)),
        ("\"12\"", Ok("12")),
        ("1e3", Ok("1000")),
        ("1.5", Err(WRONG)),
    ];
    stored_as(c, json!({"type": "integer"}), &integers).await;
    let strings = [
        ("\"\"", Ok("")),
        (r#""a\tb\\\"ü😀\ud83d\ude00""#, Ok("a\tb\\\"ü😀😀")),
        ("1.50", Ok("1.50")),
        ("true", Ok("true")),
        (r#"{"a": "\u0000"}"#, Ok(r#"{"a": "\u0000"}"#)),
    ];
    stored_as(c, json!({"type": "string"}), &strings).await;
    let dates = [
        ("\"1970-01-01\"", Ok("1970-01-01")),
        ("\"4714-11-24 BC\"", Ok("4714-11-24 BC")),
        ("\"4714-11-23 BC\"", Err(TOO_LARGE)),
        ("\"5874897-12-31\"", Ok("5874897-12-31")),
        ("\"5874898-06-04\"", Err(TOO_LARGE)),
        ("\"9999999-01-01\"", Err(TOO_LARGE)),
        ("\"Infinity\"", Ok("infinity")),
        ("\"-infinity\"", Ok("-infinity")),
        ("\"2021-02-30\"", Err(WRONG)),
    ];
    stored_as(c, json!({"type": "string", "format": "date"}), &dates).await;
    let timestamps = [
        ("\"2004-10-19T18:23:54.123456Z\"", Ok("2004-10-19 18:23:54.123456+00")),
        ("\"2004-10-19T18:23:54+05:30\"", Ok("2004-10-19 12:53:54+00")),
        ("\"2004-10-19 18:23\"", Ok("2004-10-19 18:23:00+00")),
        ("\"4714-11-24T00:00:00Z BC\"", Ok("4714-11-24 00:00:00+00 BC")),
        ("\"4714-11-23T23:59:59.999999Z BC\"", Err(TOO_LARGE)),
        ("\"294276-12-31T23:59:59.999999Z\"", Ok("294276-12-31 23:59:59.999999+00")),
        ("\"294277-01-01T00:00:00Z\"", Err(TOO_LARGE)),
        ("\"294247-01-10T04:00:54.775807Z\"", Ok("294247-01-10 04:00:54.775807+00")),
        ("\"2004-10-19T18:23:54.1234567Z\"", Err(TOO_LARGE)),
        ("\"-Infinity\"", Ok("-infinity")),
        ("\"infinity\"", Ok("infinity")),
        ("\"soon\"", Err(WRONG)),
    ];
    stored_as(c, timestamp("with"), &timestamps).await;
    let timestamps = [
        ("\"2004-10-19T18:23:54.123\"", Ok("2004-10-19 18:23:54.123")),
        ("\"294276-12-31T23:59:59.999999\"", Ok("294276-12-31 23:59:59.999999")),
        ("\"0044-03-15T12:00:00 BC\"", Ok("0044-03-15 12:00:00 BC")),
        ("\"Infinity\"", Ok("infinity")),
        ("\"2004-10-19T18:23:54Z\"", Err(WRONG)),
    ];
    stored_as(c, timestamp("without"), &timestamps).await;
    let times = [
        ("\"13:00:01.000001\"", Ok("13:00:01.000001")),
        ("\"24:00:00\"", Ok("24:00:00")),
        ("\"23:59:59.999999999\"", Ok("24:00:00")),
        ("\"23:59:59.99999999\"", Err(TOO_LARGE)),
        ("\"Infinity\"", Err(WRONG)),
    ];
    stored_as(c, time("without"), &times).await;
    let times = [
        ("\"13:00:01+08:00\"", Ok("13:00:01+08")),
        ("\"13:00:01.5-15:59:59\"", Ok("13:00:01.5-15:59:59")),
        ("\"13:00:01-16:00\"", Err(TOO_LARGE)),
        ("\"13:00:04Z\"", Ok("13:00:04+00")),
        ("\"13:00\"", Ok("13:00:00+00")),
        ("\"23:59:59.999999999-03\"", Ok("24:00:00-03")),
        ("\"23:59:59.999999999\"", Ok("24:00:00+00")),
        ("\"23:59:59.999999999x\"", Err(WRONG)),
        ("\"1\"", Err(WRONG)),
    ];
    stored_as(c, time("with"), &times).await;
    let json = [
        (
            r#"{"b":1.50,"a":[null,true,"\u00fc\ud83d\ude00"]}"#,
            Ok(r#"{"a": [null, true, "ü😀"], "b": 1.50}"#),
        ),
        ("[]", Err(WRONG)),
        ("\"{}\"", Err(WRONG)),
    ];
    stored_as(c, json!({"type": "object"}), &json).await;
    stored_as(c, json!({"type": "array"}), &[("[1, 2]", Ok("[1, 2]")), ("{}", Err(WRONG))]).await;
    let any = [
        ("\"text\\n\"", Ok(r#""text\n""#)),
        ("1.50", Ok("1.50")),
        ("true", Ok("true")),
        ("false", Ok("false")),
        ("[{}]", Ok("[{}]")),
        ("1e131071", Ok(&format!("1{}", "0".repeat(131_071)) as &str)),
        ("1e131072", Err(TOO_LARGE)),
        ("-1e-16384", Err(TOO_LARGE)),
    ];
    stored_as(c, json!({"type": ["string", "number", "boolean", "object", "array"]}), &any).await;
}

#[test]
fn a_server_of_15_stores_every_type_as_meant() {
    talk(Version::V15, every_type);
}

#[test]
fn a_server_of_18_stores_every_type_as_meant() {
    talk(Version::V18, every_type);
}

/// Numbers of all lengths and forms, no two alike.
fn numbers() -> Vec<String> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut numbers: Vec<String> = [
        "0",
        "-0",
        "0.00",
        "-0.0",
        "0e5",
        "0e-5",
        "10000",
        "1000000000000000",
        "0.0001",
        "0.00010",
        "1e-16383",
    ]
    .map(str::to_owned)
    .into();
    numbers.extend((0..40).map(|power| format!("1e{power}")));
    numbers.extend((0..40).map(|power| format!("7.5E-{power}")));
    for _ in 0..4_000 {
        let mut digits = |most: u64| {
            let length = 1 + next(most) as usize;
            // Many zeros, since what is stripped is where mistakes are.
            (0..length)
                .map(|_| char::from(b'0' + [0, 0, 0, 9, 1, 5, 7][next(7) as usize]))
                .collect::<String>()
        };
        let whole = digits(24);
        let whole = whole.trim_start_matches('0');
        let fraction = digits(24);
        let number = if whole.is_empty() { format!("0.{fraction}") } else { format!("{whole}.{fraction}") };
        numbers.push(match next(5) {
            0 => format!("{number}e{}", next(60)),
            1 => format!("-{number}e-{}", next(60)),
            2 => format!("-{number}"),
            3 if !whole.is_empty() => whole.to_owned(),
            _ => number,
        });
    }
    numbers
}

#[test]
fn every_digit_of_a_number_arrives() {
    talk(Version::V15, async |mut connection| {
        let numbers = numbers();
        let records: Vec<_> = numbers.iter().map(|n| format!("{{\"n\":{n},\"t\":{n}}}")).collect();
        let stream = stream(&[("n", json!({"type": "number"})), ("t", json!({"type": "string"}))], &[]);
        load(&mut connection, &stream, Constants::Defaults, &records).await;
        let count = ask(&mut connection, "SELECT count(*), count(n) FROM t").await;
        assert_eq!(count[0], [Some(numbers.len().to_string()), Some(numbers.len().to_string())]);
        // The text of a numeric shows its scale too. So does its binary form, which must be the server's own:
        // indexes and hashes take equal numbers for equal bytes.
        let differing = "SELECT t, n::text, t::numeric::text FROM t WHERE n::text <> t::numeric::text OR numeric_send(n) <> numeric_send(t::numeric)";
        assert_eq!(ask(&mut connection, differing).await, Vec::<Vec<_>>::new());
    });
}

#[test]
fn numbers_are_null_exactly_where_the_server_has_no_room() {
    talk(Version::V15, async |mut connection| {
        let long = |zeros: usize| format!("1{}", "0".repeat(zeros));
        let fraction = |zeros: usize| format!("0.{}1", "0".repeat(zeros));
        let (fits, fraction_fits) = (long(131_071), fraction(16_382));
        let (too_long, fraction_too_long) = (long(131_072), fraction(16_383));
        let values = [
            (fits.as_str(), Ok(fits.as_str())),
            (fraction_fits.as_str(), Ok(fraction_fits.as_str())),
            (too_long.as_str(), Err(TOO_LARGE)),
            (fraction_too_long.as_str(), Err(TOO_LARGE)),
            ("1e131072", Err(TOO_LARGE)),
            ("1e99999999999999999999", Err(TOO_LARGE)),
            ("1e-16384", Err(TOO_LARGE)),
            ("\"1.50\"", Ok("1.50")),
            ("\"NaN\"", Err(WRONG)),
        ];
        stored_as(&mut connection, json!({"type": "number"}), &values).await;
        for number in [too_long, fraction_too_long, "1e131072".into(), "1e-16384".into()] {
            let error = connection.query(&format!("SELECT '{number}'::numeric")).await.unwrap_err();
            assert_eq!(
                postgres_kit::server_error(&error).unwrap().code,
                "22003",
                "the server has room for more"
            );
        }
    });
}

#[test]
fn dp_05_nul_and_halves_of_surrogate_pairs_are_replaced_and_listed() {
    talk(Version::V18, async |mut connection| {
        let stream = stream(
            &[
                ("id", json!({"type": "string"})),
                ("text\u{0}", json!({"type": "string"})),
                ("any", json!({"type": ["string", "object"]})),
                ("object", json!({"type": "object"})),
            ],
            &["id"],
        );
        let names = ["id", "text", "any", "object"];
        let record = |id: &str, text: &str, any: &str, object: &str| {
            format!("{{\"id\":\"{id}\",\"text\\u0000\":\"{text}\",\"any\":{any},\"object\":{object}}}")
        };
        let records = [
            record("whole", r"a\\u0000b", r#""\\ud800""#, r#"{"\\u0000":"\ud83d\ude00\\"}"#),
            record("nul", r"a\u0000b\u0000", r#""\u0000""#, r#"{"a\u0000":["\u0000\\\u0000"]}"#),
            record("half", r"a\ud800b\udc00", r#""\ude00\ud83d""#, r#"{"a":"\uD83D\ud83d\ude00"}"#),
            record(r"key\u0000", "", "1", "{}"),
            record("large", "", r#"[1e131072,"1e131072",-2e-99999, 1.5e1]"#, r#"{"a":{"b":1E999999999999}}"#),
        ];
        // The server cannot have the NUL in a column's name; the writer names the column in its list of changes.
        let mut named = stream.clone();
        for (column, name) in named.columns.iter_mut().zip(names) {
            column.name = name.into();
        }
        let renamed: Vec<_> = records.iter().map(|r| r.replace("text\\u0000", "text")).collect();
        load(&mut connection, &named, Constants::Defaults, &renamed).await;
        let rows = ask(
            &mut connection,
            "SELECT id, text, \"any\"::text, object::text, (_airbyte_meta -> 'changes')::text FROM t ORDER BY _airbyte_raw_id",
        )
        .await;
        let entry = |field: &str, change: &str, reason: &str| {
            format!(r#"{{"field": "{field}", "change": "{change}", "reason": "DESTINATION_{reason}"}}"#)
        };
        let replaced = |fields: &[&str]| {
            let entries: Vec<_> = fields.iter().map(|f| entry(f, "TRUNCATED", WRONG)).collect();
            format!("[{}]", entries.join(", "))
        };
        let expected = [
            (Some("whole"), "a\\u0000b", r#""\\ud800""#, r#"{"\\u0000": "😀\\"}"#, "[]".to_owned()),
            (
                Some("nul"),
                "a\u{FFFD}b\u{FFFD}",
                "\"\u{FFFD}\"",
                "{\"a\u{FFFD}\": [\"\u{FFFD}\\\\\u{FFFD}\"]}",
                replaced(&names[1..]),
            ),
            (
                Some("half"),
                "a\u{FFFD}b\u{FFFD}",
                "\"\u{FFFD}\u{FFFD}\"",
                "{\"a\": \"\u{FFFD}😀\"}",
                replaced(&names[1..]),
            ),
            (None, "", "1", "{}", format!("[{}]", entry("id", "NULLED", WRONG))),
            (
                Some("large"),
                "",
                r#"[null, "1e131072", null, 15]"#,
                r#"{"a": {"b": null}}"#,
                format!(
                    "[{}, {}]",
                    entry("any", "TRUNCATED", TOO_LARGE),
                    entry("object", "TRUNCATED", TOO_LARGE)
                ),
            ),
        ];
        assert_eq!(rows.len(), expected.len());
        for (row, (id, text, any, object, changes)) in rows.iter().zip(&expected) {
            let row: Vec<_> = row.iter().map(Option::as_deref).collect();
            let changes: Value = serde_json::from_str(changes).unwrap();
            assert_eq!(row[..4], [*id, Some(*text), Some(*any), Some(*object)]);
            assert_eq!(serde_json::from_str::<Value>(row[4].unwrap()).unwrap(), changes);
        }
        // The name itself goes into the list of changes, where it is stored as text is.
        let mut writer = RowWriter::new(&stream, Constants::Defaults).unwrap();
        let mut batch = RecordBatch::default();
        batch.push(records[1].as_bytes(), None, 0, 1);
        let mut tuples = Tuples::default();
        writer.write(&batch, &mut tuples).unwrap();
        let full = String::from_utf8_lossy(&tuples.full).into_owned();
        assert!(tuples.plain.is_empty() && full.contains(r#"{"field":"text\ufffd","#), "{full:?}");
    });
}

#[test]
fn added_columns_are_the_same_by_default_and_when_sent() {
    talk(Version::V15, async |mut connection| {
        let stream = stream(&[("v", json!({"type": "integer"}))], &[]);
        let theirs =
            r#"{"changes":[{"field":"v","change":"NULLED","reason":"SOURCE_FIELD_SIZE_LIMITATION"}]}"#;
        let records = [
            r#"{"v":1}"#.to_owned(),
            format!("{}\n{theirs}", r#"{"v":null}"#),
            format!("{}\n{}", r#"{"v":3}"#, r#"{"changes":[]}"#),
            r#"{"v":"x"}"#.to_owned(),
            "{}".to_owned(),
        ];
        let sql = "SELECT v, _airbyte_extracted_at = to_timestamp(1700000000.123), _airbyte_generation_id, _airbyte_meta ->> 'sync_id', \
                   jsonb_array_length(_airbyte_meta -> 'changes'), _airbyte_meta #>> '{changes,0,reason}', length(_airbyte_raw_id) \
                   FROM t ORDER BY _airbyte_raw_id";
        load(&mut connection, &stream, Constants::Defaults, &records).await;
        let by_default = ask(&mut connection, sql).await;
        load(&mut connection, &stream, Constants::Sent, &records).await;
        assert_eq!(ask(&mut connection, sql).await, by_default);
        let row = |v: Option<&str>, reason: Option<&str>| {
            let changes = if reason.is_some() { "1" } else { "0" };
            [v, Some("t"), Some("3"), Some("7"), Some(changes), reason, Some("36")]
                .map(|v| v.map(str::to_owned))
                .to_vec()
        };
        let expected = [
            row(Some("1"), None),
            row(None, Some("SOURCE_FIELD_SIZE_LIMITATION")),
            row(Some("3"), None),
            row(None, Some("DESTINATION_SERIALIZATION_ERROR")),
            row(None, None),
        ];
        assert_eq!(by_default, expected);
    });
}

#[test]
fn only_rows_that_say_something_of_their_own_carry_the_constants() {
    let stream = stream(&[("v", json!({"type": "integer"}))], &[]);
    let write = |constants, data: &str, meta: Option<&str>| {
        let mut batch = RecordBatch::default();
        batch.push(data.as_bytes(), meta.map(str::as_bytes), 0, 1);
        let mut tuples = Tuples::default();
        RowWriter::new(&stream, constants).unwrap().write(&batch, &mut tuples).map(|()| tuples)
    };
    let sides = |tuples: Tuples| (!tuples.plain.is_empty(), !tuples.full.is_empty());
    for (data, meta, plain) in [
        (r#"{"v":1}"#, None, true),
        (r#"{"v":1}"#, Some(r#"{"changes":[]}"#), true),
        (r#"{"v":"x"}"#, None, false),
        (r#"{"v":1}"#, Some(r#"{"changes":[{}]}"#), false),
    ] {
        assert_eq!(
            sides(write(Constants::Defaults, data, meta).unwrap()),
            (plain, !plain),
            "{data} {meta:?}"
        );
        assert_eq!(sides(write(Constants::Sent, data, meta).unwrap()), (false, true), "{data} {meta:?}");
    }
}

#[test]
fn records_that_are_none_are_refused_with_their_line() {
    let stream = stream(&[("v", json!({"type": "string"}))], &[]);
    for (data, meta) in [
        (&b"{\"v\":\"secret"[..], None),
        (b"{\"v\":\"secret\xff\"}", None),
        (b"{\"v\":\"secret\"}", Some(&b"{\"changes\":\"secret\"}"[..])),
        (b"{\"v\":\"secret\"}", Some(b"{\"changes\":[secret]}")),
        (b"[\"secret\"]", None),
    ] {
        let mut batch = RecordBatch::default();
        batch.push(b"{\"v\":\"fine\"}", None, 0, 41);
        batch.push(data, meta, 0, 42);
        let mut tuples = Tuples::default();
        let mut writer = RowWriter::new(&stream, Constants::Defaults).unwrap();
        let error = writer.write(&batch, &mut tuples).unwrap_err();
        assert!(error.message().contains("line 42 of stdin"), "{error}");
        assert!(!error.message().contains("secret"), "{error}");
    }
}

#[test]
fn json_larger_than_the_server_takes_becomes_null() {
    let stream = stream(&[("v", json!({"type": "array"}))], &[]);
    let mut writer = RowWriter::new(&stream, Constants::Defaults).unwrap();
    // Text of 70 MB, of which jsonb would make more than 256 MiB.
    let mut data = b"{\"v\":[1".to_vec();
    data.extend(b",1".repeat(35_000_000));
    data.extend(b"]}");
    let mut batch = RecordBatch::default();
    batch.push(&data, None, 0, 1);
    let mut tuples = Tuples::default();
    writer.write(&batch, &mut tuples).unwrap();
    assert!(tuples.plain.is_empty() && tuples.full.len() < 1_000, "it was sent");
    assert!(String::from_utf8_lossy(&tuples.full).contains("FIELD_SIZE_LIMITATION"));
}
