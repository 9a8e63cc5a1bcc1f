//! The catalog.

use std::collections::HashSet;

use serde_json::{Value, json};
use testkit::services::{Postgres, Version};

use crate::harness::{as_user, cdc, create_user, run, stream, streams};

fn start(version: Version, sql: &str) -> Postgres {
    let server = Postgres::start(version);
    server.psql(sql);
    server
}

fn standard(server: &Postgres) -> Value {
    server.config_json("postgres")
}

fn xmin(server: &Postgres) -> Value {
    let mut config = standard(server);
    config["replication_method"] = json!({"method": "Xmin"});
    config
}

fn columns(stream: &Value) -> Vec<&str> {
    stream["json_schema"]["properties"].as_object().unwrap().keys().map(String::as_str).collect()
}

fn is_incremental(stream: &Value) -> bool {
    stream["supported_sync_modes"].as_array().unwrap().contains(&json!("incremental"))
}

const KINDS: &str = "
    CREATE TABLE plain (id bigint PRIMARY KEY, gone text, at timestamptz NOT NULL, note text,
        twice bigint GENERATED ALWAYS AS (id * 2) STORED);
    ALTER TABLE plain DROP COLUMN gone;
    CREATE TABLE composite (b text, a int, c json, PRIMARY KEY (c_key, a)
        , c_key varchar(10));
    CREATE TABLE keyless (flag boolean, doc json);
    CREATE TABLE empty ();
    CREATE VIEW view AS SELECT id, at FROM plain;
    CREATE MATERIALIZED VIEW mat AS SELECT id FROM plain;
    CREATE TABLE parts (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE TABLE child (extra text) INHERITS (plain);
    CREATE TEMPORARY TABLE fleeting (id int);
    CREATE SEQUENCE counter;
    CREATE EXTENSION postgres_fdw;
    CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere.invalid');
    CREATE FOREIGN TABLE far (id int) SERVER elsewhere;
    CREATE SCHEMA other; CREATE TABLE other.t (id int PRIMARY KEY);";

#[test]
fn tables_views_partitions_and_foreign_tables_are_streams_with_their_keys() {
    let server = start(Version::V15, KINDS);
    let found = streams(&standard(&server));
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "public.child",
        "public.composite",
        "public.empty",
        "public.far",
        "public.keyless",
        "public.mat",
        "public.parts",
        "public.parts_1",
        "public.plain",
        "public.view",
    ];
    assert_eq!(names, expected);
    let get = |name: &str| &found.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(columns(get("public.plain")), ["id", "at", "note", "twice"]);
    assert_eq!(get("public.plain")["source_defined_primary_key"], json!([["id"]]));
    assert_eq!(get("public.composite")["source_defined_primary_key"], json!([["c_key"], ["a"]]));
    assert_eq!(get("public.parts")["source_defined_primary_key"], json!([["id"], ["day"]]));
    assert_eq!(get("public.parts_1")["source_defined_primary_key"], json!([["id"], ["day"]]));
    assert_eq!(get("public.empty")["json_schema"], json!({"type": "object", "properties": {}}));
    assert_eq!(columns(get("public.child")), ["id", "at", "note", "twice", "extra"]);
    for (name, resumable, incremental) in [
        ("plain", true, true),
        ("mat", true, true),
        ("view", false, true),
        ("parts", false, true),
        ("far", false, true),
        ("keyless", true, false),
        ("empty", true, false),
    ] {
        let stream = get(&format!("public.{name}"));
        assert_eq!(stream["is_resumable"], resumable, "{name}");
        assert_eq!(is_incremental(stream), incremental, "{name}");
        assert!(stream.get("source_defined_cursor").is_none(), "{name}: the cursor is the user's to choose");
        assert!(stream.get("default_cursor_field").is_none(), "{name}");
    }
}

#[test]
fn xmin_is_offered_for_what_is_stored_and_not_for_views() {
    let server = start(Version::V15, KINDS);
    for (name, stream) in streams(&xmin(&server)) {
        let offered = !["public.view", "public.far"].contains(&name.as_str());
        assert_eq!(is_incremental(&stream), offered, "{name}");
        assert_eq!(stream.get("source_defined_cursor"), offered.then_some(&json!(true)), "{name}");
    }
}

