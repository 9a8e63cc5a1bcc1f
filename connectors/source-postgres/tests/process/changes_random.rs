//! Random writes and DDL while the connector is killed at random moments: what it sent, taken
//! together, is the tables, row for row and value for value.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use testkit::Signal;
use testkit::services::{Postgres, Version};

use crate::replica::Replica;

/// Tables by replica identity.
const TABLES: [(&str, &str); 3] = [("d", "DEFAULT"), ("f", "FULL"), ("i", "USING INDEX i_key")];

/// Every column and a value for it, made of the number `k`.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("i2", "smallint", "(k % 30000)::int2"),
    ("i8", "bigint", "k::int8 * 90071992547409"),
    ("nu", "numeric", "CASE k % 7 WHEN 0 THEN 'NaN' ELSE k / 7.0 * 10 ^ (k % 40) END"),
    ("nw", "numeric(20,0)", "k * 12345678901"),
    ("f4", "real", "k / 3.0"),
    ("f8", "double precision", "CASE k % 9 WHEN 0 THEN 'Infinity' ELSE sqrt(k) END"),
    ("mo", "money", "(k / 100.0)::numeric::money"),
    ("bo", "boolean", "CASE k % 3 WHEN 0 THEN NULL ELSE k % 3 = 1 END"),
    ("tx", "text", "E'\\\\ \"quote\\u00e9\\t' || k || E'\\U0001F600'"),
    ("vc", "varchar(40)", "left(md5(k::text), k % 30)"),
    ("ch", "char(8)", "left(md5(k::text), k % 8)"),
    (
        "da",
        "date",
        "CASE k % 11 WHEN 0 THEN 'infinity' WHEN 1 THEN '0044-03-15 BC' ELSE date '2000-01-01' + k END",
    ),
    ("ts", "timestamp", "timestamp '2000-01-01 00:00:00.123456' + k * interval '1 hour 7 microseconds'"),
    ("tz", "timestamptz", "timestamptz '1890-01-01 00:00:00+00' + k * interval '1 day'"),
    ("ti", "time", "CASE k % 5 WHEN 0 THEN '24:00:00' ELSE time '00:00' + k * interval '1 second' END"),
    ("tt", "timetz", "timetz '12:00:00+05:30' + k * interval '1 second'"),
    ("iv", "interval", "k * interval '1 month 1 day 1.5 seconds'"),
    ("js", "json", "('{\"k\":  ' || k || '}')::json"),
    ("jb", "jsonb", "jsonb_build_object('k', k, 'a', jsonb_build_array(k, 'ü', null))"),
    ("by", "bytea", "decode(md5(k::text), 'hex')"),
    ("uu", "uuid", "md5(k::text)::uuid"),
    ("ip", "inet", "'10.0.0.0/8'::inet + k"),
    ("ai", "int[]", "ARRAY[k, NULL, -k]"),
    ("at", "text[]", "ARRAY['a,b', '\"' || k, NULL, '']"),
    ("rg", "int4range", "int4range(k, k + 5)"),
    ("bi", "bit(4)", "(k % 16)::bit(4)"),
    ("pt", "point", "point(k, -k / 2.0)"),
    ("en", "mood", "CASE k % 2 WHEN 0 THEN 'sad' ELSE 'happy' END::mood"),
    ("dm", "posint", "k + 1"),
    // Out of line for every fourth row.
    (
        "big",
        "text",
        "CASE k % 4 WHEN 0 THEN (SELECT string_agg(md5((k + i)::text), '') FROM generate_series(1, 120) i) ELSE md5(k::text) END",
    ),
];

/// Numbers that a seed determines (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn names() -> String {
    COLUMNS.iter().map(|(name, ..)| format!(", {name}")).collect()
}

fn values() -> String {
    COLUMNS.iter().map(|(.., value)| format!(", {value}")).collect()
}

