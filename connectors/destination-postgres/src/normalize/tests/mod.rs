//! Normalization on real servers, from raw rows that the tests insert.

mod example;
mod history;
mod incremental;
mod values;

use std::time::Duration;

use connector_kit::protocol::ConfiguredStream;
use connector_kit::{Result, Secret, SelectedStream, Stop};
use postgres_kit::{Endpoint, Params, SslMode, TunnelMethod};
use serde_json::{Value, json};
use testkit::services::{Postgres, Version};

use super::{Normalizer, Settings, plan};
use crate::config::NestedObjects;
use crate::lane::Lane;

const BOTH: [Version; 2] = [Version::V15, Version::V18];

fn stream(name: &str, properties: Value, mode: &str) -> SelectedStream {
    let configured: ConfiguredStream = serde_json::from_value(json!({
        "stream": {
            "name": name,
            "json_schema": {"type": "object", "properties": properties},
            "supported_sync_modes": ["full_refresh", "incremental"]
        },
        "sync_mode": "incremental",
        "destination_sync_mode": mode,
        "primary_key": if mode == "append_dedup" { json!([["id"]]) } else { json!([]) },
        "cursor_field": if mode == "append_dedup" { json!(["at"]) } else { json!([]) },
    }))
    .unwrap();
    connector_kit::bench::select(configured)
}

fn normalizer(stream: &SelectedStream, form: NestedObjects) -> Result<Normalizer> {
    let settings =
        Settings { form, internal: "airbyte_internal".to_owned(), keeps_deleted: false, drop_cascade: false };
    let plans = plan(std::slice::from_ref(stream), &["public".to_owned()], &settings)?;
    Ok(plans.into_iter().next().expect("one plan"))
}

/// Makes the raw table as Airbyte made it.
fn raw_table(server: &Postgres, stream: &str) {
    server.psql(&format!(
        "CREATE TABLE \"_airbyte_raw_{stream}\" (_airbyte_ab_id varchar PRIMARY KEY, _airbyte_data jsonb, \
         _airbyte_emitted_at timestamptz DEFAULT now())"
    ));
}

fn insert(server: &Postgres, stream: &str, id: &str, data: &Value) {
    emit(server, stream, id, data, 0);
}

/// Inserts a row emitted so many seconds after the year 2024 began.
fn emit(server: &Postgres, stream: &str, id: &str, data: &Value, second: u32) {
    server.psql(&emitted(stream, id, data, second));
}

/// The statement for it.
fn emitted(stream: &str, id: &str, data: &Value, second: u32) -> String {
    let data = data.to_string().replace('\'', "''");
    format!(
        "INSERT INTO \"_airbyte_raw_{stream}\" (_airbyte_ab_id, _airbyte_data, _airbyte_emitted_at) \
         VALUES ('{id}', '{data}', timestamptz '2024-01-01Z' + {second} * interval '1 s');"
    )
}

fn endpoint(server: &Postgres) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port: server.port,
        database: "postgres".into(),
        user: Postgres::USER.into(),
        password: Some(Secret::from(Postgres::PASSWORD.to_owned())),
        ssl: SslMode::Disable,
        tunnel: TunnelMethod::NoTunnel,
        params: Params::default(),
    }
}

/// Runs a conversation with a server; one that hangs fails.
fn talk<T>(server: &Postgres, f: impl AsyncFnOnce(&mut Lane) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let conversation = async {
        let mut lane = Lane::connect(&endpoint(server), &Stop::default()).await.unwrap();
        f(&mut lane).await
    };
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(100), conversation).await })
        .expect("it hangs")
}

/// Normalizes what the raw table holds, as a sync does at its end.
fn normalize(server: &Postgres, normalizer: &Normalizer) -> Result<()> {
    talk(server, async |lane| {
        normalizer.prepare(lane).await?;
        lane.begin().await?;
        normalizer.run(lane, false).await?;
        lane.commit().await
    })
}

fn columns(server: &Postgres, table: &str) -> String {
    server
        .psql(&format!(
            "SELECT string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum) FROM pg_attribute \
             WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        ))
        .replace("timestamp with time zone", "timestamptz")
}
