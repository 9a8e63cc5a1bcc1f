//! What a real server has to say: every type of its catalog, and many values of each, read
//! as COPY sends them and as it prints them.

mod values;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use connector_kit::bench::{EmitterToMemory, select};
use connector_kit::protocol::{ConfiguredCatalog, json};
use connector_kit::{Row, Secret};
use postgres_kit::{Connection, Endpoint, Params, Purpose, SslMode, TunnelMethod};
use testkit::services::{Postgres, Version};

use super::{ColumnType, Locale, Select, TypeInfo};
use crate::row::CopyDecoder;

/// What the tests add to the types that every database has.
const OWN_TYPES: &str = "
    CREATE EXTENSION hstore;
    CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('sad', 'it''s \"fine\"', '😀');
    CREATE TYPE item AS (name text, n int4, price numeric(10,2));
    CREATE TYPE price_range AS RANGE (subtype = numeric, multirange_type_name = price_ranges);
    CREATE DOMAIN whole AS numeric(10,0);
    CREATE DOMAIN code AS char(4);
    CREATE DOMAIN numbers AS int4[];
    CREATE DOMAIN few_numbers AS numbers CHECK (cardinality(VALUE) < 5);
    CREATE DOMAIN feeling AS mood;
    CREATE DOMAIN cash AS money;
    CREATE DOMAIN tags AS hstore;
    -- A cast must not decide what a value looks like.
    CREATE FUNCTION shout(mood) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'cast' $$;
    CREATE CAST (mood AS text) WITH FUNCTION shout(mood);
    CREATE FUNCTION shout(item) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'cast' $$;
    CREATE CAST (item AS text) WITH FUNCTION shout(item);
";

async fn connect(server: &Postgres, database: &str, purpose: Purpose) -> Connection {
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: server.port,
        database: database.into(),
        user: Postgres::USER.into(),
        password: Some(Secret::from(Postgres::PASSWORD.to_owned())),
        ssl: SslMode::Disable,
        tunnel: TunnelMethod::NoTunnel,
        params: Params::default(),
    };
    endpoint.connect(purpose).await.unwrap()
}

/// Runs a test's conversation with a server; none takes longer than a minute.
fn talk(server: &Postgres, database: &str, f: impl AsyncFnOnce(Connection)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let conversation = async { f(connect(server, database, Purpose::Ordinary).await).await };
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), conversation).await })
        .expect("the server answers within a minute");
}

/// All types of a database, by their numbers.
async fn catalog(connection: &mut Connection) -> HashMap<u32, TypeInfo> {
    let rows = connection
        .query(
            "SELECT t.oid, n.nspname, t.typname, t.typtype, t.typcategory, t.typdelim, t.typtypmod, t.typelem, \
             t.typbasetype FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace",
        )
        .await
        .unwrap();
    let number = |row: &postgres_kit::Row, at| u32::try_from(row.int(at).unwrap()).unwrap();
    let letter = |row: &postgres_kit::Row, at| row.text(at).unwrap().chars().next().unwrap();
    let rows: HashMap<u32, _> = rows.iter().map(|row| (number(row, 0), row)).collect();
    fn info(
        oid: u32,
        rows: &HashMap<u32, &postgres_kit::Row>,
        make: &impl Fn(&postgres_kit::Row) -> (TypeInfo, u32, u32),
    ) -> Option<Box<TypeInfo>> {
        let (mut own, element, base) = make(rows.get(&oid)?);
        own.element = info(element, rows, make);
        own.base = info(base, rows, make);
        Some(Box::new(own))
    }
    let make = |row: &postgres_kit::Row| {
        let own = TypeInfo {
            schema: row.text(1).unwrap().into(),
            name: row.text(2).unwrap().into(),
            kind: letter(row, 3),
            category: letter(row, 4),
            delimiter: letter(row, 5),
            modifier: row.int(6).unwrap().try_into().unwrap(),
            element: None,
            base: None,
        };
        (own, number(row, 7), number(row, 8))
    };
    rows.keys().map(|oid| (*oid, *info(*oid, &rows, &make).unwrap())).collect()
}

/// The columns of a table, as the kit would be told of them.
async fn columns(connection: &mut Connection, table: &str, locale: Locale) -> Vec<(String, ColumnType)> {
    let types = catalog(connection).await;
    let sql = format!(
        "SELECT attname, atttypid, atttypmod FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
    );
    let rows = connection.query(&sql).await.unwrap();
    let column = |row: &postgres_kit::Row| {
        let info = &types[&u32::try_from(row.int(1).unwrap()).unwrap()];
        let modifier = i32::try_from(row.int(2).unwrap()).unwrap();
        (row.text(0).unwrap().to_owned(), ColumnType::of(info, modifier, locale))
    };
    rows.iter().map(column).collect()
}

