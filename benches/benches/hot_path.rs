//! Emit, intake and decode on one core. Throughput counts whole lines.
//!
//! Run: `cargo bench -p benches`

use std::hint::black_box;

use benches::{Order, order, orders, write};
use connector_kit::protocol::json::Token;
use connector_kit::protocol::{LineReader, Lines, RecordDigest, RecordScanner, Scanned};
use connector_kit::values::{Value, convert, exact_f64};
use connector_kit::{FieldType, RowDecoder, RowSink, bench};
use divan::counter::BytesCount;
use divan::{Bencher, black_box_drop};

const ROWS: u64 = 100_000;

fn main() {
    divan::main();
}

fn table() -> Vec<Order> {
    (1..=ROWS).map(order).collect()
}

fn lines() -> Vec<u8> {
    let mut out = bench::EmitterToMemory::new(&orders());
    table().iter().for_each(|o| out.row(|row| write(row, o)));
    out.into_bytes()
}

/// Typed row → whole JSON line in the buffer, digest included.
#[divan::bench]
fn emit(bencher: Bencher<'_, '_>) {
    let (table, stream) = (table(), orders());
    let bytes = lines().len();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let mut out = bench::EmitterToMemory::discarding(&stream);
        for order in &table {
            out.row(|row| write(row, order));
        }
        out.total()
    });
}

/// Split into lines and classify: stream and extents of every record.
#[divan::bench]
fn intake_split_and_classify(bencher: Bencher<'_, '_>) {
    let text = lines();
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let mut reader = LineReader::new(text.as_slice());
        let mut scanner = RecordScanner::new();
        let mut bytes = 0;
        while let Some(block) = reader.next_block().expect("memory does not fail") {
            for line in Lines::of(block) {
                match scanner.scan(line).expect("valid") {
                    Scanned::Record(record) => bytes += record.data.len(),
                    Scanned::Other(kind) => black_box_drop(kind),
                }
            }
        }
        bytes
    });
}

/// The same, with the digest of every record.
#[divan::bench]
fn intake_with_digest(bencher: Bencher<'_, '_>) {
    let text = lines();
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let mut reader = LineReader::new(text.as_slice());
        let mut scanner = RecordScanner::new();
        let mut digest = RecordDigest::default();
        while let Some(block) = reader.next_block().expect("memory does not fail") {
            for line in Lines::of(block) {
                if let Scanned::Record(record) = scanner.scan(line).expect("valid") {
                    digest.add(&line[record.data]);
                }
            }
        }
        digest
    });
}

/// Typed values, thrown away.
struct Typed(Vec<FieldType>, u64);

impl RowSink for Typed {
    #[inline]
    fn value(&mut self, column: usize, token: Token<'_>) {
        match convert(self.0[column], token) {
            Ok(Value::Number(digits)) => self.1 ^= exact_f64(digits).map_or(0, f64::to_bits),
            Ok(Value::Integer(n) | Value::Timestamp(n)) => self.1 ^= n.cast_unsigned(),
            other => {
                black_box(&other);
            }
        }
    }
}

fn decode(bencher: Bencher<'_, '_>, reverse: bool) {
    let stream = orders();
    let text = lines();
    let mut scanner = RecordScanner::new();
    let mut records: Vec<Vec<u8>> = Vec::new();
    for line in Lines::of(&text) {
        if let Scanned::Record(record) = scanner.scan(line).expect("valid") {
            records.push(line[record.data].to_vec());
        }
    }
    if reverse {
        for record in &mut records {
            let value: serde_json::Map<_, _> = serde_json::from_slice(record).expect("valid");
            let turned: serde_json::Map<_, _> = value.into_iter().rev().collect();
            *record = serde_json::to_vec(&turned).expect("valid");
        }
    }
    // Whole lines, as for the other figures.
    let mut decoder = RowDecoder::new(stream.columns.iter().map(|c| c.name.as_str()));
    let types: Vec<_> = stream.columns.iter().map(|c| c.field_type).collect();
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let mut sink = Typed(types.clone(), 0);
        for record in &records {
            decoder.decode(record, &mut sink).expect("valid");
        }
        sink.1
    });
}

#[divan::bench]
fn decode_in_schema_order(bencher: Bencher<'_, '_>) {
    decode(bencher, false);
}

#[divan::bench]
fn decode_in_reverse_order(bencher: Bencher<'_, '_>) {
    decode(bencher, true);
}
