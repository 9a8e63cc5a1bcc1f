//! Basic normalization and raw tables, from stdin to what readers of the tables see.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::Signal;
use testkit::conformance::feed::{Feed, in_generation, in_mode};
use testkit::services::{Cut, Proxy, Version};

use crate::harness::{Site, incremental};

fn normalizing(nested_objects: &str) -> Site {
    let mut site = Site::new();
    site.more = json!({"normalization": {"mode": "basic", "nested_objects": nested_objects}});
    site
}

fn customers(mode: &str) -> Value {
    let text = json!({"type": ["null", "string"]});
    let mut stream = in_mode("customers", mode);
    stream["stream"]["json_schema"]["properties"] = json!({
        "id": {"type": "integer"},
        "name": text,
        "contact": {"type": "object", "properties": {"email": text, "phone": text}},
        "addresses": {"type": "array", "items": {"type": "object", "properties": {"type": text, "city": text}}},
        "updated_at": {"type": "string", "format": "date-time"}
    });
    stream
}

/// So many customers called `name`, each with one address.
fn called(mut feed: Feed, name: &str, ids: std::ops::Range<u32>) -> Feed {
    for id in ids {
        let row = json!({"id": id, "name": name, "contact": {"email": format!("{name}@x")},
            "addresses": [{"type": "home", "city": name}], "updated_at": "2024-01-01T00:00:00Z"});
        feed = feed.record("customers", &row.to_string());
    }
    feed
}

/// What readers see: how many customers are called what, and their addresses.
const SEEN: &str = "SELECT name, count(*), count(city) FROM customers LEFT JOIN customers_addresses a USING (_airbyte_customers_hashid) \
                    WHERE city IS NULL OR city = name GROUP BY name ORDER BY name";

#[test]
fn nested_records_become_tables_at_the_end_of_the_sync() {
    let site = normalizing("columns");
    let john = r#"{"id":1,"name":"John","contact":{"email":"j@x","phone":"1"},"addresses":[{"type":"home","city":"Rome"},{"type":"work","city":"Oslo"}]}"#;
    let feed = Feed::new().record("customers", john).state("customers", 1).rows("other", 0, 2);
    let _ = site.sync(&[customers("append"), in_mode("other", "overwrite")], feed);
    assert_eq!(site.psql("SELECT id, name, contact_email, contact_phone FROM customers"), "1|John|j@x|1");
    assert_eq!(
        site.psql("SELECT type, city FROM customers JOIN customers_addresses USING (_airbyte_customers_hashid) ORDER BY 1"),
        "home|Rome\nwork|Oslo"
    );
    assert_eq!(site.psql("SELECT _airbyte_data->'contact'->>'phone' FROM _airbyte_raw_customers"), "1");
    assert_eq!(site.ids("other"), "0,1");
    // Nothing of what a typed table has.
    let typed = "SELECT count(*) FROM pg_attribute WHERE attname = '_airbyte_raw_id' AND attrelid IN ('customers'::regclass, 'other'::regclass)";
    assert_eq!(site.psql(typed), "0");
}

#[test]
fn an_unfinished_stream_is_normalized_by_the_sync_that_completes_it() {
    let site = normalizing("tables");
    let stream = [incremental(customers("append"))];
    let begun = called(Feed::new().status("customers", "STARTED"), "a", 0..3).state("customers", 1);
    let output = site.write(&stream, called(begun, "b", 3..5).status("customers", "INCOMPLETE"));
    assert_eq!(output.states().count(), 1, "{output}");
    assert_eq!(site.psql("SELECT count(*) FROM _airbyte_raw_customers"), "3");
    assert_eq!(site.ids("customers"), "none");
    let rest = called(Feed::new(), "b", 3..5).state("customers", 2).status("customers", "COMPLETE");
    let _ = site.sync(&stream, rest);
    assert_eq!(site.psql(SEEN), "a|3|3\nb|2|2");
    assert_eq!(site.psql("SELECT count(*) FROM customers_contact"), "5");
}

#[test]
fn a_truncating_refresh_keeps_the_old_rows_until_it_is_complete() {
    let site = normalizing("columns");
    let stream = |generation, minimum| {
        let mut stream = incremental(customers("append_dedup"));
        stream["cursor_field"] = json!(["updated_at"]);
        let ids = in_generation("customers", "append_dedup", generation, minimum);
        for key in ["generation_id", "minimum_generation_id", "sync_id"] {
            stream[key] = ids[key].clone();
        }
        [stream]
    };
    let _ = site.sync(&stream(0, 0), called(Feed::new(), "old", 0..3).state("customers", 1));
    let half = called(Feed::new(), "new", 0..2).state("customers", 2).status("customers", "INCOMPLETE");
    assert_eq!(site.write(&stream(1, 1), half).states().count(), 0);
    assert_eq!(site.psql(SEEN), "old|3|3");
    let whole = called(Feed::new(), "new", 0..2).state("customers", 2).status("customers", "COMPLETE");
    let _ = site.sync(&stream(1, 1), whole);
    assert_eq!(site.psql(SEEN), "new|2|2");
    assert_eq!(site.psql("SELECT count(*) FROM customers_scd"), "2");
}

