//! The suite that every source passes, run against the built binary.

use std::fmt::Write;

use serde_json::json;
use testkit::conformance::{Resumed, SourceSuite};

/// Rows with a whole number, a decimal, text with commas, a date, a timestamp and gaps.
fn csv(rows: u32) -> String {
    let mut text = String::from("id,amount,name,day,at,flag,maybe\n");
    for n in 0..rows {
        let gap = if n % 3 == 0 { String::new() } else { n.to_string() };
        writeln!(
            text,
            "{n},{n}.{:02},\"name, of {n}\",2024-02-{:02},2024-02-01T10:00:{:02}Z,{},{gap}",
            n % 100,
            1 + n % 28,
            n % 60,
            n % 2 == 0
        )
        .unwrap();
    }
    text
}

fn suite() -> SourceSuite {
    let files = testkit::Folder::new();
    let config = |name: &str, rows| {
        json!({"dataset_name": name, "format": "csv", "url": files.write(&format!("{name}.csv"), csv(rows)),
            "provider": {"storage": "local"}})
    };
    SourceSuite {
        connector: testkit::Connector::new(env!("CARGO_BIN_EXE_source-file")),
        config: config("small", 200),
        large: config("large", 60_000),
        // One stream, read whole each time.
        resumed: Resumed::SendsAllAgain,
        keep: Box::new(files),
    }
}

testkit::source_trials!(suite);
