//! A real PostgreSQL through `ferry sync` into a bucket: the example, run after run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use testkit::services::{ObjectStore, Postgres, StoreKind, Version};
use testkit::{Connector, Exit, Folder, binary};

struct Shop {
    postgres: Postgres,
    store: ObjectStore,
    folder: Folder,
}

impl Shop {
    /// The example's files, for servers of the test.
    fn open() -> Self {
        let (postgres, store) = (Postgres::start(Version::V15), ObjectStore::start(StoreKind::Strict));
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/postgres_to_s3");
        let folder = Folder::new();
        let mut sync = fs::read_to_string(example.join("sync.yaml")).unwrap();
        for (theirs, ours) in [
            ("port: 5432", format!("port: {}", postgres.port)),
            ("database: production\n", "database: postgres\n".to_owned()),
            ("http://127.0.0.1:9000", store.endpoint()),
            ("access_key_id: minioadmin", format!("access_key_id: {}", ObjectStore::ACCESS_KEY)),
            ("connector: source-postgres", format!("connector: {}", binary("source-postgres").display())),
            ("connector: destination-s3", format!("connector: {}", binary("destination-s3").display())),
        ] {
            assert!(sync.contains(theirs), "the example says {theirs}");
            sync = sync.replace(theirs, &ours);
        }
        folder.write("sync.yaml", sync);
        postgres.psql(&fs::read_to_string(example.join("shop.sql")).unwrap());
        Self { postgres, store, folder }
    }

    fn sync(&self) {
        let run =
            Connector::new(binary("ferry")).command(["sync", "sync.yaml"]).in_folder(self.folder.path());
        let run =
            run.env("PGPASSWORD", Postgres::PASSWORD).env("S3_SECRET", ObjectStore::SECRET_KEY).output();
        assert!(run.exit == Exit::Code(0), "{run}");
    }

    fn objects(&self, table: &str) -> Vec<PathBuf> {
        let folder = self.store.files(ObjectStore::BUCKET).join("airbyte-data/production_public").join(table);
        let entries = fs::read_dir(folder).unwrap().flatten().map(|e| e.path());
        entries.filter(|p| p.extension().is_some_and(|e| e == "parquet")).collect()
    }

    /// The rows of a table's objects as a reader of Parquet sees them: these columns, and how often each row is there.
    fn rows(&self, table: &str, columns: &[&str]) -> BTreeMap<String, usize> {
        let mut rows = BTreeMap::new();
        for path in self.objects(table) {
            let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
            for row in reader.get_row_iter(None).unwrap() {
                let row = row.unwrap();
                let cells: BTreeMap<_, _> =
                    row.get_column_iter().map(|(name, field)| (name.as_str(), field.to_string())).collect();
                let text: Vec<_> = columns.iter().map(|c| cells[c].trim_matches('"')).collect();
                *rows.entry(text.join("|")).or_insert(0) += 1;
            }
        }
        rows
    }

    fn table(&self, query: &str, times: usize) -> BTreeMap<String, usize> {
        let text = self.postgres.psql(query);
        text.lines().filter(|line| !line.is_empty()).map(|line| (line.to_owned(), times)).collect()
    }
}

#[test]
fn the_example_writes_the_users_layout_and_brings_what_is_new_in_each_mode() {
    let shop = Shop::open();
    let orders = "SELECT id || '|' || status || '|' || total::float8 || CASE WHEN total % 1 = 0 THEN '.0' ELSE '' END \
                  FROM production_public.orders";
    let customers = "SELECT id || '|' || name FROM production_public.customers";
    let products = "SELECT id || '|' || title FROM production_public.products";
    shop.sync();
    assert_eq!(shop.rows("customers", &["id", "name"]), shop.table(customers, 1));
    assert_eq!(shop.rows("products", &["id", "title"]), shop.table(products, 1));
    assert_eq!(shop.rows("orders", &["id", "status", "total"]), shop.table(orders, 1));

    shop.postgres.psql(
        "INSERT INTO production_public.orders VALUES (9001, 5, 'new', 12.34, '2026-01-01', '2026-01-01Z'); \
         UPDATE production_public.customers SET name = 'renamed' WHERE id = 7; \
         DELETE FROM production_public.customers WHERE id NOT IN (SELECT customer_id FROM production_public.orders)",
    );
    shop.sync();
    assert_eq!(shop.rows("customers", &["id", "name"]), shop.table(customers, 1), "replaced");
    assert_eq!(shop.objects("customers").len(), 1);
    assert_eq!(shop.rows("products", &["id", "title"]), shop.table(products, 2), "a copy more");
    assert_eq!(shop.rows("orders", &["id", "status", "total"]), shop.table(orders, 1), "only what is new");
    assert_eq!(shop.objects("orders").len(), 2);

    shop.sync();
    assert_eq!(shop.rows("orders", &["id", "status", "total"]), shop.table(orders, 1), "nothing is new");
}