#[test]
fn an_empty_list_of_schemas_means_all_and_a_named_one_only_that() {
    let server = start(Version::V15, KINDS);
    let with = |schemas: Value| {
        let mut config = standard(&server);
        config["schemas"] = schemas;
        streams(&config).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(with(json!(["other"])), ["other.t"]);
    let all = with(json!([]));
    assert!(all.contains(&"other.t".to_owned()) && all.contains(&"public.plain".to_owned()));
    assert!(all.iter().all(|n| n.starts_with("public.") || n.starts_with("other.")), "{all:?}");
    assert!(with(json!(["PUBLIC"])).is_empty());
}

#[test]
fn pg_24_names_of_any_kind_are_kept_as_they_are() {
    let long = "x".repeat(63);
    let names = [
        "with space",
        "with \"quote\"",
        "with.dot",
        "Ünïcode 🦀",
        "select",
        "UPPER",
        "it's",
        "back\\slash",
        "$1",
        "%s",
        "\tTab",
        "; DROP TABLE canary; --",
        &long,
    ];
    for version in [Version::V15, Version::V18] {
        let server = start(version, "CREATE TABLE canary (id int)");
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        for name in names {
            let q = quoted(name);
            server.psql(&format!(
                "CREATE SCHEMA {q}; CREATE TABLE {q}.{q} ({q} int PRIMARY KEY, \"b\" text); CREATE PUBLICATION {q} FOR TABLE {q}.{q};"
            ));
        }
        let mut config = standard(&server);
        config["schemas"] = json!(names);
        let found = streams(&config);
        assert_eq!(found.len(), names.len());
        for name in names {
            let stream = &found.iter().find(|(n, _)| *n == format!("{name}.{name}")).unwrap().1;
            assert_eq!(columns(stream), [name, "b"]);
            assert_eq!(stream["source_defined_primary_key"], json!([[name]]));
            // The publication's name is such a name, too.
            let mut config = cdc(&server);
            config["schemas"] = json!([name]);
            config["replication_method"]["publication"] = name.into();
            let stream = crate::harness::stream(&config, &format!("{name}.{name}"));
            assert!(is_incremental(&stream), "{name}");
        }
        assert_eq!(server.psql("SELECT count(*) FROM canary"), "0");
    }
}

#[test]
fn every_type_has_the_schema_that_airbyte_gives_it() {
    let server = start(
        Version::V15,
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN whole AS numeric(20, 0);
         CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text);
         CREATE EXTENSION hstore; CREATE EXTENSION citext;
         CREATE TABLE t (a smallint, b bigint, c numeric, d numeric(12, 0), e real, f boolean, g varchar(5), h uuid, i jsonb,
           j date, k timestamp, l timestamptz, m time, n timetz, o int[], p text[], q mood, r positive, s pair, t hstore,
           u citext, v money, w bytea, x whole, y mood[], z int4range)",
    );
    let stream = stream(&standard(&server), "public.t");
    let schema = |column: &str| stream["json_schema"]["properties"][column].clone();
    let integer = json!({"type": "number", "airbyte_type": "integer"});
    let text = json!({"type": "string"});
    for column in ["a", "b", "d", "r", "x"] {
        assert_eq!(schema(column), integer, "{column}");
    }
    for column in ["c", "e", "v"] {
        assert_eq!(schema(column), json!({"type": "number"}), "{column}");
    }
    for column in ["g", "h", "i", "q", "s", "t", "u", "w", "z"] {
        assert_eq!(schema(column), text, "{column}");
    }
    assert_eq!(schema("f"), json!({"type": "boolean"}));
    assert_eq!(schema("j"), json!({"type": "string", "format": "date"}));
    assert_eq!(
        schema("l"),
        json!({"type": "string", "format": "date-time", "airbyte_type": "timestamp_with_timezone"})
    );
    assert_eq!(schema("o"), json!({"type": "array", "items": integer}));
    assert_eq!(schema("y"), json!({"type": "array"}));
}

#[test]
fn what_the_user_may_not_read_is_left_out_unless_the_config_says_otherwise() {
    let server = start(
        Version::V15,
        &format!(
            "{} CREATE TABLE open (id int PRIMARY KEY, note text); CREATE TABLE closed (id int);
             CREATE TABLE partly (id int PRIMARY KEY, secret text, note text); CREATE TABLE keyless_for_her (id int PRIMARY KEY, note text);
             CREATE SCHEMA locked; CREATE TABLE locked.t (id int); GRANT SELECT ON locked.t TO reader;
             GRANT SELECT ON open TO reader; GRANT SELECT (id, note) ON partly TO reader; GRANT SELECT (note) ON keyless_for_her TO reader;",
            create_user("reader", "")
        ),
    );
    let mut config = as_user(standard(&server), "reader");
    config["schemas"] = json!([]);
    let found = streams(&config);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["public.keyless_for_her", "public.open", "public.partly"]);
    assert_eq!(columns(&found[2].1), ["id", "note"]);
    assert_eq!(found[2].1["source_defined_primary_key"], json!([["id"]]));
    // The key cannot be read, so it is none.
    assert_eq!(columns(&found[0].1), ["note"]);
    assert!(found[0].1.get("source_defined_primary_key").is_none());
    // Their rows' places and transactions are not among the granted columns.
    assert_eq!(found[2].1["is_resumable"], false);
    let mut by_xmin = config.clone();
    by_xmin["replication_method"] = json!({"method": "Xmin"});
    let incremental: Vec<bool> = streams(&by_xmin).iter().map(|(_, s)| is_incremental(s)).collect();
    assert_eq!(incremental, [false, true, false]);
    config["check_privileges"] = false.into();
    let found = streams(&config);
    assert!(["locked.t", "public.closed"].iter().all(|n| found.iter().any(|(name, _)| name == n)));
    assert_eq!(
        columns(&found.iter().find(|(n, _)| n == "public.partly").unwrap().1),
        ["id", "secret", "note"]
    );
}