/// Whatever statement is the last that the server gets, readers see the old rows or the new ones.
#[test]
fn a_connection_that_is_lost_at_any_statement_leaves_old_or_new_rows_and_the_next_sync_succeeds() {
    // How a statement of less than 64 KiB begins on the wire.
    const QUERY: &str = "Q\0\0";
    for mode in ["overwrite", "append_dedup"] {
        let mut site = normalizing("columns");
        let proxy = Proxy::to(site.server.port);
        let direct = std::mem::replace(&mut site.port, proxy.port);
        let stream = [customers(mode)];
        let _ = site.sync(&stream, called(Feed::new(), "v0", 0..3).state("customers", 1));
        let mut seen = "v0|3|3".to_owned();
        let mut version = 0;
        for statement in 0.. {
            assert!(statement < 300, "it never succeeds");
            version += 1;
            let new = format!("v{version}|3|3");
            let cut = if statement % 2 == 0 { Cut::Before } else { Cut::After };
            let before = proxy.cuts();
            proxy.cut(QUERY, cut, statement);
            let output =
                site.write(&stream, called(Feed::new(), &format!("v{version}"), 0..3).state("customers", 1));
            let now = site.psql(SEEN);
            if proxy.cuts() == before {
                let _ = output.succeeded();
                assert_eq!(now, new, "{mode}");
                break;
            }
            assert!(
                now == seen || now == new,
                "{mode}, cut {cut:?} statement {statement}: {now} after {seen}; {output}"
            );
            seen = now;
        }
        assert!(version > 20, "only {version} statements were cut");
        site.port = direct;
        let _ = site.sync(&stream, called(Feed::new(), "last", 0..3).state("customers", 1));
        assert_eq!(site.psql(SEEN), "last|3|3");
        let leftovers = "SELECT count(*) FROM pg_class WHERE relname LIKE '%ferrybyte_new%' OR relname LIKE '\\_ferrybyte\\_stage%'";
        assert_eq!(site.psql(leftovers), "0");
    }
}

#[test]
fn the_destination_or_the_server_killed_in_the_middle_of_normalization_leaves_the_old_rows() {
    for kill_server in [false, true] {
        let mut site = normalizing("columns");
        let stream = [customers("overwrite")];
        let _ = site.sync(&stream, called(Feed::new(), "old", 0..3).state("customers", 1));
        let mut reader = site.server.session("postgres");
        // Who reads the table keeps it from being replaced.
        let _ = reader.run("BEGIN; SELECT count(*) FROM customers_addresses;");
        let run = site.writing(&stream, called(Feed::new(), "new", 0..2).state("customers", 1)).start();
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DROP TABLE%'";
        let began = Instant::now();
        while site.psql(waits) == "0" {
            assert!(began.elapsed() < Duration::from_secs(60), "it does not get there");
            std::thread::sleep(Duration::from_millis(20));
        }
        if kill_server {
            site.server.stop_immediate();
            let output = run.wait();
            let _ = output.failed();
            drop(reader);
            site.server.start_again();
        } else {
            run.signal(Signal::KILL);
            let _ = run.wait();
            let _ = reader.run("COMMIT;");
        }
        assert_eq!(site.psql(SEEN), "old|3|3");
        let _ = site.sync(&stream, called(Feed::new(), "new", 0..2).state("customers", 1));
        assert_eq!(site.psql(SEEN), "new|2|2");
    }
}

#[test]
fn a_stream_that_cannot_be_deduplicated_is_refused_before_anything_is_written() {
    let site = normalizing("columns");
    let mut stream = customers("append_dedup");
    stream["primary_key"] = json!([["contact"]]);
    let output = site.write(&[stream], called(Feed::new(), "a", 0..1));
    let error = output.failed();
    assert!(error.message.contains("contact"), "{output}");
    assert_eq!(site.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
}

#[test]
fn raw_mode_writes_records_whole_and_nothing_else() {
    let mut site = Site::of(Version::V18);
    site.more = json!({"disable_type_dedupe": true, "raw_data_schema": "Landing"});
    let _ = site.sync(
        &[in_mode("Users", "append_dedup"), in_mode("other", "overwrite")],
        Feed::new().rows("Users", 0, 3).state("Users", 1).rows("other", 7, 9),
    );
    let tables = "SELECT string_agg(schemaname || '.' || tablename, ' ' ORDER BY 1) FROM pg_tables WHERE schemaname NOT LIKE 'pg_%' AND schemaname <> 'information_schema' GROUP BY ()";
    assert_eq!(
        site.psql(&tables.replace("ORDER BY 1", "ORDER BY tablename")),
        "landing.public_raw__stream_other landing.public_raw__stream_users"
    );
    assert_eq!(
        site.psql(
            "SELECT _airbyte_data->>'id', _airbyte_loaded_at FROM landing.public_raw__stream_users ORDER BY 1"
        ),
        "0|\n1|\n2|"
    );
    let _ = site.sync(&[in_mode("other", "overwrite")], Feed::new().rows("other", 1, 2));
    assert_eq!(site.psql("SELECT _airbyte_data->>'id' FROM landing.public_raw__stream_other"), "1");
}
