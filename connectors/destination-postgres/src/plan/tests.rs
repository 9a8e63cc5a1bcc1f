//! Plans against real servers. Rows go in by INSERT, at the places where the writer's COPY would put them.

mod changed;
mod dedup;
mod names;
mod replaced;

use std::time::Duration;

use connector_kit::{Result, Secret, SelectedStream, Stop};
use postgres_kit::{Endpoint, Params, SslMode, TunnelMethod};
use serde_json::{Value, json};
use testkit::services::{Postgres, Version};

use super::{Options, Plan};
use crate::lane::Lane;
use crate::names::assign;

const OPTIONS: Options = Options { drop_cascade: false, deletes: true };

fn endpoint(server: &Postgres, user: &str, password: &str) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port: server.port,
        database: "postgres".into(),
        user: user.into(),
        password: Some(Secret::from(password.to_owned())),
        ssl: SslMode::Disable,
        tunnel: TunnelMethod::NoTunnel,
        params: Params::default(),
    }
}

/// Runs a test's conversation with a server; one that hangs fails.
fn talk(server: &Postgres, f: impl AsyncFnOnce(Lane)) {
    talk_as(server, Postgres::USER, Postgres::PASSWORD, f);
}

fn talk_as(server: &Postgres, user: &str, password: &str, f: impl AsyncFnOnce(Lane)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let endpoint = endpoint(server, user, password);
    let conversation = async { f(Lane::connect(&endpoint, &Stop::default()).await.unwrap()).await };
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(100), conversation).await })
        .expect("it hangs");
}

/// A stream `t` of `id` and `v`, appended incrementally unless `more` says otherwise.
fn stream(more: Value) -> SelectedStream {
    with_fields(json!({"id": {"type": "integer"}, "v": {"type": "string"}}), more)
}

fn with_fields(properties: Value, more: Value) -> SelectedStream {
    let mut configured = json!({
        "stream": {"name": "t", "json_schema": {"type": "object", "properties": properties},
            "supported_sync_modes": ["full_refresh", "incremental"]},
        "sync_mode": "incremental", "destination_sync_mode": "append", "primary_key": [["id"]],
        "generation_id": 1, "minimum_generation_id": 0, "sync_id": 7
    });
    configured.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    connector_kit::bench::select(serde_json::from_value(configured).unwrap())
}

async fn open(lane: &mut Lane, stream: &SelectedStream) -> Result<Plan> {
    open_with(lane, stream, OPTIONS).await
}

async fn open_with(lane: &mut Lane, stream: &SelectedStream, options: Options) -> Result<Plan> {
    let names = assign(std::slice::from_ref(stream), "public", "airbyte_internal")?;
    Plan::open(lane, stream, &names[0], 0, options).await
}

/// Rows where the plan wants them: the values of the stream's columns, as SQL.
async fn put(lane: &mut Lane, plan: &Plan, rows: &[&str]) {
    let places = plan.plain().map(|plain| {
        let (table, rest) = plain.sql.strip_prefix("COPY ").unwrap().split_once(" (").unwrap();
        (table.to_owned(), rest.split_once(") FROM").unwrap().0.to_owned())
    });
    let full = plan.full().sql.strip_prefix("COPY ").unwrap().split_once(") FROM STDIN").unwrap().0;
    lane.begin().await.unwrap();
    for (n, row) in rows.iter().enumerate() {
        let id = format!("'row {n:04}', '2024-01-01 00:00:00Z'");
        let sql = match &places {
            // Every other one with changes.
            Some((table, columns)) if n % 2 == 0 => {
                format!("INSERT INTO {table} ({columns}) VALUES ({id}, {row})")
            }
            _ => format!("INSERT INTO {full}) VALUES ({id}, '{{\"changed\":1}}', 1, {row})"),
        };
        lane.execute(&sql).await.unwrap();
    }
}

/// One whole successful sync.
async fn sync(lane: &mut Lane, stream: &SelectedStream, rows: &[&str]) {
    sync_with(lane, stream, rows, OPTIONS).await;
}

async fn sync_with(lane: &mut Lane, stream: &SelectedStream, rows: &[&str], options: Options) {
    let mut plan = open_with(lane, stream, options).await.unwrap();
    put(lane, &plan, rows).await;
    plan.flush(lane).await.unwrap();
    lane.commit().await.unwrap();
    plan.publish(lane).await.unwrap();
    lane.commit().await.unwrap();
}

