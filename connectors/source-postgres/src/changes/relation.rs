//! From a relation message to where each of its columns goes. The message is what counts for
//! the tuples that follow it, not the catalog: the catalog is of today, the tuples are not.

use connector_kit::{Error, Row, SelectedStream};

use super::cells::{Cells, Value};
use super::followed::Followed;
use super::pgoutput::{Old, Relation};
use crate::selection::{CDC_DELETED_AT, CDC_LSN, CDC_UPDATED_AT};
use crate::types::ColumnType;

/// A relation as its last message had it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) relation: Relation,
    /// The streams that its rows go to: none, one, or a partition's own and its root's.
    pub(crate) targets: Vec<Target>,
    /// The cells by which a row is found in the table.
    pub(crate) key: Vec<usize>,
    /// Columns that the table has now and its streams want, but the messages have not: added
    /// later, generated, or not published. Their cells follow the relation's own.
    pub(crate) absent: Vec<String>,
}

impl Known {
    pub(crate) fn new(relation: Relation, targets: Vec<Target>, absent: Vec<String>) -> Self {
        let key = match targets.first() {
            // All columns are marked as key then.
            Some(target) if relation.identity == b'f' => target.key.clone(),
            _ => relation.columns.iter().enumerate().filter(|(_, c)| c.key).map(|(i, _)| i).collect(),
        };
        Self { relation, targets, key, absent }
    }

    /// Cells in all.
    pub(crate) fn width(&self) -> usize {
        self.relation.columns.len() + self.absent.len()
    }

    /// The name of a cell's column, and whether it is of the replica identity.
    pub(crate) fn column(&self, cell: usize) -> (&str, bool) {
        match self.relation.columns.get(cell) {
            Some(column) => (&column.name, column.key),
            None => (self.absent.get(cell - self.relation.columns.len()).map_or("", String::as_str), false),
        }
    }

    /// Whether some stream wants this cell.
    pub(crate) fn wants(&self, cell: usize) -> bool {
        self.targets
            .iter()
            .any(|t| t.outs.iter().any(|o| matches!(o, Out::Cell { cell: c, .. } if *c == cell)))
    }
}

/// A stream that a relation's rows go to.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its index among the followed tables.
    pub(crate) followed: usize,
    /// In the order of the stream's columns.
    pub(crate) outs: Vec<Out>,
    /// The cells by which the stream tells rows apart.
    pub(crate) key: Vec<usize>,
}

/// Where a column of the stream comes from.
#[derive(Debug)]
pub(crate) enum Out {
    Cell { column: usize, cell: usize, key: bool, type_: ColumnType },
    Null { column: usize },
    Lsn { column: usize },
    UpdatedAt { column: usize },
    DeletedAt { column: usize },
}

impl Target {
    /// `types` are those of the relation's columns; what it has not, and the table has, joins `absent`.
    pub(crate) fn new(
        followed: usize,
        table: &Followed,
        relation: &Relation,
        types: &[ColumnType],
        absent: &mut Vec<String>,
    ) -> Self {
        let cell_of = |name: &str| relation.columns.iter().position(|c| c.name == name);
        let mut out = |(column, name): (usize, &str)| match name {
            CDC_LSN => Out::Lsn { column },
            CDC_UPDATED_AT => Out::UpdatedAt { column },
            CDC_DELETED_AT => Out::DeletedAt { column },
            name => match cell_of(name) {
                Some(cell) => {
                    Out::Cell { column, cell, key: relation.columns[cell].key, type_: types[cell].clone() }
                }
                None => match table.table.columns.iter().find(|c| c.name == name && c.selectable) {
                    Some(now) => {
                        let known = absent.iter().position(|a| a == name).unwrap_or_else(|| {
                            absent.push(name.to_owned());
                            absent.len() - 1
                        });
                        let cell = relation.columns.len() + known;
                        Out::Cell { column, cell, key: false, type_: now.type_.clone() }
                    }
                    None => Out::Null { column },
                },
            },
        };
        let names = table.selected.columns.iter().map(|c| c.name.as_str()).enumerate();
        let key = table.table.change_key().iter().filter_map(|name| cell_of(name)).collect();
        let outs = names.map(&mut out).collect();
        Self { followed, outs, key }
    }
}

