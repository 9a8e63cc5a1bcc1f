//! From the table that is there to the one that the stream needs now: columns are added, types changed by a cast, and
//! nothing is ever dropped. A cast that would lose something fails instead.

use connector_kit::{EXTRACTED_AT, Error, GENERATION_ID, META, RAW_ID, Result, tracing};
use postgres_kit::{quote_identifier, server_error};

use crate::column_type::ColumnType;
use crate::lane::Lane;
use crate::names::{ADDED, TableName};

use super::{Found, Kind, Layout, list};

/// What has to be done to a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evolution {
    /// Parts of one `ALTER TABLE`, so that the rows are rewritten once at most.
    actions: Vec<String>,
    added: Vec<String>,
    /// The numbers and names of columns whose type changes.
    pub(crate) changed: Vec<(i64, String)>,
}

/// Compares a table with what it should be; refuses one that is not of this destination's making.
pub(crate) fn evolve(table: &TableName, found: &Found, layout: &Layout) -> Result<Evolution> {
    if let Kind::Other(what) = found.kind {
        return Err(Error::config(format!(
            "{table} is {what}, where this stream's table should be. Rename it, or give the stream another name or schema."
        )));
    }
    check_added(table, found)?;
    for column in &found.columns {
        let ours = layout.names().any(|name| name == column.name);
        if !ours && column.not_null && !column.has_default && !column.takes_no_values {
            return Err(Error::config(format!(
                "The table {table} has a column {:?} that the stream does not have, and that takes no nulls. Run ALTER TABLE {table} ALTER COLUMN {} DROP NOT NULL; or give it a default.",
                column.name,
                quote_identifier(&column.name)
            )));
        }
        if ours && column.takes_no_values {
            return Err(Error::config(format!(
                "The column {:?} of the table {table} is computed by the server and takes no values. Drop it, or leave the field out of the sync.",
                column.name
            )));
        }
    }
    let mut evolution = Evolution::default();
    for name in [META, GENERATION_ID] {
        // A run that was killed left this sync's constants behind.
        if found.column(name).is_some_and(|c| c.has_default) {
            evolution.actions.push(format!("ALTER COLUMN \"{name}\" DROP DEFAULT"));
        }
    }
    for column in &layout.columns {
        let name = quote_identifier(&column.name);
        match found.column(&column.name) {
            None => {
                evolution.actions.push(format!("ADD COLUMN {name} {}", column.type_.sql()));
                evolution.added.push(column.name.clone());
            }
            Some(there) if holds(&there.type_, column.type_) => {}
            Some(there) => {
                if there.has_default {
                    // A default of the old type may have no cast to the new one.
                    tracing::warn!(
                        "Table {table}: {name} gets another type, and loses the default that it had."
                    );
                    evolution.actions.push(format!("ALTER COLUMN {name} DROP DEFAULT"));
                }
                evolution.actions.push(format!(
                    "ALTER COLUMN {name} TYPE {} USING {}",
                    column.type_.sql(),
                    cast(&name, &there.type_, column.type_)
                ));
                evolution.changed.push((there.number, column.name.clone()));
            }
        }
    }
    Ok(evolution)
}

fn check_added(table: &TableName, found: &Found) -> Result<()> {
    let missing: Vec<String> =
        ADDED.into_iter().filter(|name| found.column(name).is_none()).map(str::to_owned).collect();
    if !missing.is_empty() {
        return Err(Error::config(format!(
            "The table {table} is there but lacks {}: it was not made by this destination, and is left alone. Rename or drop it, or give the stream another schema or prefix.",
            list(&missing)
        )));
    }
    for (name, wanted) in [
        (RAW_ID, "character varying"),
        (EXTRACTED_AT, "timestamp with time zone"),
        (META, "jsonb"),
        (GENERATION_ID, "bigint"),
    ] {
        let type_ = found.column(name).map_or("", |c| c.type_.as_str());
        let right = type_ == wanted || name == RAW_ID && type_ == "text";
        if !right {
            return Err(Error::config(format!(
                "The column {name} of the table {table} has the type {type_} instead of {wanted}. Run ALTER TABLE {table} ALTER COLUMN {name} TYPE {wanted}; or drop the table and refresh the stream."
            )));
        }
    }
    Ok(())
}

/// Whether a column of that type holds every value of ours, sent in our type's binary form.
fn holds(there: &str, wanted: ColumnType) -> bool {
    there == wanted.sql() || there == "text" && wanted == ColumnType::Varchar
}