const PUBLISHED: &str = "
    CREATE TABLE keyed (id int PRIMARY KEY, note text, twice int GENERATED ALWAYS AS (id * 2) STORED);
    CREATE TABLE keyless (id int);
    CREATE TABLE by_index (id int PRIMARY KEY, code text NOT NULL UNIQUE);
    ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code_key;
    CREATE TABLE unlisted (id int PRIMARY KEY);
    CREATE TABLE own (id int PRIMARY KEY, _ab_cdc_lsn text);
    CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
    CREATE VIEW view AS SELECT * FROM keyed;
    CREATE PUBLICATION p FOR TABLE keyed, keyless, by_index, own, parts;";

#[test]
fn with_cdc_published_tables_with_a_key_are_incremental_and_the_rest_is_not() {
    for version in [Version::V15, Version::V18] {
        let server = start(version, PUBLISHED);
        let found = streams(&cdc(&server));
        let get = |name: &str| &found.iter().find(|(n, _)| *n == format!("public.{name}")).unwrap().1;
        for (name, incremental) in [
            ("keyed", true),
            ("keyless", false),
            ("by_index", true),
            ("unlisted", false),
            ("own", true),
            // Changes come under the names of the partitions.
            ("parts", false),
            ("parts_1", true),
            ("view", false),
        ] {
            let stream = get(name);
            assert_eq!(is_incremental(stream), incremental, "{name}");
            assert_eq!(stream.get("source_defined_cursor"), incremental.then_some(&json!(true)), "{name}");
            let cursor = json!(["_ab_cdc_lsn"]);
            assert_eq!(stream.get("default_cursor_field"), incremental.then_some(&cursor), "{name}");
            let properties = &stream["json_schema"]["properties"];
            assert_eq!(properties["_ab_cdc_lsn"], json!({"type": "number"}), "{name}");
            assert_eq!(properties["_ab_cdc_updated_at"], json!({"type": "string"}), "{name}");
            assert_eq!(properties["_ab_cdc_deleted_at"], json!({"type": "string"}), "{name}");
        }
        // Not part of the stream of changes, so not of the first load either.
        assert!(!columns(get("keyed")).contains(&"twice"));
        // What the log has of a deleted row.
        assert_eq!(get("by_index")["source_defined_primary_key"], json!([["code"]]));
        server.psql("ALTER PUBLICATION p SET (publish_via_partition_root = true)");
        assert!(is_incremental(&stream(&cdc(&server), "public.parts")));
        assert!(!is_incremental(&stream(&cdc(&server), "public.parts_1")));
    }
}

#[test]
fn a_publication_of_some_columns_offers_those() {
    let server = start(
        Version::V15,
        "CREATE TABLE t (id int PRIMARY KEY, open text, secret text); CREATE TABLE u (id int PRIMARY KEY, a text, b text);
         CREATE PUBLICATION p FOR TABLE t (id, open), u WHERE (id > 10)",
    );
    assert_eq!(
        columns(&stream(&cdc(&server), "public.t")),
        ["id", "open", "_ab_cdc_lsn", "_ab_cdc_updated_at", "_ab_cdc_deleted_at"]
    );
    assert_eq!(columns(&stream(&cdc(&server), "public.u")).len(), 6);
    assert_eq!(columns(&stream(&standard(&server), "public.t")), ["id", "open", "secret"]);
}

#[test]
fn stored_generated_columns_are_offered_when_the_publication_sends_them() {
    let server = start(
        Version::V18,
        "CREATE TABLE t (id int PRIMARY KEY, stored int GENERATED ALWAYS AS (id * 2) STORED,
           virtual int GENERATED ALWAYS AS (id * 3) VIRTUAL);
         CREATE PUBLICATION p FOR TABLE t WITH (publish_generated_columns = stored)",
    );
    assert_eq!(columns(&stream(&cdc(&server), "public.t"))[..2], ["id", "stored"]);
    assert_eq!(columns(&stream(&standard(&server), "public.t")), ["id", "stored", "virtual"]);
}

#[test]
fn two_thousand_tables_are_listed_quickly_and_in_little_memory() {
    let server = start(
        Version::V15,
        "DO $$ BEGIN FOR n IN 1..2000 LOOP EXECUTE format('CREATE TABLE t%s (id bigint PRIMARY KEY, a text, b numeric(10,2),
           c timestamptz, d int[], e boolean, f varchar(20), g date, h jsonb, i uuid)', n); END LOOP; END $$;
         CREATE PUBLICATION p FOR ALL TABLES;",
    );
    let output = run("discover", &cdc(&server)).succeeded();
    let text = String::from_utf8_lossy(&output.lines.last().unwrap().raw).into_owned();
    let catalog: Value = serde_json::from_str(&text).unwrap();
    let streams = catalog["catalog"]["streams"].as_array().unwrap();
    let names: HashSet<&str> = streams.iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 2000);
    assert!(streams.iter().all(|s| is_incremental(s) && columns(s).len() == 13));
    // Several times what it takes in a debug build on an idle machine.
    assert!(output.elapsed.as_secs() < 20, "{:?}", output.elapsed);
    assert!(output.peak_kib < 200 << 10, "{} KiB", output.peak_kib);
}
