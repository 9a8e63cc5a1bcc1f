//! Names that want to be SQL.

use connector_kit::SelectedStream;
use serde_json::{Map, Value, json};
use testkit::services::{Postgres, Version};

use super::{OPTIONS, Plan, put, talk, with_fields};
use crate::names::assign;

/// So many names of streams and fields together, and so many fields a stream.
const NAMES: usize = 10_100;
const FIELDS: usize = 100;

const PARTS: [&str; 24] = [
    "\"",
    "'",
    "\"\"",
    ";",
    " DROP TABLE canary; --",
    "\"; DROP TABLE canary; --",
    "'); DROP TABLE canary; --",
    "\0",
    ".",
    "\\",
    "\\.",
    "\n",
    "\r",
    "\t",
    "$$",
    "$1",
    "/*",
    "*/",
    "🦀",
    "é",
    "ß",
    "select",
    "{}",
    "%s",
];

/// A name of parts that end quotes, statements and lines; the same in every run.
fn odd(seed: usize) -> String {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    let mut name: String = (0..=below(5)).map(|_| PARTS[below(PARTS.len())]).collect();
    if below(10) == 0 {
        name.push_str(&"x".repeat(300));
    }
    // Two fields of one name would be one.
    name.push_str(&seed.to_string());
    name
}

#[test]
fn dp_15_no_name_gets_out_of_its_quotes() {
    let server = Postgres::start(Version::V15);
    server.psql(
        "CREATE SCHEMA keep; CREATE TABLE keep.canary AS SELECT 1 AS id; CREATE TABLE canary AS SELECT 1 AS id",
    );
    let stream = |s: usize| {
        let first = s * (FIELDS + 1);
        let fields: Map<String, Value> =
            (1..=FIELDS).map(|f| (odd(first + f), json!({"type": "string"}))).collect();
        let mode = ["append", "append_dedup", "overwrite"][s % 3];
        let key = json!({"destination_sync_mode": mode, "primary_key": [[odd(first + 1)]], "cursor_field": [odd(first + 2)]});
        let mut stream = with_fields(Value::Object(fields), key);
        stream.descriptor.name = odd(first);
        stream.descriptor.namespace = s.is_multiple_of(2).then(|| odd(s % 7));
        stream
    };
    let streams: Vec<SelectedStream> = (0..NAMES / (FIELDS + 1)).map(stream).collect();
    talk(&server, async |mut lane| {
        let names = assign(&streams, "public", "airbyte_internal").unwrap();
        for (number, (stream, names)) in streams.iter().zip(&names).enumerate() {
            let mut plan = Plan::open(&mut lane, stream, names, number, OPTIONS).await.unwrap();
            for value in ["'a'", "'b'"] {
                let row = vec![value; FIELDS].join(", ");
                put(&mut lane, &plan, &[&row, &row]).await;
                plan.flush(&mut lane).await.unwrap();
            }
            plan.publish(&mut lane).await.unwrap();
            lane.commit().await.unwrap();
        }
    });
    assert_eq!(server.psql("SELECT id FROM keep.canary; SELECT id FROM public.canary"), "1\n1");
    let made = "SELECT count(*) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attname = '_airbyte_raw_id'
        WHERE relkind = 'r' AND relpersistence = 'p'";
    assert_eq!(server.psql(made), streams.len().to_string());
}