/// The record lines of rows written by `f`.
fn lines(
    columns: &[(String, ColumnType)],
    f: impl FnOnce(&mut dyn FnMut(&mut dyn FnMut(&mut Row<'_>))),
) -> Vec<u8> {
    let fields: Vec<_> = columns.iter().map(|(name, _)| format!("\"{name}\":{{}}")).collect();
    let text = format!(
        r#"{{"streams":[{{"stream":{{"name":"t","json_schema":{{"type":"object","properties":{{{}}}}},"supported_sync_modes":["full_refresh"]}},"sync_mode":"full_refresh","destination_sync_mode":"append"}}]}}"#,
        fields.join(",")
    );
    let stream = select(ConfiguredCatalog::parse(text.as_bytes()).unwrap().streams.remove(0));
    let mut out = EmitterToMemory::new(&stream);
    f(&mut |write: &mut dyn FnMut(&mut Row<'_>)| out.row(|row| write(row)));
    out.into_bytes()
}

/// The one row of a table through COPY.
async fn by_copy(connection: &mut Connection, table: &str, columns: &[(String, ColumnType)]) -> Vec<u8> {
    let list: Vec<_> = columns.iter().map(|(name, column)| column.select(&format!("\"{name}\""))).collect();
    let sql = format!("COPY (SELECT {} FROM {table}) TO STDOUT (FORMAT binary)", list.join(", "));
    connection.copy_out(&sql).await.unwrap();
    let mut messages = Vec::new();
    loop {
        while let Some(data) = connection.next_copy_data().unwrap() {
            messages.push(data.to_vec());
        }
        if connection.copy_finished() {
            break;
        }
        connection.fill().await.unwrap();
    }
    let fields = columns.iter().enumerate().map(|(at, (_, column))| (column.clone(), at)).collect();
    let mut decoder = CopyDecoder::new(table, 0, fields);
    let lines = lines(columns, |row| {
        for message in &messages {
            let mut data = message.as_slice();
            while let Some(tuple) = decoder.tuple(&mut data).unwrap() {
                let mut tuple = Some(tuple);
                row(&mut |row| tuple.take().unwrap().write(row).unwrap());
            }
        }
    });
    decoder.finish().unwrap();
    lines
}

/// The same row as the server prints it, which is what logical replication sends.
async fn by_text(connection: &mut Connection, table: &str, columns: &[(String, ColumnType)]) -> Vec<u8> {
    let printed = connection.query(&format!("SELECT * FROM {table}")).await.unwrap();
    lines(columns, |row| {
        for printed in &printed {
            row(&mut |row| {
                for (at, (_, column)) in columns.iter().enumerate() {
                    match printed.get(at) {
                        Some(value) => column.write_text(row, at, value.as_bytes()).unwrap(),
                        None => row.null(at),
                    }
                }
            });
        }
    })
}

/// The new rows of a log of changes, as the server sends them: each value, `None` for null.
async fn by_log(replication: &mut Connection, slot: &str, wanted: usize) -> Vec<Vec<Option<Vec<u8>>>> {
    let sql = format!(
        "START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names 'everything')"
    );
    replication.start_replication(&sql).await.unwrap();
    let mut rows = Vec::new();
    loop {
        while let Some(message) = replication.next_copy_data().unwrap() {
            // Within XLogData: Insert, the relation's number, a new tuple, its count of columns.
            let Some([b'I', _, _, _, _, b'N', _, _, rest @ ..]) =
                message.strip_prefix(b"w").and_then(|m| m.get(24..))
            else {
                continue;
            };
            let (mut rest, mut row) = (rest, Vec::new());
            while let [kind, after @ ..] = rest {
                rest = after;
                row.push((*kind == b't').then(|| {
                    let (length, after) = rest.split_first_chunk::<4>().unwrap();
                    let (value, after) = after.split_at(u32::from_be_bytes(*length) as usize);
                    rest = after;
                    value.to_vec()
                }));
            }
            rows.push(row);
        }
        if rows.len() >= wanted {
            return rows;
        }
        replication.fill().await.unwrap();
    }
}

/// Each value of a record as it stands on the line; and the columns in its changes.
fn values_of(line: &[u8]) -> (Vec<String>, Vec<String>) {
    let text = |value: json::Token<'_>, line: &[u8], start, end| {
        let _ = value;
        String::from_utf8(line[start..end].to_vec()).unwrap()
    };
    let record = json::members(line, 0).map(Result::unwrap).find(|m| m.is("record")).expect("a record");
    let mut values = Vec::new();
    let mut changed = Vec::new();
    for part in json::members(line, record.value_start).map(Result::unwrap) {
        if part.is("data") {
            values = json::members(line, part.value_start)
                .map(Result::unwrap)
                .map(|m| text(m.value, line, m.value_start, m.value_end))
                .collect();
        } else if part.is("meta") {
            let meta: serde_json::Value =
                serde_json::from_slice(&line[part.value_start..part.value_end]).unwrap();
            let changes = meta["changes"].as_array().unwrap();
            changed = changes.iter().map(|c| c["field"].as_str().unwrap().to_owned()).collect();
        }
    }
    (values, changed)
}

fn both_versions() -> [Version; 2] {
    [Version::V15, Version::V18]
}

#[test]
fn every_type_of_the_catalog_has_its_place() {
    for version in both_versions() {
        let server = Postgres::start(version);
        server.psql(OWN_TYPES);
        talk(&server, "postgres", async |mut connection| {
            let types = catalog(&mut connection).await;
            let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let mut rows_of_relations: BTreeMap<String, usize> = BTreeMap::new();
            for info in types.values().filter(|info| info.kind != 'p') {
                let column = ColumnType::of(info, -1, Locale::default());
                let way = match column.select {
                    Select::Binary => "binary",
                    Select::Numeric => "as numeric, binary",
                    Select::Cast => "cast to text",
                    Select::Output => "output function",
                };
                let place = format!("{:?} {} {way}", column.kind, column.schema());
                let own = matches!(info.schema.as_str(), "pg_catalog" | "information_schema");
                if own && info.element.as_deref().unwrap_or(info).kind == 'c' {
                    // Named after the catalog's tables and views; each version has others.
                    *rows_of_relations.entry(place).or_default() += 1;
                    continue;
                }
                let schema = if info.schema == "pg_catalog" { "" } else { &format!("{}.", info.schema) };
                places.entry(place).or_default().push(format!("{schema}{}", info.name));
            }
            let mut said = String::new();
            for (place, mut names) in places {
                names.sort();
                said += &format!("{place}\n");
                for some in names.chunks(6) {
                    said += &format!("    {}\n", some.join(" "));
                }
            }
            for (place, count) in rows_of_relations {
                said += &format!(
                    "{place}\n    {count} rows of the catalog's own relations, and arrays of them\n"
                );
            }
            insta::assert_snapshot!(format!("types_of_postgres_{}", version.major()), said);
        });
    }
}

#[test]
fn a_column_of_every_type_can_be_read() {
    for version in both_versions() {
        let server = Postgres::start(version);
        server.psql(OWN_TYPES);
        // Whatever a table can have a column of, with a null in it.
        server.psql(
            "DO $$ DECLARE t record; n int := 0; BEGIN
               CREATE TABLE everything (first int);
               FOR t IN SELECT oid::regtype AS name FROM pg_type WHERE typtype <> 'p' AND typnamespace <> 'pg_toast'::regnamespace ORDER BY oid LOOP
                 n := n + 1;
                 BEGIN EXECUTE format('ALTER TABLE everything ADD COLUMN c%s %s', n, t.name);
                 EXCEPTION WHEN OTHERS THEN RAISE WARNING 'no column of %: %', t.name, SQLERRM; END;
               END LOOP;
             END $$; INSERT INTO everything SELECT (NULL::everything).*;",
        );
        talk(&server, "postgres", async |mut connection| {
            let columns = columns(&mut connection, "everything", Locale::default()).await;
            assert!(columns.len() > 450, "{} columns", columns.len());
            let (copied, printed) = (
                by_copy(&mut connection, "everything", &columns).await,
                by_text(&mut connection, "everything", &columns).await,
            );
            let (values, changed) = values_of(&copied);
            assert_eq!(values_of(&printed), (values.clone(), changed));
            assert_eq!(values, vec!["null"; columns.len()]);
        });
    }
}

/// Settings of a server, and of its roles, that would make another text of many values.
const OTHER_MANNERS: [&str; 5] = [
    "datestyle = 'German, DMY'",
    "intervalstyle = 'iso_8601'",
    "timezone = 'Asia/Kolkata'",
    "bytea_output = 'escape'",
    "extra_float_digits = -5",
];

#[test]
fn values_are_the_same_by_copy_and_from_the_log_and_as_documented() {
    for version in both_versions() {
        let options = OTHER_MANNERS.iter().fold(Postgres::options(version), |o, line| o.setting(line));
        let server = options.start();
        server.psql(OWN_TYPES);
        server.psql(
            "CREATE PUBLICATION everything FOR ALL TABLES;
             SELECT pg_create_logical_replication_slot('s', 'pgoutput');",
        );
        for line in OTHER_MANNERS {
            server.psql(&format!("ALTER ROLE postgres SET {line}"));
        }
        // A table has at most some 8 kB in a row.
        let tables: Vec<_> = values::CASES.chunks(40).collect();
        for (n, cases) in tables.iter().enumerate() {
            let fields: Vec<_> = cases.iter().enumerate().map(|(at, c)| format!("c{at} {}", c.0)).collect();
            let inputs: Vec<_> = cases.iter().map(|c| format!("({})::{}", c.1, c.0)).collect();
            server.psql(&format!(
                "SET timezone = 'UTC'; CREATE TABLE t{n} ({}); INSERT INTO t{n} VALUES ({});",
                fields.join(", "),
                inputs.join(",\n")
            ));
        }
        talk(&server, "postgres", async |mut connection| {
            let locale = connection.query(Locale::QUERY).await.unwrap();
            let locale = Locale { money_fraction_digits: locale[0].int(0).unwrap().try_into().unwrap() };
            let mut replication = connect(&server, "postgres", Purpose::Replication).await;
            let log = by_log(&mut replication, "s", tables.len()).await;
            for (n, cases) in tables.iter().enumerate() {
                let table = format!("t{n}");
                let columns = columns(&mut connection, &table, locale).await;
                let (copied, copied_changes) = values_of(&by_copy(&mut connection, &table, &columns).await);
                let printed = by_text(&mut connection, &table, &columns).await;
                let logged = lines(&columns, |row| {
                    row(&mut |row| {
                        for (at, value) in log[n].iter().enumerate() {
                            match value {
                                Some(value) => columns[at].1.write_text(row, at, value).unwrap(),
                                None => row.null(at),
                            }
                        }
                    });
                });
                assert_eq!(values_of(&logged), (copied.clone(), copied_changes.clone()));
                assert_eq!(values_of(&printed), (copied.clone(), copied_changes.clone()));
                for (at, (type_name, input, expected)) in cases.iter().enumerate() {
                    assert_eq!(copied[at], *expected, "{type_name} {input}");
                    // Nothing but a value that JSON cannot say becomes null.
                    let number = type_name.starts_with("numeric") || type_name.starts_with("float");
                    let unsayable = number && (input.contains("NaN") || input.contains("Infinity"));
                    assert_eq!(copied_changes.contains(&format!("c{at}")), unsayable, "{type_name} {input}");
                }
            }
        });
    }
}

#[test]
fn long_numbers_and_texts_keep_every_character() {
    let server = Postgres::start(Version::V15);
    server.psql(
        "CREATE TABLE long (n numeric, m numeric, d numeric, t text, b bytea, a text[]);
         INSERT INTO long SELECT repeat('1234567890', 1300)::numeric, ('-0.' || repeat('0', 8000) || '7')::numeric,
           ('1' || repeat('0', 131071))::numeric, repeat('ä\"', 100000), decode(repeat('ff00', 50000), 'hex'),
           array_fill('x,y'::text, ARRAY[20000])",
    );
    talk(&server, "postgres", async |mut connection| {
        let columns = columns(&mut connection, "long", Locale::default()).await;
        let copied = by_copy(&mut connection, "long", &columns).await;
        assert_eq!(values_of(&copied), values_of(&by_text(&mut connection, "long", &columns).await));
        let (values, _) = values_of(&copied);
        assert_eq!(values[0], "1234567890".repeat(1_300));
        assert_eq!(values[1], format!("-0.{}7", "0".repeat(8_000)));
        assert_eq!(values[2], format!("1{}", "0".repeat(131_071)));
        assert_eq!(values[3], format!("\"{}\"", "ä\\\"".repeat(100_000)));
        assert_eq!(values[4], format!("\"\\\\x{}\"", "ff00".repeat(50_000)));
        assert_eq!(values[5], format!("[{}]", vec!["\"x,y\""; 20_000].join(",")));
    });
}

#[test]
fn bytes_that_are_no_text_cost_one_value_and_not_the_row() {
    let server = Postgres::options(Version::V15).encoding("SQL_ASCII", "C").start();
    server.psql(
        r"CREATE PUBLICATION everything FOR ALL TABLES;
          SELECT pg_create_logical_replication_slot('s', 'pgoutput');
          CREATE TABLE t (a text, b int4, c text[], d varchar);
          INSERT INTO t VALUES (E'caf\xe9', 7, ARRAY[E'caf\xe9', 'tea'], E'caf\xc3\xa9')",
    );
    talk(&server, "postgres", async |mut connection| {
        let columns = columns(&mut connection, "t", Locale::default()).await;
        let (values, changed) = values_of(&by_copy(&mut connection, "t", &columns).await);
        assert_eq!(values, ["null", "7", r#"[null,"tea"]"#, "\"café\""]);
        assert_eq!(changed, ["a", "c"]);
        let mut replication = connect(&server, "postgres", Purpose::Replication).await;
        let log = by_log(&mut replication, "s", 1).await;
        assert_eq!(log[0][0].as_deref(), Some(&b"caf\xE9"[..]));
        assert_eq!(log[0][3].as_deref(), Some("café".as_bytes()));
    });
}
