//! The suite that every destination passes, with records normalized at the end of each stream.

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
                "username": Postgres::USER, "password": Postgres::PASSWORD, "ssl_mode": {"mode": "disable"}, "normalization": {"mode": "basic"},
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
    let table = format!("\"{}\".\"{}\"", schema(lake), stream.name.to_lowercase());
    if server.psql(&format!("SELECT to_regclass('{table}') IS NULL")) == "t" {
        return Vec::new();
    }
    let rows = server.psql(&format!("SELECT row_to_json(t) FROM {table} t"));
    rows.lines().map(str::to_owned).collect()
}

// Of the suite, all that depends on where rows go; apart from two trials that look into a row's own
// `_airbyte_meta`: normalized tables have no such column.
testkit::trials!(suite;
    destination::states_are_echoed_in_order_with_counts_and_digests
    destination::a_global_state_waits_for_every_stream
    modes::append_adds_to_what_is_there
    modes::overwrite_replaces_what_is_there
    modes::deduplication_keeps_the_latest_row_of_each_key
    modes::the_end_of_input_without_any_status_completes_every_stream
    modes::statuses_without_complete_keep_the_old_rows
    modes::a_truncating_refresh_replaces_earlier_generations_once_complete
    modes::a_kill_in_the_middle_leaves_the_old_rows
    intake::records_with_unknown_fields_or_streams_do_no_harm
    intake::a_record_of_one_megabyte_arrives_whole
    intake::whole_numbers_and_decimals_keep_every_digit
    intake::half_a_record_at_the_end_is_an_error_and_its_state_is_never_echoed
    intake::sigterm_makes_what_was_taken_durable_and_echoes_it
    intake::an_empty_input_is_a_sync_of_nothing
);