/// What a record says beside the row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp<'a> {
    pub(crate) lsn: u64,
    /// When it was committed, as an instant.
    pub(crate) at: &'a [u8],
}

/// Where the values of a changed row are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct After<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) new: &'a Cells,
    pub(crate) old: Option<(Old, &'a Cells)>,
    /// Values that the message does not have, read from the table: by cell.
    pub(crate) fetched: Option<&'a [(usize, Option<String>)]>,
}

impl<'a> After<'a> {
    /// The value of a cell, from wherever it is; `Unchanged` when it is nowhere.
    #[inline]
    pub(crate) fn value(&self, cell: usize, key: bool) -> Value<'a> {
        match self.new.get(self.message, cell) {
            Value::Unchanged => self.elsewhere(cell, key),
            value => value,
        }
    }

    #[cold]
    fn elsewhere(&self, cell: usize, key: bool) -> Value<'a> {
        // In an old key the other columns are marked null without being so.
        if let Some((which, old)) = self.old
            && (which == Old::Full || key)
        {
            let value = old.get(self.message, cell);
            if value != Value::Unchanged {
                return value;
            }
        }
        match self.fetched.and_then(|f| f.iter().find(|(c, _)| *c == cell)) {
            Some((_, Some(text))) => Value::Text(text.as_bytes()),
            Some((_, None)) => Value::Null,
            None => Value::Unchanged,
        }
    }
}

/// Writes the row as it is after an insert or update.
#[inline]
pub(crate) fn write_after(
    target: &Target,
    after: &After<'_>,
    stamp: Stamp<'_>,
    mut row: Row<'_>,
) -> Result<(), Error> {
    for out in &target.outs {
        match out {
            Out::Cell { column, cell, key, type_ } => match after.value(*cell, *key) {
                Value::Text(text) => type_.write_text(&mut row, *column, text)?,
                Value::Null => row.null(*column),
                // The row is gone from the table: see `reread.rs`.
                Value::Unchanged => {
                    row.reject(*column, connector_kit::protocol::ChangeReason::SourceRetrievalError);
                }
            },
            Out::Null { column } | Out::DeletedAt { column } => row.null(*column),
            Out::Lsn { column } => row.integer(*column, stamp.lsn as i64),
            Out::UpdatedAt { column } => row.plain(*column, stamp.at),
        }
    }
    row.end()
}

/// Writes what is known of a deleted row.
pub(crate) fn write_deleted(
    target: &Target,
    message: &[u8],
    (which, old): (Old, &Cells),
    stamp: Stamp<'_>,
    mut row: Row<'_>,
) -> Result<(), Error> {
    for out in &target.outs {
        match out {
            Out::Cell { column, cell, key, type_ } => match old.get(message, *cell) {
                Value::Text(text) if which == Old::Full || *key => {
                    type_.write_text(&mut row, *column, text)?;
                }
                _ => row.null(*column),
            },
            Out::Null { column } => row.null(*column),
            Out::Lsn { column } => row.integer(*column, stamp.lsn as i64),
            Out::UpdatedAt { column } | Out::DeletedAt { column } => row.plain(*column, stamp.at),
        }
    }
    row.end()
}

/// Whether an update gave the row another key, so that the row of the old key is gone.
pub(crate) fn moves(target: &Target, known: &Known, after: &After<'_>) -> bool {
    let Some((which, old)) = after.old else { return false };
    let key = if which == Old::Full && !target.key.is_empty() { &target.key } else { &known.key };
    key.iter().any(|cell| {
        // An old key comes without a change, too, when a part of it is stored out of line.
        let new = after.new.get(after.message, *cell);
        new != Value::Unchanged && new != old.get(after.message, *cell)
    })
}

/// The columns of a stream that come from the table.
pub(crate) fn table_columns(selected: &SelectedStream) -> impl Iterator<Item = &connector_kit::Column> {
    selected.columns.iter().filter(|c| !matches!(c.name.as_str(), CDC_LSN | CDC_UPDATED_AT | CDC_DELETED_AT))
}
