//! A customer with a contact and addresses, in both forms.

use serde_json::{Value, json};
use testkit::services::Postgres;

use super::{BOTH, columns, insert, normalize, normalizer, raw_table, stream};
use crate::config::NestedObjects;

fn customers() -> Value {
    let text = json!({"type": ["null", "string"]});
    json!({
        "id": {"type": "integer"},
        "name": text,
        "contact": {"type": "object", "properties": {"email": text, "phone": text}},
        "addresses": {"type": "array", "items": {"type": "object", "properties": {"type": text, "city": text}}}
    })
}

fn load(server: &Postgres) {
    raw_table(server, "customers");
    let john = json!({
        "id": 1,
        "name": "John Doe",
        "contact": {"email": "john@example.com", "phone": "123-456-7890"},
        "addresses": [{"type": "home", "city": "New York"}, {"type": "work", "city": "Boston"}]
    });
    insert(server, "customers", "r1", &john);
    insert(server, "customers", "r2", &json!({"id": 2, "name": "Jane", "contact": null, "addresses": []}));
}

#[test]
fn a_customer_becomes_a_row_with_its_contact_and_rows_for_its_addresses() {
    for version in BOTH {
        let server = Postgres::start(version);
        load(&server);
        let normalizer =
            normalizer(&stream("customers", customers(), "append"), NestedObjects::Columns).unwrap();
        normalize(&server, &normalizer).unwrap();
        assert_eq!(
            columns(&server, "customers"),
            "id bigint, name text, contact_email text, contact_phone text, _airbyte_normalized_at timestamptz, \
             _airbyte_customers_hashid text"
        );
        assert_eq!(
            columns(&server, "customers_addresses"),
            "_airbyte_customers_hashid text, type text, city text"
        );
        assert_eq!(
            server.psql(
                "SELECT id, name, contact_email, contact_phone, _airbyte_normalized_at IS NOT NULL FROM customers ORDER BY 1"
            ),
            "1|John Doe|john@example.com|123-456-7890|t\n2|Jane|||t"
        );
        assert_eq!(
            server.psql(
                "SELECT c.id, a.type, a.city FROM customers c JOIN customers_addresses a USING (_airbyte_customers_hashid) ORDER BY 3"
            ),
            "1|work|Boston\n1|home|New York"
        );
        assert_eq!(server.psql("SELECT to_regclass('customers_contact') IS NULL"), "t");
        // The hash is over the texts of the top-level fields, in order.
        assert_eq!(
            server.psql(
                r#"SELECT _airbyte_customers_hashid = md5('1-John Doe-{"email": "john@example.com", "phone": "123-456-7890"}-'
                   || '[{"city": "New York", "type": "home"}, {"city": "Boston", "type": "work"}]') FROM customers WHERE id = 1"#
            ),
            "t"
        );
    }
}

#[test]
fn the_same_in_the_tables_that_airbyte_made_of_it() {
    for version in BOTH {
        let server = Postgres::start(version);
        load(&server);
        let normalizer =
            normalizer(&stream("customers", customers(), "append"), NestedObjects::Tables).unwrap();
        normalize(&server, &normalizer).unwrap();
        let rest = "_airbyte_ab_id character varying, _airbyte_emitted_at timestamptz, _airbyte_normalized_at timestamptz";
        assert_eq!(
            columns(&server, "customers"),
            format!(
                "id bigint, name text, contact jsonb, addresses jsonb, {rest}, _airbyte_customers_hashid text"
            )
        );
        assert_eq!(
            columns(&server, "customers_contact"),
            format!(
                "_airbyte_customers_hashid text, email text, phone text, {rest}, _airbyte_contact_hashid text"
            )
        );
        assert_eq!(
            columns(&server, "customers_addresses"),
            format!(
                "_airbyte_customers_hashid text, type text, city text, {rest}, _airbyte_addresses_hashid text"
            )
        );
        assert_eq!(
            server.psql(
                "SELECT id, email, phone, a.city, a._airbyte_ab_id FROM customers JOIN customers_contact USING (_airbyte_customers_hashid) \
                 JOIN customers_addresses a USING (_airbyte_customers_hashid) ORDER BY 4"
            ),
            "1|john@example.com|123-456-7890|Boston|r1\n1|john@example.com|123-456-7890|New York|r1"
        );
        assert_eq!(
            server.psql("SELECT contact, addresses->1->>'city' FROM customers ORDER BY id"),
            "{\"email\": \"john@example.com\", \"phone\": \"123-456-7890\"}|Boston\n|"
        );
        // A nested row's hash begins with that of the row around it.
        assert_eq!(
            server.psql(
                "SELECT bool_and(_airbyte_addresses_hashid = md5(_airbyte_customers_hashid || '-' || type || '-' || city)) \
                 FROM customers_addresses"
            ),
            "t"
        );
        let indexed = "SELECT count(*) FROM pg_indexes WHERE tablename LIKE 'customers%' AND indexdef LIKE '%_airbyte_emitted_at%'";
        assert_eq!(server.psql(indexed), "3");
    }
}

#[test]
fn arrays_in_arrays_are_tables_joined_by_hashes_at_any_depth() {
    let leaf = json!({"type": "object", "properties": {"sku": {"type": "string"}}});
    let orders = json!({"type": "object", "properties": {
        "no": {"type": "integer"},
        "ship": {"type": "object", "properties": {"lines": {"type": "array", "items": leaf}}}
    }});
    let schema = json!({"id": {"type": "integer"}, "orders": {"type": "array", "items": orders}});
    let server = Postgres::start(BOTH[0]);
    raw_table(&server, "people");
    let data = json!({"id": 1, "orders": [
        {"no": 1, "ship": {"lines": [{"sku": "a"}, {"sku": "b"}]}},
        {"no": 2, "ship": {"lines": []}},
        {"no": 3, "ship": {"lines": [{"sku": "c"}]}},
        {"no": 3, "ship": {"lines": [{"sku": "c"}]}}
    ]});
    insert(&server, "people", "r1", &data);
    let people = stream("people", schema, "append");
    normalize(&server, &normalizer(&people, NestedObjects::Columns).unwrap()).unwrap();
    assert_eq!(
        columns(&server, "people_orders"),
        "_airbyte_people_hashid text, no bigint, _airbyte_orders_hashid text"
    );
    assert_eq!(columns(&server, "people_orders_ship_lines"), "_airbyte_orders_hashid text, sku text");
    assert_eq!(
        server.psql(
            "SELECT id, no, string_agg(sku, ',' ORDER BY sku) FROM people JOIN people_orders USING (_airbyte_people_hashid) \
             LEFT JOIN people_orders_ship_lines USING (_airbyte_orders_hashid) GROUP BY 1, 2, _airbyte_orders_hashid ORDER BY 2"
        ),
        "1|1|a,b\n1|2|\n1|3|c\n1|3|c"
    );
    // The other form makes the tables of this one's place, and takes away what nobody makes any more.
    normalize(&server, &normalizer(&people, NestedObjects::Tables).unwrap()).unwrap();
    assert_eq!(server.psql("SELECT count(*) FROM people_orders_ship_lines"), "4");
    assert_eq!(server.psql("SELECT count(*) FROM people_orders_ship"), "4");
    normalize(&server, &normalizer(&people, NestedObjects::Columns).unwrap()).unwrap();
    assert_eq!(server.psql("SELECT to_regclass('people_orders_ship') IS NULL"), "t");
}
