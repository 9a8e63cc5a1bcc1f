//! SQL that takes a value out of a row's JSON and casts it.

use postgres_kit::{quote_identifier, quote_literal};

use super::tree::{Cast, Field};

/// How values are cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Casting {
    /// By the server's casts; one value that does not fit ends the statement.
    Strict,
    /// Such a value becomes NULL. Slower, so it is tried second; it needs the functions of [`FUNCTIONS`].
    Lenient,
}

/// The functions of [`Casting::Lenient`], made for the session.
pub(crate) const FUNCTIONS: &str = r"
CREATE OR REPLACE FUNCTION pg_temp.ferrybyte_bigint(v text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n numeric;
BEGIN
  RETURN v::bigint;
EXCEPTION WHEN data_exception THEN
  BEGIN
    n := v::numeric;
    RETURN CASE WHEN n = trunc(n) THEN n::bigint END;
  EXCEPTION WHEN data_exception THEN RETURN NULL;
  END;
END $$;
CREATE OR REPLACE FUNCTION pg_temp.ferrybyte_cast(v text, wanted anyelement) RETURNS anyelement LANGUAGE plpgsql AS $$
DECLARE r wanted%TYPE;
BEGIN
  r := v;
  RETURN r;
EXCEPTION WHEN data_exception THEN RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION pg_temp.ferrybyte_bytes(v text) RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
  RETURN decode(v, 'base64');
EXCEPTION WHEN data_exception THEN RETURN NULL;
END $$;
";

/// The JSON at `path` below `base`; JSON's null is SQL's.
pub(crate) fn json_at(base: &str, path: &[String]) -> String {
    format!("nullif({}, 'null'::jsonb)", step(base, path, "->"))
}

/// The same where no difference is made between the two nulls.
pub(crate) fn value_at(base: &str, path: &[String]) -> String {
    step(base, path, "->")
}

fn text_at(base: &str, path: &[String]) -> String {
    step(base, path, "->>")
}

/// A NUL can be in a schema's key, but neither in a statement nor in a jsonb's key: such a value is never there.
fn step(base: &str, path: &[String], last: &str) -> String {
    let mut sql = base.to_owned();
    for (i, key) in path.iter().enumerate() {
        let operator = if i + 1 == path.len() { last } else { "->" };
        let key = if key.contains('\0') {
            "NULL::text".to_owned()
        } else {
            format!("{}::text", quote_literal(key).trim_start())
        };
        sql = format!("({sql} {operator} {key})");
    }
    sql
}

/// The value of `field` in the JSON `base`, as its column's type.
pub(crate) fn value(base: &str, field: &Field, casting: Casting) -> String {
    let text = source_text(base, field);
    let sql = field.cast.sql();
    match (field.cast, casting) {
        (Cast::Json, _) => json_at(base, &field.path),
        (Cast::Text, _) => text,
        (Cast::Bytes, Casting::Strict) => format!("decode({text}, 'base64')"),
        (Cast::Bytes, Casting::Lenient) => format!("pg_temp.ferrybyte_bytes({text})"),
        (Cast::Bigint, Casting::Lenient) => format!("pg_temp.ferrybyte_bigint({text})"),
        (_, Casting::Strict) => format!("({text})::{sql}"),
        (_, Casting::Lenient) => format!("pg_temp.ferrybyte_cast({text}, NULL::{sql})"),
    }
}

/// The text that is cast; an empty one is no time.
fn source_text(base: &str, field: &Field) -> String {
    let text = text_at(base, &field.path);
    match field.cast {
        Cast::Date | Cast::Time | Cast::TimeWithZone | Cast::Timestamp | Cast::TimestampWithZone => {
            format!("nullif({text}, '')")
        }
        _ => text,
    }
}

/// Whether a value is there that [`Casting::Lenient`] makes NULL; `None` where that cannot be.
pub(crate) fn does_not_fit(base: &str, field: &Field) -> Option<String> {
    match field.cast {
        Cast::Json | Cast::Text => None,
        _ => Some(format!(
            "{} IS NOT NULL AND {} IS NULL",
            source_text(base, field),
            value(base, field, Casting::Lenient)
        )),
    }
}

/// The hash of some texts, made as Airbyte's normalization made it.
pub(crate) fn md5<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = values.into_iter().map(|value| format!("({value})::text")).collect();
    format!("md5(array_to_string(ARRAY[{}]::text[], '-', ''))", texts.join(", "))
}

/// `schema.table`, quoted.
pub(crate) fn table(schema: &str, table: &str) -> String {
    format!("{}.{}", quote_identifier(schema), quote_identifier(table))
}

/// Names, quoted and parted by commas.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote_identifier).collect::<Vec<_>>().join(", ")
}