/// The value of a column in its new type. Where a plain cast would round or cut, one that fails.
fn cast(column: &str, from: &str, to: ColumnType) -> String {
    let target = to.sql();
    let family = from.split('(').next().unwrap_or(from);
    let zone = from.ends_with("with time zone");
    match (family, to) {
        ("json", ColumnType::Jsonb) => format!("{column}::jsonb"),
        (_, ColumnType::Jsonb) => format!("to_jsonb({column})"),
        ("json" | "jsonb", _) => format!("({column} #>> '{{}}')::{target}"),
        // Through the shortest text: the direct cast keeps fifteen digits.
        ("real" | "double precision", ColumnType::Numeric) => format!("{column}::text::numeric"),
        ("numeric", ColumnType::Bigint) => {
            format!(
                "CASE WHEN {column} = trunc({column}) THEN {column}::bigint ELSE {column}::text::bigint END"
            )
        }
        ("real" | "double precision", ColumnType::Bigint) => format!(
            "CASE WHEN {column}::text::numeric = trunc({column}::text::numeric) THEN {column}::text::numeric::bigint ELSE {column}::text::bigint END"
        ),
        ("timestamp" | "timestamp with time zone" | "timestamp without time zone", ColumnType::Date) => {
            format!(
                "CASE WHEN {column}::date = {column} THEN {column}::date ELSE ('lost: ' || {column})::date END"
            )
        }
        (
            "timestamp" | "timestamp with time zone" | "timestamp without time zone",
            ColumnType::Time | ColumnType::TimeWithZone,
        ) => {
            format!("('lost: ' || {column})::{target}")
        }
        ("time" | "time with time zone", ColumnType::Time) if zone => format!(
            "CASE WHEN extract(timezone FROM {column}) = 0 THEN {column}::time ELSE ('lost: ' || {column})::time END"
        ),
        _ => format!("{column}::{target}"),
    }
}

impl Evolution {
    pub(crate) fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// The statements; none when there is nothing to do.
    pub(crate) fn sql(&self, table: &TableName) -> Option<String> {
        // Times without an offset are UTC here, whatever the server's own zone.
        (!self.is_empty())
            .then(|| format!("SET LOCAL TimeZone TO 'UTC'; ALTER TABLE {table} {}", self.actions.join(", ")))
    }

    /// Does it.
    pub(crate) async fn apply(&self, lane: &mut Lane, table: &TableName, found: &Found) -> Result<()> {
        let Some(sql) = self.sql(table) else { return Ok(()) };
        if !found.is_ours {
            let user = super::current_user(lane).await?;
            return Err(Error::config(format!(
                "The table {table} has to be altered for the stream's fields ({}), and belongs to {}. Run ALTER TABLE {table} OWNER TO {user}; or GRANT {} TO {user};",
                list(&self.names()),
                found.owner,
                found.owner
            )));
        }
        lane.execute_patiently(&sql).await.map_err(|error| self.explained(error, table))?;
        if !self.added.is_empty() {
            tracing::info!("Table {table}: added {}.", list(&self.added));
        }
        if !self.changed.is_empty() {
            let changed: Vec<String> = self.changed.iter().map(|(_, name)| name.clone()).collect();
            tracing::info!("Table {table}: changed the type of {}.", list(&changed));
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.added.iter().cloned().chain(self.changed.iter().map(|(_, name)| name.clone())).collect()
    }

    fn explained(&self, error: Error, table: &TableName) -> Error {
        let changed: Vec<String> = self.changed.iter().map(|(_, name)| format!("{name:?}")).collect();
        let Some(server) = server_error(&error) else { return error };
        match server.code.as_str() {
            "54011" => Error::config(format!(
                "The table {table} cannot take the stream's new columns: with those dropped earlier it would have more than the 1,600 that PostgreSQL allows. Refresh the stream, so that the table is made anew, or select fewer fields."
            ))
            .with_source(error),
            "0A000" | "2BP01" if !changed.is_empty() => Error::config(format!(
                "The type of {} in the table {table} has to change, but something else in the database is made from it, such as a view or a generated column. Drop that, or refresh the stream.",
                list(&changed)
            ))
            .with_source(error),
            code if !changed.is_empty()
                && (code.starts_with("22") || matches!(code, "42846" | "42804" | "23514" | "42883")) =>
            {
                Error::config(format!(
                    "The type of {} in the table {table} has to change, but rows hold values there that do not fit the new type whole. Refresh the stream, or mend these rows.",
                    list(&changed)
                ))
                .with_source(error)
            }
            _ => error,
        }
    }
}
