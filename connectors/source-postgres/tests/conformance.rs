//! The suite that every source passes, run against the built binary and a real server.

use serde_json::json;
use testkit::conformance::{Resumed, SourceSuite};
use testkit::services::{Postgres, Version};

fn suite() -> SourceSuite {
    let server = Postgres::start(Version::V15);
    server.psql(
        "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, born date, seen timestamptz, score numeric(8,2)); \
         INSERT INTO users SELECT i, 'user ' || i, date '1990-01-01' + i, timestamptz '2024-01-01Z' + i * interval '1 min', i / 7.0 \
         FROM generate_series(1, 300) i; \
         CREATE SCHEMA large; CREATE TABLE large.rows (id int PRIMARY KEY, v text); \
         INSERT INTO large.rows SELECT i, repeat(md5(i::text), 8) FROM generate_series(1, 30000) i",
    );
    // By transaction, because it needs no cursor to be chosen.
    let mut config = server.config_json("postgres");
    config["replication_method"] = json!({"method": "Xmin"});
    let mut large = config.clone();
    large["schemas"] = json!(["large"]);
    SourceSuite {
        connector: testkit::Connector::new(env!("CARGO_BIN_EXE_source-postgres")),
        config,
        large,
        resumed: Resumed::SendsNothing,
        keep: Box::new(server),
    }
}

testkit::source_trials!(suite);
