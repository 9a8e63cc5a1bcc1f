//! The columns of a table that a stream reads, and what its rows hold beside them.

use connector_kit::protocol::StreamDescriptor;
use connector_kit::{Row, SelectedStream};
use postgres_kit::quote_identifier;

use crate::tables::Table;
use crate::types::ColumnType;

/// The columns that every stream of a config with CDC has in addition.
pub(crate) const CDC_LSN: &str = "_ab_cdc_lsn";
/// When the change was committed; of a row of the first read, when it was read.
pub(crate) const CDC_UPDATED_AT: &str = "_ab_cdc_updated_at";
/// The same, of a deleted row; else null.
pub(crate) const CDC_DELETED_AT: &str = "_ab_cdc_deleted_at";

/// A selected column that the table has.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) type_: ColumnType,
    /// Its index among the stream's selected columns.
    pub(crate) column: usize,
}

/// The same value in every row.
#[derive(Clone, Debug)]
enum Constant {
    Null,
    Integer(i64),
    Text(String),
}

/// What to read of a table, and in which order.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) fields: Vec<Field>,
    constants: Vec<(usize, Constant)>,
}

impl Selection {
    /// The selected columns, in the catalog's order. What the catalog has and the table has
    /// not (any more) is null.
    pub(crate) fn of(table: &Table, stream: &SelectedStream) -> Self {
        let mut selection = Self { fields: Vec::new(), constants: Vec::new() };
        for (index, column) in stream.columns.iter().enumerate() {
            match table.columns.iter().find(|c| c.name == column.name) {
                Some(found) => selection.fields.push(Field {
                    name: found.name.clone(),
                    type_: found.type_.clone(),
                    column: index,
                }),
                None => selection.constants.push((index, Constant::Null)),
            }
        }
        selection
    }

    /// Rows of a first read carry these in the columns of CDC, where those are selected.
    pub(crate) fn with_changes(mut self, stream: &SelectedStream, lsn: u64, read_at: &str) -> Self {
        for (index, constant) in &mut self.constants {
            match stream.columns[*index].name.as_str() {
                CDC_LSN => *constant = Constant::Integer(i64::try_from(lsn).unwrap_or(i64::MAX)),
                CDC_UPDATED_AT => *constant = Constant::Text(read_at.to_owned()),
                _ => {}
            }
        }
        self
    }

    /// The list for a SELECT.
    pub(crate) fn list(&self) -> String {
        let columns = self.fields.iter().map(|f| f.type_.select(&quote_identifier(&f.name)));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// For the decoder of a COPY of [`list`](Self::list).
    pub(crate) fn decoded(&self) -> Vec<(ColumnType, usize)> {
        self.fields.iter().map(|f| (f.type_.clone(), f.column)).collect()
    }

    /// Writes what does not come from the server.
    #[inline]
    pub(crate) fn write_constants(&self, row: &mut Row<'_>) {
        for (column, constant) in &self.constants {
            match constant {
                Constant::Null => row.null(*column),
                Constant::Integer(value) => row.integer(*column, *value),
                Constant::Text(text) => row.string(*column, text),
            }
        }
    }
}

impl Table {
    /// The stream it is.
    pub(crate) fn descriptor(&self) -> StreamDescriptor {
        StreamDescriptor::new(Some(&self.schema), &self.name)
    }
}
