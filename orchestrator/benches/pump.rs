//! The pump over memory: orders-like records, receipts on, with and without renaming.

use std::hint::black_box;
use std::io::Write;

use divan::Bencher;
use divan::counter::BytesCount;
use orchestrator::pump::{Observer, Pump, StreamPlan, Tally};
use orchestrator::receipts::Expected;
use protocol::{LineReader, Message, StreamDescriptor};

fn main() {
    divan::main();
}

#[derive(Debug)]
struct Silent;

impl Observer for Silent {
    fn expect(&mut self, expected: Expected) {
        black_box(expected);
    }
    fn message(&mut self, message: Message) {
        black_box(message);
    }
    fn noise(&mut self, _: u64, _: &[u8], why: &str) {
        panic!("{why}");
    }
    fn progress(&mut self, tallies: &[Tally]) {
        black_box(tallies);
    }
}

/// A pipe's cost without a pipe: the bytes are looked at and dropped.
#[derive(Debug)]
struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(black_box(bytes).len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// 12 mixed columns, a state every 10,000 records, 64 MB in all.
fn orders() -> Vec<u8> {
    let mut lines = Vec::with_capacity(70 << 20);
    let mut id = 0_u64;
    while lines.len() < 64 << 20 {
        id += 1;
        let cents = id.wrapping_mul(2_654_435_761) % 1_000_000;
        let _ = writeln!(
            lines,
            r#"{{"type":"RECORD","record":{{"namespace":"public","stream":"orders","emitted_at":1763710000000,"data":{{"id":{id},"customer_id":{},"status":"shipped","amount":{}.{:02},"currency":"EUR","created_at":"2026-11-{:02}T08:15:30.123456Z","updated_at":"2026-11-21T10:00:00.000000Z","note":"Leave it at the \"back\" door, née {cents}","paid":true,"discount":null,"tags":["a","b{}"],"address":{{"street":"Hafenstraße {}","zip":"20457"}}}}}}}}"#,
            id * 7 % 100_000,
            cents / 100,
            cents % 100,
            id % 28 + 1,
            id % 10,
            id % 200
        );
        if id.is_multiple_of(10_000) {
            let _ = writeln!(
                lines,
                r#"{{"type":"STATE","state":{{"type":"STREAM","stream":{{"stream_descriptor":{{"name":"orders","namespace":"public"}},"stream_state":{{"id":{id}}}}}}}}}"#
            );
        }
    }
    lines
}

fn run(bencher: Bencher<'_, '_>, target: &StreamDescriptor, fields: Option<&[&str]>) {
    let input = orders();
    let source = StreamDescriptor::new(Some("public"), "orders");
    let plan = StreamPlan {
        source,
        target: target.clone(),
        fields: fields.map(|f| f.iter().map(|f| (*f).to_owned()).collect()),
    };
    bencher.counter(BytesCount::new(input.len())).bench(|| {
        let mut pump = Pump::new(vec![plan.clone()], Sink, Silent);
        assert!(pump.run(&mut LineReader::new(input.as_slice())).is_ok());
        black_box(pump.tallies()[0].read)
    });
}

#[divan::bench(sample_count = 20)]
fn forwards_with_receipts(bencher: Bencher<'_, '_>) {
    run(bencher, &StreamDescriptor::new(Some("public"), "orders"), None);
}

#[divan::bench(sample_count = 20)]
fn renames(bencher: Bencher<'_, '_>) {
    run(bencher, &StreamDescriptor::new(Some("production"), "ml_orders"), None);
}

#[divan::bench(sample_count = 10)]
fn selects_fields(bencher: Bencher<'_, '_>) {
    run(
        bencher,
        &StreamDescriptor::new(Some("public"), "orders"),
        Some(&["id", "amount", "updated_at", "address"]),
    );
}

/// What the receipts alone cost: the digest of the same data.
#[divan::bench(sample_count = 20)]
fn digest_alone(bencher: Bencher<'_, '_>) {
    let input = orders();
    let rows: Vec<&[u8]> =
        input.split(|b| *b == b'\n').filter(|l| l.len() > 150).map(|l| &l[98..l.len() - 2]).collect();
    bencher.counter(BytesCount::new(input.len())).bench(|| {
        let mut digest = protocol::RecordDigest::default();
        rows.iter().for_each(|row| digest.add(row));
        black_box(digest)
    });
}
