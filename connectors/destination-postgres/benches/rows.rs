//! JSON records → tuples of a binary COPY on one core, no server. Throughput counts the records' data.
//!
//! Run: `cargo bench -p destination-postgres --features bench`

use connector_kit::RecordBatch;
use connector_kit::bench::select;
use connector_kit::protocol::ConfiguredCatalog;
use destination_postgres::bench::Rows;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

// About the megabyte that a batch of the intake holds.
const ROWS: u64 = 3_000;
/// The orders table that all speed figures are quoted on, as source-postgres declares it.
const COLUMNS: [(&str, &str); 12] = [
    ("id", r#"{"type":"number","airbyte_type":"integer"}"#),
    ("customer_id", r#"{"type":"number","airbyte_type":"integer"}"#),
    ("created_at", r#"{"type":"string","format":"date-time","airbyte_type":"timestamp_with_timezone"}"#),
    ("updated_at", r#"{"type":"string","format":"date-time","airbyte_type":"timestamp_with_timezone"}"#),
    ("amount", r#"{"type":"number"}"#),
    ("status", r#"{"type":"string"}"#),
    ("is_gift", r#"{"type":"boolean"}"#),
    ("note", r#"{"type":"string"}"#),
    ("attrs", r#"{"type":"string"}"#),
    ("ship_date", r#"{"type":"string","format":"date"}"#),
    ("ref", r#"{"type":"string"}"#),
    ("score", r#"{"type":"number"}"#),
];

fn main() {
    divan::main();
}

fn mix(i: u64) -> u64 {
    let z = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 27)
}

/// The values of a row, as JSON.
fn order(i: u64) -> [String; 12] {
    let (h, h2, h3) = (mix(i), mix(i ^ 0xABCD), mix(i ^ 0x1234_5678));
    let m = format!("{h:016x}{h2:016x}");
    let at = |micros: u64| {
        let seconds = micros / 1_000_000;
        format!(
            "\"2023-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z\"",
            1 + seconds / 86_400 / 28 % 12,
            1 + seconds / 86_400 % 28,
            seconds / 3_600 % 24,
            seconds / 60 % 60,
            seconds % 60,
            micros % 1_000_000
        )
    };
    let null_if = |null: bool, value: String| if null { "null".to_owned() } else { value };
    let status = ["new", "paid", "packed", "shipped", "delivered", "returned", "cancelled"][(h % 7) as usize];
    let note = match h3 & 15 {
        0 => "null".to_owned(),
        1 => format!(r#""Grüße, \"quoted\", {}\nsecond line, with comma""#, &m[..12]),
        2 => "\"\"".to_owned(),
        n => format!("\"note {} for order {i}\"", &m[..8 + n as usize]),
    };
    let attrs = format!(
        r#""{{\"qty\": {}, \"sku\": \"{}\", \"tags\": [\"t{}\", \"t{}\"]}}""#,
        1 + (h2 & 7),
        m[..8].to_uppercase(),
        h & 7,
        h2 & 7
    );
    [
        i.to_string(),
        (1 + h % 200_000).to_string(),
        at(i * 23_456_789),
        at(i * 23_456_789 + (h2 & 1_048_575) * 1_000),
        format!("{}.{:02}", h3 % 1_000_000, h % 100),
        format!("\"{status}\""),
        null_if(h2 & 15 == 0, (h2 & 1 == 1).to_string()),
        note,
        null_if(h & 31 == 0, attrs),
        null_if(h2 & 63 == 0, format!("\"2023-{:02}-{:02}\"", 1 + i / 28 % 12, 1 + i % 28)),
        format!("\"{}-{}-{}-{}-{}\"", &m[..8], &m[8..12], &m[12..16], &m[16..20], &m[20..]),
        null_if(h & 127 == 5, format!("{}", (h3 & 16_777_215) as f64 / 777.0)),
    ]
}

fn run(bencher: Bencher<'_, '_>, columns: &[usize], fresh: bool) {
    let fields: Vec<_> = columns.iter().map(|c| format!("\"{}\":{}", COLUMNS[*c].0, COLUMNS[*c].1)).collect();
    let catalog = format!(
        r#"{{"streams":[{{"stream":{{"name":"orders","json_schema":{{"type":"object","properties":{{{}}}}},"supported_sync_modes":["full_refresh"]}},"sync_mode":"full_refresh","destination_sync_mode":"append"}}]}}"#,
        fields.join(",")
    );
    let stream = select(ConfiguredCatalog::parse(catalog.as_bytes()).expect("a catalog").streams.remove(0));
    let mut batch = RecordBatch::default();
    for i in 1..=ROWS {
        let row = order(i);
        let members: Vec<_> = columns.iter().map(|c| format!("\"{}\":{}", COLUMNS[*c].0, row[*c])).collect();
        batch.push(format!("{{{}}}", members.join(",")).as_bytes(), None, 1_700_000_000_000, i);
    }
    let mut rows = Rows::new(&stream, fresh);
    bencher
        .counter(BytesCount::new(batch.bytes()))
        .counter(ItemsCount::new(ROWS))
        .bench_local(|| rows.write(&batch));
}

/// All twelve columns, into a table that this run has made.
#[divan::bench]
fn orders(bencher: Bencher<'_, '_>) {
    run(bencher, &(0..COLUMNS.len()).collect::<Vec<_>>(), true);
}

/// All twelve columns and all four added ones.
#[divan::bench]
fn orders_in_full(bencher: Bencher<'_, '_>) {
    run(bencher, &(0..COLUMNS.len()).collect::<Vec<_>>(), false);
}

/// One column at a time, by its place in the table.
#[divan::bench(args = 0..COLUMNS.len())]
fn column(bencher: Bencher<'_, '_>, column: usize) {
    run(bencher, &[column], true);
}
