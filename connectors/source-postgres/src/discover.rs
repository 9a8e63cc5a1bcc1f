//! The catalog: what of the tables is offered, and how it can be read.

use std::collections::HashMap;
use std::iter;

use connector_kit::protocol::{Stream, StreamDescriptor, SyncMode};
use connector_kit::{Result, Streams, tracing};
use postgres_kit::Connection;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::tables::{self, Column, Table, Wanted};

/// What every stream has in addition when changes are captured: the position in the log, and
/// the times of the change and of the deletion.
pub(crate) const LSN: &str = "_ab_cdc_lsn";
pub(crate) const UPDATED_AT: &str = "_ab_cdc_updated_at";
pub(crate) const DELETED_AT: &str = "_ab_cdc_deleted_at";

/// How incremental syncs find what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Cursor,
    Xmin,
    Changes,
}

impl Method {
    pub(crate) fn of(config: &Config) -> Self {
        match config.cdc() {
            Some(_) => Self::Changes,
            None if config.is_xmin() => Self::Xmin,
            None => Self::Cursor,
        }
    }
}

/// Everything that the user may read.
pub(crate) async fn discover(connection: &mut Connection, config: &Config) -> Result<Streams> {
    let publication = config.cdc().map(|cdc| cdc.publication.as_str());
    // One moment for all queries: a table that is dropped meanwhile is there whole.
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let tables = tables::tables(connection, &config.schemas(), publication).await?;
    connection.execute("COMMIT").await?;
    let method = Method::of(config);
    let check_privileges = config.check_privileges;
    let offered = tables.into_iter().filter(move |table| !check_privileges || table.selectable);
    Ok(Streams::new(offered.map(move |table| stream(table, method, check_privileges))))
}

/// The tables of these streams, and the streams as they are offered now; for each that is not, why.
pub(crate) async fn offered(
    connection: &mut Connection,
    config: &Config,
    wanted: &[StreamDescriptor],
) -> Result<(Vec<Table>, Vec<Result<Stream>>)> {
    let names: Vec<(String, String)> =
        wanted.iter().map(|d| (d.namespace.clone().unwrap_or_default(), d.name.clone())).collect();
    let publication = config.cdc().map(|cdc| cdc.publication.as_str());
    let schemas = config.schemas();
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let tables = tables::wanted_tables(connection, Wanted::Named(&names), publication).await?;
    let places: HashMap<StreamDescriptor, &Table> = tables.iter().map(|t| (t.descriptor(), t)).collect();
    let mut streams = Vec::with_capacity(wanted.len());
    for descriptor in wanted {
        let in_schemas = schemas.is_empty()
            || descriptor.namespace.as_ref().is_some_and(|namespace| schemas.contains(namespace));
        streams.push(match places.get(descriptor).filter(|_| in_schemas) {
            None => Err(tables::absent(connection, descriptor, &schemas).await?),
            // Columns are looked at when it is known which are wanted.
            Some(table) => match table.refusal(iter::empty(), &config.username) {
                Some(error) => Err(error),
                None => Ok(stream((*table).clone(), Method::of(config), false)),
            },
        });
    }
    connection.execute("COMMIT").await?;
    Ok((tables, streams))
}

fn stream(table: Table, method: Method, only_selectable: bool) -> Stream {
    let offered: Vec<&Column> =
        table.columns.iter().filter(|c| is_offered(&table, c, method, only_selectable)).collect();
    let mut properties: Map<String, Value> =
        offered.iter().map(|c| (c.name.clone(), c.type_.schema())).collect();
    let key = match method {
        Method::Changes if table.published.is_some() => table.change_key(),
        _ => &table.primary_key,
    };
    // A key of which the user may not read a part tells nothing apart.
    let key: Vec<Vec<String>> = match key.iter().all(|c| properties.contains_key(c)) {
        true => key.iter().map(|c| vec![c.clone()]).collect(),
        false => Vec::new(),
    };
    if method == Method::Changes {
        add_change_columns(&table, &mut properties);
    }
    let incremental = match method {
        Method::Cursor => offered.iter().any(|c| c.type_.can_be_cursor()),
        Method::Xmin => table.has_system_columns(),
        Method::Changes => table.published.is_some() && !key.is_empty(),
    };
    let mut stream = Stream::new(&table.name, json!({"type": "object", "properties": properties}));
    stream.namespace = Some(table.schema);
    stream.source_defined_primary_key = key;
    stream.is_resumable = Some(table.filenode.is_some());
    if incremental {
        stream.supported_sync_modes.push(SyncMode::Incremental);
        if method != Method::Cursor {
            stream.source_defined_cursor = Some(true);
        }
        if method == Method::Changes {
            stream.default_cursor_field = vec![LSN.to_owned()];
        }
    }
    stream
}

/// A published table is offered with what the publication sends of it: a column that only the
/// first load knew would be wrong from the first update on.
fn is_offered(table: &Table, column: &Column, method: Method, only_selectable: bool) -> bool {
    let streamed = method != Method::Changes || table.published.is_none() || table.is_streamed(&column.name);
    streamed && (column.selectable || !only_selectable)
}

fn add_change_columns(table: &Table, properties: &mut Map<String, Value>) {
    for (name, kind) in [(LSN, "number"), (UPDATED_AT, "string"), (DELETED_AT, "string")] {
        if properties.insert(name.to_owned(), json!({"type": kind})).is_some() {
            tracing::warn!(
                "{} has a column {name} of its own; CDC uses that name, so the table's column is not read. Rename it to have it read.",
                table.quoted()
            );
        }
    }
}
