//! The suite that every source passes, run against the built binary.

use serde_json::json;
use testkit::conformance::{Resumed, SourceSuite};

fn suite() -> SourceSuite {
    SourceSuite {
        connector: testkit::Connector::new(env!("CARGO_BIN_EXE_source-faker")),
        config: json!({"count": 300, "seed": 7, "always_updated": false, "records_per_slice": 50}),
        large: json!({"count": 30_000, "seed": 7, "always_updated": false}),
        resumed: Resumed::SendsNothing,
        keep: Box::new(()),
    }
}

testkit::source_trials!(suite);
