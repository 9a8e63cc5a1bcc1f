//! How much memory it takes.

use std::fmt::Write as _;
use std::time::Duration;

use crate::harness::{STATE, Site, stream};
use serde_json::json;

#[test]
fn peak_memory_stays_below_64_mib() {
    Site::both().iter().for_each(stays_below_64_mib);
}

fn stays_below_64_mib(site: &Site) {
    // About 60 MB in rows of one kilobyte, sixty of the largest that fit, and one that does not.
    let mut input = String::new();
    let mut row = |id: u32, bytes: usize| {
        let v = "v".repeat(bytes);
        let _ = writeln!(
            input,
            "{{\"type\":\"RECORD\",\"record\":{{\"stream\":\"s\",\"emitted_at\":1,\"data\":{{\"id\":{id},\"v\":\"{v}\"}}}}}}"
        );
    };
    (0..20_000).for_each(|id| row(id, 1_000));
    (20_000..20_060).for_each(|id| row(id, 31_000));
    row(20_060, 2 << 20);
    let output = site
        .invocation(&[stream("append")], &(input + STATE))
        .patience(Duration::from_secs(100))
        .output()
        .succeeded();
    assert!(output.peak_kib > 0, "the sampling saw nothing: {output}");
    assert!(output.peak_kib <= 64 << 10, "{} KiB", output.peak_kib);
    let found = site.server.query("SELECT COUNT(*), COUNT(v) FROM lake.production.s");
    assert_eq!(found, [vec![json!(20_061), json!(20_060)]]);
}
