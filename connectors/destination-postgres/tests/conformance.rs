//! The suite that every destination passes, run against the built binary and a real server.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use testkit::conformance::{DestinationSuite, StreamDescriptor};
use testkit::services::{Postgres, Version};

fn suite() -> DestinationSuite {
    let server = Arc::new(Postgres::start(Version::V15));
    let theirs = Arc::clone(&server);
    DestinationSuite {
        connector: testkit::Connector::new(env!("CARGO_BIN_EXE_destination-postgres")),
        config: Box::new(move |lake| {
            json!({
                "host": "127.0.0.1", "port": server.port, "database": "postgres", "schema": schema(lake),
                "username": Postgres::USER, "password": Postgres::PASSWORD, "ssl_mode": {"mode": "disable"},
            })
        }),
        rows: Box::new(move |lake, stream| rows(&theirs, lake, stream)),
        holds_nul: false,
    }
}

/// A schema for what would be a folder.
fn schema(lake: &Path) -> String {
    let name = lake.file_name().unwrap_or_default().to_string_lossy();
    format!("lake_{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

fn rows(server: &Postgres, lake: &Path, stream: &StreamDescriptor) -> Vec<String> {
    let table = format!("\"{}\".\"{}\"", schema(lake), stream.name);
    if server.psql(&format!("SELECT to_regclass('{table}') IS NULL")) == "t" {
        return Vec::new();
    }
    let rows = server.psql(&format!("SELECT row_to_json(t) FROM {table} t"));
    rows.lines().map(str::to_owned).collect()
}

testkit::destination_trials!(suite);