/// A sync whose source fails after its rows were committed.
async fn fail(lane: &mut Lane, stream: &SelectedStream, rows: &[&str]) {
    let mut plan = open(lane, stream).await.unwrap();
    put(lane, &plan, rows).await;
    plan.flush(lane).await.unwrap();
    lane.commit().await.unwrap();
    plan.abandon(lane).await.unwrap();
}

/// Runs without what they would leave behind in the lane: as another process would.
async fn again(server: &Postgres, lane: &mut Lane) {
    *lane =
        Lane::connect(&endpoint(server, Postgres::USER, Postgres::PASSWORD), &Stop::default()).await.unwrap();
}

fn rows(server: &Postgres) -> String {
    server.psql(
        "SELECT coalesce(string_agg(id || '=' || coalesce(v::text, 'null'), ' ' ORDER BY id, v), '') FROM t",
    )
}

/// What tables there are.
fn tables(server: &Postgres) -> String {
    server.psql("SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind IN ('r', 'p', 'v') AND relnamespace = 'public'::regnamespace")
}

fn indexes(server: &Postgres) -> String {
    server.psql("SELECT string_agg(indexname || ' ' || substring(indexdef from '\\(.*'), ', ' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'")
}

#[test]
fn a_new_table_has_the_added_columns_first_and_no_defaults_once_it_is_complete() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        let fields = json!({
            "b": {"type": "boolean"}, "i": {"type": "integer"}, "n": {"type": "number"}, "s": {"type": "string"},
            "d": {"type": "string", "format": "date"},
            "t": {"type": "string", "format": "time", "airbyte_type": "time_without_timezone"},
            "tz": {"type": "string", "format": "time"},
            "ts": {"type": "string", "format": "date-time", "airbyte_type": "timestamp_without_timezone"},
            "tsz": {"type": "string", "format": "date-time"}, "o": {"type": "object"}, "a": {"type": "array"}
        });
        talk(&server, async |mut lane| {
            let stream = with_fields(fields, json!({}));
            let mut plan = open(&mut lane, &stream).await.unwrap();
            assert!(plan.plain().is_some());
            let defaults = "SELECT count(*) FROM pg_attrdef WHERE adrelid = 't'::regclass";
            assert_eq!(server.psql(defaults), "2");
            plan.publish(&mut lane).await.unwrap();
            lane.commit().await.unwrap();
            assert_eq!(server.psql(defaults), "0");
            // The second time it is there already.
            again(&server, &mut lane).await;
            assert!(open(&mut lane, &stream).await.unwrap().plain().is_none());
        });
        let columns = server.psql("SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0");
        insta::allow_duplicates! { insta::assert_snapshot!(columns) };
        assert_eq!(indexes(&server), "idx_extracted_at_t (_airbyte_extracted_at)");
    }
}

#[test]
fn rows_of_both_forms_have_the_constants_of_the_sync() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut lane| {
        sync(&mut lane, &stream(json!({"generation_id": 3})), &["1, 'a'", "2, 'b'"]).await;
    });
    assert_eq!(
        server.psql("SELECT _airbyte_meta, _airbyte_generation_id, id FROM t ORDER BY id"),
        "{\"changes\": [], \"sync_id\": 7}|3|1\n{\"changed\": 1}|1|2"
    );
}

#[test]
fn dp_11_a_second_sync_to_a_table_is_refused_with_the_pid_of_the_first() {
    let server = Postgres::start(Version::V15);
    talk(&server, async |mut first| {
        let stream = stream(json!({}));
        let _plan = open(&mut first, &stream).await.unwrap();
        let mut second =
            Lane::connect(&endpoint(&server, Postgres::USER, Postgres::PASSWORD), &Stop::default())
                .await
                .unwrap();
        let error = open(&mut second, &stream).await.unwrap_err();
        assert!(error.message().contains(&format!("PID {} ", first.backend_pid())), "{error}");
        assert!(error.message().contains("\"public\".\"t\""), "{error}");
        drop(first);
        open(&mut second, &stream).await.unwrap();
    });
}
