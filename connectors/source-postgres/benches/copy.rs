//! Binary COPY → JSON lines on one core, no server. Throughput counts whole lines.
//!
//! Run: `cargo bench -p source-postgres --features bench`

use connector_kit::SelectedStream;
use connector_kit::bench::{EmitterToMemory, select};
use connector_kit::protocol::ConfiguredCatalog;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use source_postgres::bench::Copy;

// Few enough to stay in the cache, as a socket's buffer does.
const ROWS: u64 = 5_000;
/// The orders table that all speed figures are quoted on.
const ORDERS: [&str; 12] = [
    "int8",
    "int4",
    "timestamptz",
    "timestamptz",
    "numeric",
    "varchar",
    "bool",
    "text",
    "jsonb",
    "date",
    "uuid",
    "float8",
];
const NAMES: [&str; 12] = [
    "id",
    "customer_id",
    "created_at",
    "updated_at",
    "amount",
    "status",
    "is_gift",
    "note",
    "attrs",
    "ship_date",
    "ref",
    "score",
];

fn main() {
    divan::main();
}

fn mix(i: u64) -> u64 {
    let z = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 27)
}

/// The fields of a row, in the server's binary form.
fn order(i: u64) -> [Option<Vec<u8>>; 12] {
    let (h, h2, h3) = (mix(i), mix(i ^ 0xABCD), mix(i ^ 0x1234_5678));
    let m = format!("{h:016x}{h2:016x}");
    let created = 725_846_400_000_000 + (i * 23_456_789).cast_signed();
    let updated = created + (h2 & 1_048_575).cast_signed() * 1_000;
    let (whole, cents) = (h3 % 1_000_000, h % 100);
    let mut groups = vec![(whole / 10_000) as u16, (whole % 10_000) as u16, (cents * 100) as u16];
    let mut weight = 1_u16;
    if groups[0] == 0 {
        groups.remove(0);
        weight = 0;
    }
    if cents == 0 {
        groups.pop();
    }
    let head = [groups.len() as u16, weight, 0, 2];
    let numeric = head.into_iter().chain(groups).flat_map(u16::to_be_bytes).collect();
    let status = ["new", "paid", "packed", "shipped", "delivered", "returned", "cancelled"][(h % 7) as usize];
    let note = match h3 & 15 {
        0 => None,
        1 => Some(format!("Grüße, \"quoted\", {}\nsecond line, with comma", &m[..12])),
        2 => Some(String::new()),
        n => Some(format!("note {} for order {i}", &m[..8 + n as usize])),
    };
    let attrs = (h & 31 != 0).then(|| {
        format!(
            "\x01{{\"qty\": {}, \"sku\": \"{}\", \"tags\": [\"t{}\", \"t{}\"]}}",
            1 + (h2 & 7),
            m[..8].to_uppercase(),
            h & 7,
            h2 & 7
        )
    });
    [
        Some(i.to_be_bytes().into()),
        Some(((1 + h % 200_000) as u32).to_be_bytes().into()),
        Some(created.to_be_bytes().into()),
        Some(updated.to_be_bytes().into()),
        Some(numeric),
        Some(status.into()),
        (h2 & 15 != 0).then(|| vec![(h2 & 1) as u8]),
        note.map(String::into_bytes),
        attrs.map(String::into_bytes),
        (h2 & 63 != 0).then(|| (8_402 + (i * 23 / 86_400) as u32).to_be_bytes().into()),
        Some([h.to_be_bytes(), h2.to_be_bytes()].concat()),
        (h & 127 != 5).then(|| ((h3 & 16_777_215) as f64 / 777.0).to_be_bytes().into()),
    ]
}

/// The messages of a COPY of some columns, one row each; the header is a message of its own.
fn messages(columns: &[usize]) -> Vec<Vec<u8>> {
    let header = b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    let rows = (1..=ROWS).map(|i| {
        let row = order(i);
        let mut message = (columns.len() as u16).to_be_bytes().to_vec();
        for column in columns {
            match &row[*column] {
                Some(value) => {
                    message.extend_from_slice(&(value.len() as u32).to_be_bytes());
                    message.extend_from_slice(value);
                }
                None => message.extend_from_slice(&(-1_i32).to_be_bytes()),
            }
        }
        message
    });
    std::iter::once(header).chain(rows).collect()
}

fn stream(columns: &[usize]) -> SelectedStream {
    let fields: Vec<_> = columns.iter().map(|c| format!("\"{}\":{{}}", NAMES[*c])).collect();
    let text = format!(
        r#"{{"streams":[{{"stream":{{"name":"orders","namespace":"public","json_schema":{{"type":"object","properties":{{{}}}}},"supported_sync_modes":["full_refresh"]}},"sync_mode":"full_refresh","destination_sync_mode":"append"}}]}}"#,
        fields.join(",")
    );
    select(ConfiguredCatalog::parse(text.as_bytes()).expect("a catalog").streams.remove(0))
}

fn run(bencher: Bencher<'_, '_>, columns: &[usize]) {
    let (messages, stream) = (messages(columns), stream(columns));
    let types: Vec<_> = columns.iter().map(|c| ORDERS[*c]).collect();
    let mut kept = EmitterToMemory::new(&stream);
    let mut copy = Copy::new(&types);
    messages.iter().for_each(|m| copy.write(m, &mut kept));
    let bytes = kept.into_bytes().len();
    bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut out = EmitterToMemory::discarding(&stream);
        let mut copy = Copy::new(&types);
        for message in &messages {
            copy.write(message, &mut out);
        }
        out.total()
    });
}

/// All twelve columns.
#[divan::bench]
fn orders(bencher: Bencher<'_, '_>) {
    run(bencher, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
}

/// Rows of one column: about 40 ns of each are the row's own.
#[divan::bench(args = NAMES)]
fn one_column(bencher: Bencher<'_, '_>, name: &str) {
    run(bencher, &[NAMES.iter().position(|n| *n == name).expect("a column")]);
}
