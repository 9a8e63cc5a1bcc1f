//! Many streams at once need no more memory than one.

use std::fmt::Write as _;
use std::time::Duration;

use crate::harness::{Site, stream};
use serde_json::{Value, json};

const STREAMS: usize = 40;
const ROWS: usize = 300;
/// Though the program that is tested was not optimized, which makes it larger than the one that ships.
const MOST_KIB: u64 = 60 << 10;

#[test]
fn forty_streams_at_once_need_little_more_memory_than_one() {
    for site in Site::both() {
        let streams: Vec<Value> = (0..STREAMS)
            .map(|n| {
                let mut stream = stream("append");
                stream["stream"]["name"] = json!(format!("s{n}"));
                stream
            })
            .collect();
        let value = "v".repeat(4_000);
        let mut input = String::new();
        for id in 0..ROWS {
            for n in 0..STREAMS {
                let _ = writeln!(
                    input,
                    "{{\"type\":\"RECORD\",\"record\":{{\"stream\":\"s{n}\",\"emitted_at\":1,\"data\":{{\"id\":{id},\"v\":\"{value}\"}}}}}}"
                );
            }
        }
        let output =
            site.invocation(&streams, &input).patience(Duration::from_secs(100)).output().succeeded();
        assert!(output.peak_kib > 0, "the sampling saw nothing: {output}");
        assert!(output.peak_kib <= MOST_KIB, "{} KiB", output.peak_kib);
        for n in [0, STREAMS - 1] {
            let found =
                site.server.query(&format!("SELECT COUNT(*), COUNT(DISTINCT id) FROM lake.production.s{n}"));
            assert_eq!(found, [vec![json!(ROWS); 2]]);
        }
    }
}
