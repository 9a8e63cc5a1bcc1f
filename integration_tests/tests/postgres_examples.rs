//! The examples that end in PostgreSQL, as a user runs them.

use std::fs;
use std::path::Path;

use testkit::services::{Postgres, Version};
use testkit::{Connector, Exit, Folder, binary};

fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"))
}

/// An example's sync file, for a server of the test.
fn example(name: &str, source: &str, server: &Postgres) -> Folder {
    let folder = Folder::new();
    let sync = fs::read_to_string(examples().join(name).join("sync.yaml")).unwrap();
    let sync = sync
        .replace("port: 5432", &format!("port: {}", server.port))
        .replace("url: ../", &format!("url: {}/", examples().display()))
        .replace(&format!("connector: {source}"), &format!("connector: {}", binary(source).display()))
        .replace(
            "connector: destination-postgres",
            &format!("connector: {}", binary("destination-postgres").display()),
        );
    folder.write("sync.yaml", sync);
    folder
}

fn sync(folder: &Folder) {
    let ferry = Connector::new(binary("ferry")).command(["sync", "sync.yaml"]).in_folder(folder.path());
    let output = ferry.env("PGPASSWORD", Postgres::PASSWORD).output();
    assert!(output.exit == Exit::Code(0), "{output}");
}

#[test]
fn the_example_from_csv_fills_a_typed_table_and_replaces_it() {
    let server = Postgres::start(Version::V15);
    let folder = example("csv_to_postgres", "source-file", &server);
    for _ in 0..2 {
        sync(&folder);
        assert_eq!(server.psql("SELECT count(*), count(felt) FROM seismic.earthquakes"), "1707|127");
        let typed = "SELECT id, mag, place, \"time\" AT TIME ZONE 'UTC' FROM seismic.earthquakes ORDER BY \"time\" LIMIT 1";
        assert_eq!(
            server.psql(typed),
            "uw61345682|0.31|37km NNE of Amboy, Washington|2018-01-31 01:49:59.65"
        );
    }
}

#[test]
fn the_example_from_postgresql_follows_the_tables_run_after_run() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::start(version);
        server.psql(&fs::read_to_string(examples().join("postgres_to_postgres/shop.sql")).unwrap());
        let folder = example("postgres_to_postgres", "source-postgres", &server);
        let same = || {
            let sales = "SELECT md5(string_agg(concat_ws('|', id, sku, pieces, sold_at, buyer), ',' ORDER BY id)), count(*) FROM store.sales";
            let products = "SELECT md5(string_agg(concat_ws('|', sku, title, price, to_jsonb(tags)), ',' ORDER BY sku)), count(*) FROM store.products";
            for question in [sales, products] {
                assert_eq!(server.psql_in("warehouse", question), server.psql(question), "{question}");
            }
        };
        sync(&folder);
        same();
        server.psql(
            "INSERT INTO store.sales VALUES (9001, 'P0001', 5, now(), NULL); UPDATE store.sales SET pieces = 7 WHERE id < 20; \
             DELETE FROM store.sales WHERE id BETWEEN 30 AND 40; UPDATE store.products SET price = price + 0.01",
        );
        sync(&folder);
        same();
        sync(&folder);
        same();
    }
}
