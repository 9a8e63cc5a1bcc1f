//! Records into raw tables, and through them into normalized ones, on a real server.

use std::time::Duration;

use connector_kit::protocol::ConfiguredStream;
use connector_kit::{RecordBatch, Result, Secret, SelectedStream, Stop};
use postgres_kit::{Endpoint, Params, SslMode, TunnelMethod};
use serde_json::json;
use testkit::services::{Postgres, Version};

use super::{RawPlan, RawRows, holds, legacy_tables};
use crate::config::NestedObjects;
use crate::lane::Lane;
use crate::names::TableName;
use crate::normalize::{Normalizer, Settings, plan};

fn stream(mode: &str, generation: Option<(i64, i64)>) -> SelectedStream {
    let text = json!({"type": "string"});
    let configured: ConfiguredStream = serde_json::from_value(json!({
        "stream": {
            "name": "Things",
            "json_schema": {"type": "object", "properties": {"id": {"type": "integer"}, "name": text}},
            "supported_sync_modes": ["full_refresh", "incremental"]
        },
        "sync_mode": "incremental",
        "destination_sync_mode": mode,
        "primary_key": [["id"]],
        "generation_id": generation.map(|g| g.0),
        "minimum_generation_id": generation.map(|g| g.1),
        "sync_id": 7
    }))
    .unwrap();
    connector_kit::bench::select(configured)
}

fn normalizer(stream: &SelectedStream) -> Normalizer {
    let settings = Settings {
        form: NestedObjects::Columns,
        internal: "airbyte_internal".to_owned(),
        keeps_deleted: false,
        drop_cascade: false,
    };
    let plans = plan(std::slice::from_ref(stream), &["public".to_owned()], &settings).unwrap();
    plans.into_iter().next().expect("one plan")
}

async fn connect(server: &Postgres) -> Lane {
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: server.port,
        database: "postgres".into(),
        user: Postgres::USER.into(),
        password: Some(Secret::from(Postgres::PASSWORD.to_owned())),
        ssl: SslMode::Disable,
        tunnel: TunnelMethod::NoTunnel,
        params: Params::default(),
    };
    Lane::connect(&endpoint, &Stop::default()).await.unwrap()
}

/// One sync of some records; whether it was complete.
fn sync(
    server: &Postgres,
    stream: &SelectedStream,
    normalized: bool,
    records: &[&str],
    complete: bool,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sync = async {
        let mut lane = connect(server).await;
        let normalizer = normalized.then(|| normalizer(stream));
        let table = match &normalizer {
            Some(normalizer) => normalizer.raw_table(),
            None => legacy_tables(std::slice::from_ref(stream), "public", "airbyte_internal").remove(0),
        };
        let mut plan = RawPlan::open(&mut lane, stream, table, 0, false, normalizer).await?;
        let mut rows = RawRows::new(stream, plan.form());
        let mut batch = RecordBatch::default();
        for (i, record) in records.iter().enumerate() {
            batch.push(record.as_bytes(), None, 1_700_000_000_000, i as u64 + 1);
        }
        let mut tuples = Vec::new();
        rows.write(&batch, &mut tuples)?;
        lane.copy(plan.target(), &tuples).await?;
        plan.report(&mut rows);
        if complete {
            plan.publish(&mut lane).await?;
            lane.commit().await
        } else if holds(stream) {
            lane.rollback().await?;
            plan.abandon(&mut lane).await
        } else {
            lane.commit().await?;
            plan.abandon(&mut lane).await
        }
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(100), sync).await }).expect("it hangs")
}

const ONE: &str = r#"{"id": 1, "name": "one", "gone": null}"#;
const TWO: &str = r#"{"id": 2, "name": "two"}"#;

#[test]
fn records_are_kept_whole_and_normalized_once_the_stream_is_complete() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        let append = stream("append", None);
        sync(&server, &append, true, &[ONE], false).unwrap();
        assert_eq!(server.psql("SELECT _airbyte_data, extract(epoch FROM _airbyte_emitted_at)::bigint FROM _airbyte_raw_things"), "{\"id\": 1, \"gone\": null, \"name\": \"one\"}|1700000000");
        assert_eq!(server.psql("SELECT to_regclass('things') IS NULL"), "t");
        sync(&server, &append, true, &[TWO], true).unwrap();
        assert_eq!(server.psql("SELECT id, name FROM things ORDER BY id"), "1|one\n2|two");
        sync(&server, &append, true, &[], true).unwrap();
        assert_eq!(server.psql("SELECT count(*) FROM things"), "2");
    }
}

#[test]
fn an_overwrite_replaces_raw_and_normalized_rows_together_and_only_when_complete() {
    let server = Postgres::start(Version::V15);
    sync(&server, &stream("append", None), true, &[ONE], true).unwrap();
    server.psql("CREATE VIEW seen AS SELECT name FROM things");
    let overwrite = stream("overwrite", None);
    sync(&server, &overwrite, true, &[TWO], false).unwrap();
    let both = "SELECT (SELECT string_agg(name, ',') FROM seen), (SELECT count(*) FROM _airbyte_raw_things)";
    assert_eq!(server.psql(both), "one|1");
    sync(&server, &overwrite, true, &[TWO], true).unwrap();
    assert_eq!(server.psql(both), "two|1");
    sync(&server, &overwrite, true, &[], true).unwrap();
    assert_eq!(server.psql(both), "|0");
    assert_eq!(server.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "2");
}

