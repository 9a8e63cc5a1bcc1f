//! The suite that every destination passes, run against the built binary and a server that takes what Dremio documents.

#[path = "conformance/reading.rs"]
mod reading;

use std::sync::Arc;

use serde_json::json;
use testkit::conformance::DestinationSuite;
use testkit_dremio::Dremio;

fn suite() -> DestinationSuite {
    let server = Arc::new(Dremio::options().field_limit(16 << 20).start());
    let theirs = Arc::clone(&server);
    DestinationSuite {
        connector: testkit::Connector::new(env!("CARGO_BIN_EXE_destination-dremio")),
        config: Box::new(move |lake| {
            let mut config = server.destination();
            config["dataset"] = json!(format!("lake.{}", reading::folder(lake)));
            config
        }),
        rows: Box::new(move |lake, stream| reading::rows(&theirs, lake, stream)),
        holds_nul: false,
    }
}

testkit::destination_trials!(suite);