/// One statement.
fn statement(random: &mut Random) -> String {
    let table = TABLES[random.below(3) as usize].0;
    let id = random.below(3000);
    let span = if random.below(40) == 0 { 1500 } else { random.below(8) };
    let to = id + span;
    let k = random.below(100_000);
    match random.below(10) {
        0..=3 => format!(
            "INSERT INTO {table} (id, u{names}) SELECT g, g{values} FROM (SELECT g, (g * 31 + {k}) % 100000 AS k FROM generate_series({id}, {to}) g) s ON CONFLICT DO NOTHING;",
            names = names(),
            values = values()
        ),
        // A value out of line is not touched.
        4 | 5 => format!("UPDATE {table} SET i2 = {k} % 3000, tx = 'u{k}' WHERE id BETWEEN {id} AND {to};"),
        6 => {
            let (name, _, value) = COLUMNS[random.below(COLUMNS.len() as u64) as usize];
            format!(
                "UPDATE {table} AS t SET {name} = s.v FROM (SELECT id AS j, {value} AS v FROM (SELECT id, (id + {k}) % 90000 AS k FROM {table}) q) s WHERE j = id AND id BETWEEN {id} AND {to};"
            )
        }
        7 => format!(
            "UPDATE {table} SET id = id + 5000, u = u + 5000 WHERE id = {id} AND NOT EXISTS (SELECT FROM {table} WHERE id = {id} + 5000);"
        ),
        _ => format!("DELETE FROM {table} WHERE id BETWEEN {id} AND {to};"),
    }
}

/// One transaction, of which some are rolled back in part or whole.
fn transaction(random: &mut Random) -> String {
    let mut sql = String::from("BEGIN;");
    for i in 0..=random.below(4) {
        let statement = statement(random);
        if random.below(6) == 0 {
            let _ = write!(sql, "SAVEPOINT s{i}; {statement} ROLLBACK TO s{i};");
        } else {
            sql.push_str(&statement);
        }
    }
    sql.push_str(if random.below(8) == 0 { "ROLLBACK;" } else { "COMMIT;" });
    sql
}

fn setup() -> String {
    let columns: String = COLUMNS.iter().map(|(name, type_, _)| format!(", {name} {type_}")).collect();
    let mut sql = String::from(
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN posint AS int CHECK (VALUE > 0);",
    );
    for (table, identity) in TABLES {
        let _ = write!(
            sql,
            "CREATE TABLE {table} (id int PRIMARY KEY, u int NOT NULL{columns}); CREATE UNIQUE INDEX {table}_key ON {table} (u, id); \
             ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY {identity};"
        );
    }
    sql.push_str("CREATE PUBLICATION p FOR ALL TABLES;");
    sql
}

fn write_until(server: &Postgres, seed: u64, stop: &AtomicBool) {
    let mut random = Random(seed);
    while !stop.load(Ordering::Relaxed) {
        let sql: String = (0..5).map(|_| transaction(&mut random)).collect();
        // A deadlock or a key taken meanwhile ends the batch; the next one goes on.
        if let Err(error) = server.try_psql_in("postgres", &sql) {
            let expected = ["deadlock", "duplicate key"];
            assert!(expected.iter().any(|e| error.contains(e)), "{error}\n{sql}");
        }
    }
}

/// The seed of the clock, or of the environment to see a failure again.
fn seed() -> u64 {
    let given = std::env::var("FERRYBYTE_SEED").ok().and_then(|s| s.parse().ok());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64))
}

#[expect(clippy::print_stderr, reason = "the seed is shown when the test fails")]
fn survives(version: Version, time: Duration) {
    let seed = seed();
    eprintln!("FERRYBYTE_SEED={seed}");
    let mut random = Random(seed);
    let mut replica = Replica::new(version, &setup());
    let server = Arc::clone(&replica.server);
    let stop = AtomicBool::new(false);
    let mut kills = 0;
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || write_until(server, seed ^ (writer + 1), stop));
        }
        let began = Instant::now();
        let mut added = 0;
        while began.elapsed() < time {
            if added < 2 && began.elapsed() > time * (added + 1) / 3 {
                added += 1;
                replica.sql(&format!("ALTER TABLE d ADD COLUMN extra{added} int DEFAULT {added}"));
                replica.refresh();
            }
            let running = replica.read().start();
            std::thread::sleep(Duration::from_millis(50 + random.below(900)));
            running.signal(Signal::KILL);
            let output = running.wait();
            kills += u32::from(output.exit != testkit::Exit::Code(0));
            replica.take(&output);
        }
        stop.store(true, Ordering::Relaxed);
    });
    replica.sync();
    assert!(kills > 0, "every run had ended before it could be killed");
    for (table, _) in TABLES {
        let whole = replica.read_whole(table);
        assert!(whole.len() > 50, "{table} has {} rows only", whole.len());
        replica.compare(table, &whole);
    }
}

#[test]
fn whatever_is_written_and_whenever_it_is_killed_the_copy_ends_equal_on_15() {
    survives(Version::V15, Duration::from_secs(12));
}

#[test]
fn whatever_is_written_and_whenever_it_is_killed_the_copy_ends_equal_on_18() {
    survives(Version::V18, Duration::from_secs(12));
}