#[test]
fn the_raw_tables_of_typing_and_deduping_are_laid_out_as_airbytes() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        sync(&server, &stream("append_dedup", Some((3, 0))), false, &[ONE, ONE], true).unwrap();
        let raw = "airbyte_internal.public_raw__stream_things";
        assert_eq!(
            server.psql(&format!(
                "SELECT string_agg(attname || ' ' || atttypid::regtype || CASE WHEN attnotnull THEN ' not null' ELSE '' END, ', ' ORDER BY attnum) \
                 FROM pg_attribute WHERE attrelid = '{raw}'::regclass AND attnum > 0"
            )),
            "_airbyte_raw_id character varying not null, _airbyte_extracted_at timestamp with time zone not null, \
             _airbyte_meta jsonb not null, _airbyte_generation_id bigint not null, \
             _airbyte_loaded_at timestamp with time zone, _airbyte_data jsonb not null"
        );
        // Without null members, and not deduplicated.
        assert_eq!(
            server.psql(&format!("SELECT _airbyte_meta, _airbyte_generation_id, _airbyte_loaded_at, _airbyte_data FROM {raw} LIMIT 1")),
            "{\"changes\": [], \"sync_id\": 7}|3||{\"id\": 1, \"name\": \"one\"}"
        );
        assert_eq!(
            server.psql(&format!("SELECT count(*), count(DISTINCT _airbyte_raw_id) FROM {raw}")),
            "2|2"
        );
        sync(&server, &stream("append", Some((4, 4))), false, &[TWO], false).unwrap();
        assert_eq!(server.psql(&format!("SELECT count(*) FROM {raw}")), "2");
        sync(&server, &stream("append", Some((4, 4))), false, &[TWO], true).unwrap();
        assert_eq!(
            server.psql(&format!("SELECT _airbyte_generation_id, _airbyte_data->'id' FROM {raw}")),
            "4|2"
        );
    }
}

#[test]
fn what_postgresql_cannot_store_is_replaced_and_said() {
    let server = Postgres::start(Version::V15);
    let odd = r#"{"id": 1, "name": "a\u0000b", "n": 1e999999, "half": ["\ud800"], "fine": "\ud83d\ude00"}"#;
    sync(&server, &stream("append", None), false, &[odd], true).unwrap();
    assert_eq!(
        server.psql(
            "SELECT _airbyte_data, _airbyte_meta->'changes' FROM airbyte_internal.public_raw__stream_things"
        ),
        "{\"n\": null, \"id\": 1, \"fine\": \"😀\", \"half\": [\"\u{fffd}\"], \"name\": \"a\u{fffd}b\"}|\
         [{\"field\": \"name\", \"change\": \"TRUNCATED\", \"reason\": \"DESTINATION_SERIALIZATION_ERROR\"}, \
         {\"field\": \"n\", \"change\": \"NULLED\", \"reason\": \"DESTINATION_FIELD_SIZE_LIMITATION\"}, \
         {\"field\": \"half\", \"change\": \"TRUNCATED\", \"reason\": \"DESTINATION_SERIALIZATION_ERROR\"}]"
    );
    sync(&server, &stream("append", None), true, &[odd], true).unwrap();
    assert_eq!(server.psql("SELECT name FROM things"), "a\u{fffd}b");
}

#[test]
fn records_that_are_no_json_are_named_by_their_line() {
    let stream = stream("append", None);
    for form in [super::RawForm::Normalized, super::RawForm::Legacy] {
        for bad in ["{\"a\":}", "{\"a\":1,}", "{\"a\":[1}]}", "{\"a\":\"\\x\"}"] {
            let mut rows = RawRows::new(&stream, form);
            let mut batch = RecordBatch::default();
            batch.push(b"{}", None, 0, 1);
            batch.push(bad.as_bytes(), None, 0, 2);
            let error = rows.write(&batch, &mut Vec::new()).unwrap_err();
            assert!(error.message().contains("line 2"), "{bad}: {error}");
        }
    }
}

#[test]
fn a_table_of_another_kind_is_not_loaded() {
    let server = Postgres::start(Version::V15);
    server.psql("CREATE TABLE _airbyte_raw_things (mine int)");
    let error = sync(&server, &stream("append", None), true, &[ONE], true).unwrap_err();
    assert!(error.message().contains("_airbyte_raw_things") && error.message().contains("drop"), "{error}");
    assert_eq!(server.psql("SELECT count(*) FROM _airbyte_raw_things"), "0");
}

#[test]
fn raw_tables_of_streams_with_one_name_are_told_apart() {
    let mut streams = vec![stream("append", None), stream("append", None)];
    streams[1].descriptor.name = "things".to_owned();
    let names = legacy_tables(&streams, "public", "Raw");
    assert!(names[0] != names[1], "{names:?}");
    assert!(names.contains(&TableName::new("raw", "public_raw__stream_things")), "{names:?}");
}
