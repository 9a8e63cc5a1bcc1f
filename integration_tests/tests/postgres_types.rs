//! PostgreSQL to PostgreSQL through `ferry sync`: a table with every type, compared by the server itself.

use serde_json::json;
use testkit::services::{Postgres, Version};
use testkit::{Connector, Exit, Folder, binary};

/// Types that not every database has, and a judge: does the copy, cast back, print as the original does?
const PREPARED: &str = r#"
    CREATE EXTENSION hstore;
    CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('sad', 'it''s "fine"');
    CREATE TYPE item AS (name text, n int4, price numeric(10,2));
    CREATE TYPE price_range AS RANGE (subtype = numeric, multirange_type_name = price_ranges);
    CREATE DOMAIN whole AS numeric(10,0);
    CREATE DOMAIN code AS char(4);
    CREATE DOMAIN numbers AS int4[];

    CREATE FUNCTION array_text(items jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN CASE jsonb_typeof(items)
        WHEN 'array' THEN (SELECT '{' || coalesce(string_agg(array_text(item), ',' ORDER BY n), '') || '}'
                           FROM jsonb_array_elements(items) WITH ORDINALITY AS i(item, n))
        WHEN 'string' THEN '"' || replace(replace(items #>> '{}', '\', '\\'), '"', '\"') || '"'
        ELSE items::text END; END $$;
    CREATE FUNCTION is_same(original text, copy text, type text) RETURNS boolean LANGUAGE plpgsql AS $$
        DECLARE back text;
        BEGIN
            EXECUTE format('SELECT $1::%s::text', type) INTO back USING copy;
            RETURN back IS NOT DISTINCT FROM original;
        EXCEPTION WHEN OTHERS THEN RETURN false;
        END $$;
"#;

/// A type, a value of it, and the column's type at the other end.
type Case = (&'static str, &'static str, &'static str);

const BIGINT: &str = "bigint";
const NUMERIC: &str = "numeric";
const TEXT: &str = "character varying";
const DATE: &str = "date";
const TIME: &str = "time without time zone";
const TIMETZ: &str = "time with time zone";
const TIMESTAMP: &str = "timestamp without time zone";
const TIMESTAMPTZ: &str = "timestamp with time zone";
const JSONB: &str = "jsonb";

/// Values that arrive equal: cast back to their type they print as the original.
#[rustfmt::skip]
const EQUAL: &[Case] = &[
    ("smallint", "'-32768'", BIGINT), ("integer", "2147483647", BIGINT), ("oid", "4294967295", BIGINT),
    ("bigint", "'-9223372036854775808'", BIGINT), ("bigint", "9223372036854775807", BIGINT),
    ("numeric(10,0)", "42", BIGINT), ("numeric(5,-2)", "12345", BIGINT), ("whole", "42", BIGINT),
    ("numeric(19,0)", "9223372036854775807", BIGINT),
    ("boolean", "true", "boolean"), ("boolean", "false", "boolean"),
    ("numeric", "0.00", NUMERIC), ("numeric", "1.50", NUMERIC), ("numeric", "-0.000000001230", NUMERIC),
    ("numeric", "100000000.00000001", NUMERIC), ("numeric", "1e20", NUMERIC),
    ("numeric", "12345678901234567890.0987654321", NUMERIC), ("numeric(12,2)", "1234.5", NUMERIC),
    ("numeric", "('1' || repeat('0', 131071))::numeric", NUMERIC), ("numeric", "('0.' || repeat('0', 16382) || '1')::numeric", NUMERIC),
    ("numeric(3,6)", "0.000123", NUMERIC), ("money", "'-92233720368547758.08'", NUMERIC),
    ("real", "3.14", NUMERIC), ("real", "16777216", NUMERIC), ("real", "'1e-45'", NUMERIC),
    ("double precision", "0.30000000000000004", NUMERIC), ("double precision", "'1.7976931348623157e308'", NUMERIC),
    ("double precision", "'5e-324'", NUMERIC), ("double precision", "123456789012345680", NUMERIC),
    ("text", r#"'a"b\c'"#, TEXT), ("text", r"E'line\nnext\ttab\u0001'", TEXT), ("text", "''", TEXT), ("text", "'😀 Ä'", TEXT),
    ("text", "repeat('long ', 1000000)", TEXT),
    ("varchar(5)", "'abc'", TEXT), ("char(5)", "'abc'", TEXT), ("code", "'ab'", TEXT), ("name", "'n'", TEXT),
    (r#""char""#, "'x'", TEXT), ("citext", "'CaSe'", TEXT), ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", TEXT),
    ("json", r#"'{ "b" : 1, "a":1.0, "b":2}'"#, TEXT), ("jsonb", r#"'{"a":1.0e2,"n":123456789012345678901234567890}'"#, TEXT),
    ("jsonb", "'null'", TEXT), ("xml", "'<a>ä</a>'", TEXT), ("bytea", r"'\x6b7000ff'", TEXT), ("bytea", "''", TEXT),
    ("date", "'1999-01-08'", DATE), ("date", "'4713-01-01 BC'", DATE), ("date", "'5874897-12-31'", DATE),
    ("date", "'infinity'", DATE), ("date", "'-infinity'", DATE),
    ("timestamp", "'2004-10-19 10:23:54.123456'", TIMESTAMP), ("timestamp", "'2004-10-19 10:23'", TIMESTAMP),
    ("timestamp", "'4713-01-01 00:00:00 BC'", TIMESTAMP), ("timestamp", "'294276-12-31 23:59:59.999999'", TIMESTAMP),
    ("timestamp", "'infinity'", TIMESTAMP), ("timestamp", "'-infinity'", TIMESTAMP),
    ("timestamptz", "'2004-10-19 10:23:54.1+02'", TIMESTAMPTZ), ("timestamptz", "'0044-03-15 12:00:00+00 BC'", TIMESTAMPTZ),
    ("timestamptz", "'294276-12-31 23:59:59.999999+00'", TIMESTAMPTZ), ("timestamptz", "'infinity'", TIMESTAMPTZ),
    ("time", "'13:00:01.01'", TIME), ("time", "'24:00'", TIME), ("time", "'00:00:00.000001'", TIME),
    ("timetz", "'13:00:05.5+15:59:59'", TIMETZ), ("timetz", "'24:00-01'", TIMETZ), ("timetz", "'13:00:04Z'", TIMETZ),
    ("interval", "'1 year 2 mons 3 days 04:05:06.7'", TEXT), ("interval", "'-1 mons +2 days -03:00'", TEXT),
    ("bit(1)", "'1'", TEXT), ("bit(4)", "'0101'", TEXT), ("varbit", "'01'", TEXT),
    ("inet", "'192.168.1.5/24'", TEXT), ("cidr", "'10.1.2.3/32'", TEXT), ("macaddr", "'08-00-2b-01-02-03'", TEXT),
    ("macaddr8", "'08:00:2b:01:02:03:04:05'", TEXT), ("pg_lsn", "'16/B374D848'", TEXT), ("tid", "'(1,2)'", TEXT),
    ("tsvector", "'the:1 quick:2A'", TEXT), ("tsquery", "'a & b'", TEXT), ("jsonpath", "'$.a[*]'", TEXT),
    ("point", "'(1e30,-0.5)'", TEXT), ("line", "'{4,5,6}'", TEXT), ("lseg", "'[(3,7),(15,18)]'", TEXT),
    ("box", "'(3,7),(15,18)'", TEXT), ("path", "'[(3,7),(15,18)]'", TEXT), ("polygon", "'((3,7),(15,18))'", TEXT),
    ("circle", "'<(5,7),10>'", TEXT), ("mood", "'it''s \"fine\"'", TEXT), ("item", "ROW('a \"b\", c', 42, 1.5)", TEXT),
    ("int4range", "'[1,5]'", TEXT), ("tstzrange", "'[2010-01-01 14:30+00,)'", TEXT), ("int4multirange", "'{[1,3),[5,7)}'", TEXT),
    ("price_range", "'[1.50,2]'", TEXT), ("price_ranges", "'{[1.50,2]}'", TEXT),
    ("int4[]", "'{1,NULL,-3}'", JSONB), ("int4[]", "'{}'", JSONB), ("int4[]", "'{{1,2},{3,4}}'", JSONB),
    ("numeric[]", "'{1.50,12345678901234567890.5}'", JSONB), ("double precision[]", "'{1e100,0.1}'", JSONB),
    ("boolean[]", "'{t,f}'", JSONB), ("bit(3)[]", "'{101,010}'", JSONB), ("money[]", "'{1234.5,-1}'", JSONB),
    ("text[]", r#"'{"NULL",NULL,"","a,b","\"q\"","\\","{}"," x "}'"#, JSONB), ("text[]", r"ARRAY[E'line\nnext', '😀']", JSONB),
    ("uuid[]", "'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'", JSONB), ("date[]", "'{1999-01-08,infinity,0044-03-15 BC}'", JSONB),
    ("timestamptz[]", "'{2004-10-19 10:23:54+02}'", JSONB), ("time[]", "'{13:00,24:00}'", JSONB),
    ("jsonb[]", r#"ARRAY['{"a": "x\"y"}'::jsonb]"#, JSONB), ("mood[]", "'{sad}'", JSONB), ("item[]", "ARRAY[ROW('a', 1, 2)::item]", JSONB),
    ("numbers", "'{1,2}'", JSONB), ("box[]", "'{(1,1),(0,0)}'", JSONB),
];

/// Values that arrive as something else, and what that is; NULL stands for itself. The README lists them.
#[rustfmt::skip]
const DIFFERENT: &[(Case, &str)] = &[
    (("numeric", "'NaN'", NUMERIC), "NULL"),
    (("numeric", "'-Infinity'", NUMERIC), "NULL"),
    (("real", "'Infinity'", NUMERIC), "NULL"),
    (("double precision", "'NaN'", NUMERIC), "NULL"),
    (("double precision", "'-0'", NUMERIC), "0.0"),
    (("numeric(19,0)", "9223372036854775808", BIGINT), "NULL"),
    (("hstore", "'a=>1, b=>NULL'", TEXT), r#"{"a":"1","b":null}"#),
    (("hstore[]", "ARRAY['a=>1'::hstore]", JSONB), r#"["{\"a\":\"1\"}"]"#),
    (("int4[]", "'[2:3]={1,2}'", JSONB), "[1, 2]"),
    (("double precision[]", "'{1,Infinity}'", JSONB), "[1.0, null]"),
    (("bit(1)[]", "'{1,0}'", JSONB), "[true, false]"),
    (("bytea[]", r#"'{"\\x6b70"}'"#, JSONB), r#"["XHg2Yjcw"]"#),
];

fn copied(server: &Postgres, cases: &[Case], mode: &str) {
    let columns: Vec<_> = cases.iter().enumerate().map(|(n, (kind, ..))| format!("c{n} {kind}")).collect();
    let values: Vec<_> = cases.iter().map(|(_, value, _)| *value).collect();
    server.psql(&format!(
        "{PREPARED} CREATE TABLE types (id integer PRIMARY KEY, {}); INSERT INTO types VALUES (1, {}); INSERT INTO types (id) VALUES (2)",
        columns.join(", "),
        values.join(", ")
    ));
    let config = |more: serde_json::Value| {
        let mut config = server.config_json("postgres");
        config["password"] = "${PGPASSWORD}".into();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let mut target = config(json!({"schema": "copy"}));
    target.as_object_mut().unwrap().remove("replication_method");
    let folder = Folder::new();
    let sync = json!({
        "source": {"connector": binary("source-postgres"), "config": config(json!({"schemas": ["public"]}))},
        "destination": {"connector": binary("destination-postgres"), "config": target},
        "namespace": "copy",
        "streams": [{"name": "types", "sync_mode": "full_refresh", "destination_sync_mode": mode}],
    });
    folder.json("sync.json", &sync);
    let ferry = Connector::new(binary("ferry")).command(["sync", "sync.json"]).in_folder(folder.path());
    let output = ferry.env("PGPASSWORD", Postgres::PASSWORD).output();
    assert!(output.exit == Exit::Code(0), "{output}");
    assert_eq!(
        server.psql("SELECT count(*), count(c0), count(c1) FROM copy.types WHERE id IN (1, 2)"),
        "2|1|1"
    );
}

/// Of each case whether the copy is the original, its type there, and its text.
fn judged(server: &Postgres, cases: &[Case]) -> Vec<(bool, String, String)> {
    let questions = cases.iter().enumerate().map(|(n, (kind, ..))| {
        format!(
            "SELECT {n} AS n, json_build_array(is_same(o.c{n}::text, CASE WHEN pg_typeof(c.c{n}) = 'jsonb'::regtype \
             THEN array_text(to_jsonb(c.c{n})) ELSE c.c{n}::text END, $${kind}$$), pg_typeof(c.c{n})::text, \
             left(coalesce(c.c{n}::text, 'NULL'), 100))::text AS answer FROM types o JOIN copy.types c USING (id) WHERE id = 1"
        )
    });
    let questions: Vec<_> = questions.collect();
    let sql = format!("SELECT answer FROM ({}) AS a ORDER BY n", questions.join(" UNION ALL "));
    let answers = server.psql(&sql);
    answers.lines().map(|answer| serde_json::from_str(answer).unwrap()).collect()
}

fn every_type(version: Version) {
    let server = Postgres::start(version);

    let cases: Vec<Case> = EQUAL.iter().copied().chain(DIFFERENT.iter().map(|(case, _)| *case)).collect();
    copied(&server, &cases, "overwrite");
    let mut surprises = Vec::new();
    let answers = judged(&server, &cases);
    assert_eq!(answers.len(), cases.len());
    for (n, (case, (same, kind, text))) in cases.iter().zip(&answers).enumerate() {
        let as_expected = match DIFFERENT.get(n.wrapping_sub(EQUAL.len())) {
            None => *same,
            Some((_, expected)) => !same && text == *expected,
        };
        if !as_expected || kind != case.2 {
            surprises.push(format!("{case:?} arrived as {kind} {text}"));
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    // What became NULL is said to have.
    let nulled = server.psql(
        "SELECT string_agg((change ->> 'field') || ' ' || (change ->> 'reason'), ', ' ORDER BY n) \
         FROM copy.types, jsonb_array_elements(_airbyte_meta -> 'changes') WITH ORDINALITY AS c(change, n) WHERE id = 1",
    );
    let field = |at: usize| format!("c{}", EQUAL.len() + at);
    let theirs = |at| format!("{} SOURCE_SERIALIZATION_ERROR", field(at));
    for expected in [
        theirs(0),
        theirs(1),
        theirs(2),
        theirs(3),
        format!("{} DESTINATION_FIELD_SIZE_LIMITATION", field(5)),
    ] {
        assert!(nulled.contains(&expected), "{expected} is not among {nulled}");
    }
    assert_eq!(
        server.psql("SELECT count(*) FROM copy.types WHERE id = 2 AND c0 IS NULL AND c5 IS NULL"),
        "1"
    );
}

#[test]
fn every_type_of_15_arrives_equal_but_for_what_the_readme_lists() {
    every_type(Version::V15);
}

#[test]
fn every_type_of_18_arrives_equal_but_for_what_the_readme_lists() {
    every_type(Version::V18);
}
