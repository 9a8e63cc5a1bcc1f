//! What a typed table looks like: the added columns, then the stream's.

use connector_kit::{
    Changes, EXTRACTED_AT, Error, GENERATION_ID, META, RAW_ID, Result, SelectedStream, Stamp,
};
use postgres_kit::{quote_identifier, quote_literal};

use crate::column_type::ColumnType;
use crate::names::{ADDED, StreamNames, TableName};

/// What a table of PostgreSQL can have.
const MOST_COLUMNS: usize = 1600;

/// A column of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayoutColumn {
    pub(crate) name: String,
    pub(crate) type_: ColumnType,
}

/// The columns of one stream's table, and what is the same in all rows of this sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) columns: Vec<LayoutColumn>,
    /// `_airbyte_meta` of a row without changes.
    meta: String,
    generation: i64,
}

impl Layout {
    pub(crate) fn new(stream: &SelectedStream, names: &StreamNames) -> Result<Self> {
        let count = stream.columns.len() + ADDED.len();
        if count > MOST_COLUMNS {
            return Err(Error::config(format!(
                "Stream {} has {} fields; with the {} columns that are added they are more than the {MOST_COLUMNS} that a table of PostgreSQL can have. Select fewer fields.",
                stream.descriptor,
                stream.columns.len(),
                ADDED.len()
            )));
        }
        let columns = stream.columns.iter().zip(&names.columns).map(|(column, name)| LayoutColumn {
            name: name.clone(),
            type_: ColumnType::of(column.field_type),
        });
        let stamp = Stamp::new(stream.sync_id, stream.generation.map(|g| g.id));
        let mut meta = Vec::new();
        // Without a record's own meta there is nothing that could be malformed.
        let _ = stamp.write_meta(&mut meta, None, &Changes::default());
        Ok(Self {
            columns: columns.collect(),
            meta: String::from_utf8(meta).unwrap_or_default(),
            generation: stamp.generation(),
        })
    }

    /// The names of all columns, in the order in which rows have them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        ADDED.into_iter().chain(self.columns.iter().map(|c| c.name.as_str()))
    }

    /// The statement that makes the table, with this sync's constants as defaults.
    pub(crate) fn create(&self, table: &TableName) -> String {
        format!("CREATE TABLE {table} ({})", self.definitions())
    }

    /// The statement that makes a table of this session.
    pub(crate) fn create_temporary(&self, quoted: &str) -> String {
        format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {quoted} ({}) ON COMMIT PRESERVE ROWS",
            self.definitions()
        )
    }

    fn definitions(&self) -> String {
        let mut out = format!(
            "\"{RAW_ID}\" character varying NOT NULL, \"{EXTRACTED_AT}\" timestamp with time zone NOT NULL, \
             \"{META}\" jsonb NOT NULL DEFAULT {}, \"{GENERATION_ID}\" bigint NOT NULL DEFAULT {}",
            quote_literal(&self.meta),
            self.generation
        );
        for column in &self.columns {
            out.push_str(", ");
            out.push_str(&quote_identifier(&column.name));
            out.push(' ');
            out.push_str(column.type_.sql());
        }
        out
    }

    /// The statement that takes the defaults away again: they are this sync's.
    pub(crate) fn drop_defaults(table: &TableName) -> String {
        format!(
            "ALTER TABLE {table} ALTER COLUMN \"{META}\" DROP DEFAULT, ALTER COLUMN \"{GENERATION_ID}\" DROP DEFAULT"
        )
    }

    /// `COPY` of rows with all columns.
    pub(crate) fn copy_full(&self, quoted: &str) -> String {
        format!("COPY {quoted} ({}) FROM STDIN (FORMAT binary)", self.quoted_names())
    }

    /// `COPY` of rows that leave the constants to the table's defaults.
    pub(crate) fn copy_plain(&self, quoted: &str) -> String {
        let names = self.names().filter(|name| *name != META && *name != GENERATION_ID);
        format!(
            "COPY {quoted} ({}) FROM STDIN (FORMAT binary)",
            names.map(quote_identifier).collect::<Vec<_>>().join(", ")
        )
    }

    /// All columns, for SQL.
    pub(crate) fn quoted_names(&self) -> String {
        self.names().map(quote_identifier).collect::<Vec<_>>().join(", ")
    }
}
