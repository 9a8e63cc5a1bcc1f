//! What a relation message means for the streams: which of them it feeds, and whether its
//! columns are still those that they were read with.

use std::collections::{BTreeMap, HashMap, HashSet};

use connector_kit::{Error, FieldType, Result, tracing};
use postgres_kit::{Connection, Row};

use super::followed::Followed;
use super::pgoutput::Relation;
use super::read::{Out, Reader};
use super::relation::{Known, Target, table_columns};
use crate::read::named;
use crate::state::{Cursor, SeenColumn, Streaming};
use crate::tables::{Table, column_types};
use crate::types::ColumnType;

/// What was said once and need not be said again.
#[derive(Debug, Default)]
pub(crate) struct Warned {
    new_columns: HashSet<(u32, String)>,
    keys: HashSet<u32>,
}

/// A column as the catalog has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    /// `None`: it was dropped.
    name: Option<String>,
}

/// By number.
type Attributes = BTreeMap<i16, Attribute>;

impl Reader<'_> {
    /// From here on tuples of this relation look like this.
    pub(super) async fn learn(&mut self, relation: Relation, out: &mut Out) -> Result<()> {
        let fed = self.fed_by(&relation).await?;
        let (mut targets, mut absent) = (Vec::new(), Vec::new());
        if !fed.is_empty() {
            let types = self.types_of(&relation, &fed).await?;
            for index in fed {
                if let Some(target) = self.target(index, &relation, &types, &mut absent, out).await? {
                    targets.push(target);
                }
            }
        }
        self.absent_columns |= !absent.is_empty();
        self.relations.insert(relation.oid, Known::new(relation, targets, absent));
        Ok(())
    }

    /// The followed tables that a relation's rows belong to: itself, or the partitioned tables above
    /// it when the publication names the partitions.
    async fn fed_by(&mut self, relation: &Relation) -> Result<Vec<usize>> {
        let is_it = |t: &Followed| {
            t.table.oid == relation.oid || t.table.schema == relation.schema && t.table.name == relation.name
        };
        let mut fed: Vec<usize> = (0..self.tables.len()).filter(|i| is_it(&self.tables[*i])).collect();
        let partitioned: HashMap<u32, usize> = self
            .tables
            .iter()
            .enumerate()
            .filter(|(_, t)| t.table.is_partitioned())
            .map(|(i, t)| (t.table.oid, i))
            .collect();
        if !partitioned.is_empty() && !partitioned.contains_key(&relation.oid) {
            let connection = self.side.connection().await?;
            let sql = format!(
                "SELECT relid::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors({})",
                relation.oid
            );
            for row in connection.query(&sql).await? {
                if let Some(index) = u32::try_from(row.int(0)?).ok().and_then(|oid| partitioned.get(&oid))
                    && !fed.contains(index)
                {
                    fed.push(*index);
                }
            }
        }
        Ok(fed)
    }

    /// The types of the relation's columns: of the table, where it has them the same; else asked for.
    async fn types_of(&mut self, relation: &Relation, fed: &[usize]) -> Result<Vec<ColumnType>> {
        let mut types = Vec::new();
        let mut unknown = Vec::new();
        for column in &relation.columns {
            let same = fed.iter().flat_map(|i| &self.tables[*i].table.columns).find(|c| {
                c.name == column.name && c.type_oid == column.type_oid && c.modifier == column.modifier
            });
            if same.is_none() {
                unknown.push((column.type_oid, column.modifier));
            }
            types.push(same.map(|c| c.type_.clone()));
        }
        let mut asked = match unknown.as_slice() {
            [] => Vec::new(),
            unknown => column_types(self.side.connection().await?, unknown).await?,
        }
        .into_iter();
        Ok(types.into_iter().filter_map(|known| known.or_else(|| asked.next())).collect())
    }

    /// Where the relation's columns go in a stream; `None` when the stream cannot go on.
    async fn target(
        &mut self,
        index: usize,
        relation: &Relation,
        types: &[ColumnType],
        absent: &mut Vec<String>,
        out: &mut Out,
    ) -> Result<Option<Target>> {
        let table = &self.tables[index];
        if table.failed {
            return Ok(None);
        }
        if let Some(error) = self.conflict(index, relation, types).await? {
            self.give_up(index, error, out);
            return Ok(None);
        }
        self.warn_of_new_columns(index, relation);
        let table = &self.tables[index];
        let target = Target::new(index, table, relation, types, absent);
        let keyed = |name: &String| relation.columns.iter().any(|c| c.key && c.name == *name);
        if relation.identity != b'f'
            && !table.table.primary_key.iter().all(keyed)
            && self.warned.keys.insert(relation.oid)
        {
            tracing::warn!(
                "The replica identity of {} does not hold its whole primary key: records of deleted rows, and of rows whose key changes, \
                 lack columns of it. Run ALTER TABLE {} REPLICA IDENTITY DEFAULT (or FULL).",
                table.table.quoted(),
                table.table.quoted()
            );
        }
        Ok(Some(target))
    }

    /// What makes the tuples to come unfit for the stream.
    async fn conflict(
        &mut self,
        index: usize,
        relation: &Relation,
        types: &[ColumnType],
    ) -> Result<Option<Error>> {
        let table = &self.tables[index];
        let own = table.table.oid == relation.oid;
        let mut missing = false;
        for column in table_columns(&table.selected) {
            let Some(cell) = relation.columns.iter().position(|c| c.name == column.name) else {
                missing = true;
                continue;
            };
            let now = FieldType::of(&types[cell].schema());
            let Some(seen) = seen(table, &column.name) else { continue };
            if seen.type_oid == relation.columns[cell].type_oid {
                continue;
            }
            let then = column_types(self.side.connection().await?, &[(seen.type_oid, -1)]).await?;
            let table = &self.tables[index];
            if let Some(then) = then.first().map(|t| FieldType::of(&t.schema()))
                && then != now
                // A type that was dropped meanwhile is read as text, whatever it was.
                && now != column.field_type
            {
                return Ok(Some(changed_type(&table.table, &column.name, column.field_type, now)));
            }
        }
        if missing && own {
            let oid = table.table.oid;
            let now = attributes(self.side.connection().await?, &[oid]).await?;
            return Ok(renamed(&self.tables[index], now.get(&oid)));
        }
        Ok(None)
    }

    fn warn_of_new_columns(&mut self, index: usize, relation: &Relation) {
        let table = &self.tables[index];
        let selected = |name: &str| table.selected.columns.iter().any(|c| c.name == name);
        // Columns that were there and not chosen are no news.
        let known =
            |name: &str| table.table.columns.iter().any(|c| c.name == name && c.number <= table.last_column);
        for column in &relation.columns {
            let name = &column.name;
            if !selected(name) && !known(name) && self.warned.new_columns.insert((relation.oid, name.clone()))
            {
                tracing::warn!(
                    "Table {} has a new column {name:?}, which the catalog does not have; its values are not read. Refresh the schema, and \
                     the table is read anew with it.",
                    table.table.quoted()
                );
            }
        }
    }

    /// Ends a stream with an error; the others go on.
    pub(super) fn give_up(&mut self, index: usize, error: Error, out: &mut Out) {
        let table = &mut self.tables[index];
        table.failed = true;
        tracing::warn!("{error} The other streams are read on.");
        fail(table, error, out);
    }
}

/// Gives a stream up; a later run reads its table anew.
pub(crate) fn fail(table: &Followed, error: Error, out: &mut Out) {
    out.fail(table.stream, error);
    let again = Streaming { again: true, ..Streaming::default() };
    out.set_cursor(table.stream, Some(named(&table.table, Cursor::Streaming(again))));
}

fn seen<'t>(table: &'t Followed, name: &str) -> Option<&'t SeenColumn> {
    table.columns.iter().find(|c| c.name == name)
}

/// The streams that cannot go on because a column of theirs has another name since their state was made.
pub(crate) async fn renamed_since(
    connection: &mut Connection,
    tables: &[Followed],
) -> Result<Vec<(usize, Error)>> {
    let oids: Vec<u32> = tables.iter().filter(|t| !t.columns.is_empty()).map(|t| t.table.oid).collect();
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let now = attributes(connection, &oids).await?;
    let renamed = |(i, t): (usize, &Followed)| renamed(t, now.get(&t.table.oid)).map(|error| (i, error));
    Ok(tables.iter().enumerate().filter_map(renamed).collect())
}

fn renamed(table: &Followed, now: Option<&Attributes>) -> Option<Error> {
    let now = now?;
    let mut names = table_columns(&table.selected).filter_map(|c| seen(table, &c.name));
    names.find_map(|seen| {
        let new = now.get(&seen.number)?.name.as_ref().filter(|name| **name != seen.name)?;
        Some(Error::config(format!(
            "Column {:?} of table {} is called {new:?} now, so its rows in the destination are no longer those of the table. Refresh the \
             schema; the next sync reads the table anew.",
            seen.name,
            table.table.quoted()
        )))
    })
}

fn changed_type(table: &Table, column: &str, was: FieldType, is: FieldType) -> Error {
    Error::config(format!(
        "Column {column:?} of table {} changed its type, and its values are of the type {} now, no longer {}. Refresh the schema; the next \
         sync reads the table anew.",
        table.quoted(),
        spoken(is),
        spoken(was)
    ))
}

/// A field type as words.
fn spoken(field: FieldType) -> String {
    let mut words = String::new();
    for c in format!("{field:?}").chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

/// The columns of these tables, dropped ones too, by table.
async fn attributes(connection: &mut Connection, oids: &[u32]) -> Result<HashMap<u32, Attributes>> {
    let list: Vec<String> = oids.iter().map(u32::to_string).collect();
    let rows = connection
        .query(&format!(
            "SELECT attrelid, attnum, attname, attisdropped FROM pg_catalog.pg_attribute \
             WHERE attrelid = ANY ('{{{}}}'::pg_catalog.oid[]) AND attnum > 0",
            list.join(",")
        ))
        .await?;
    let mut tables: HashMap<u32, Attributes> = HashMap::new();
    for row in &rows {
        let attribute =
            Attribute { name: (!row.flag(3)?).then(|| row.text(2).map(str::to_owned)).transpose()? };
        tables.entry(oid(row, 0)?).or_default().insert(row.int(1)? as i16, attribute);
    }
    Ok(tables)
}

fn oid(row: &Row, column: usize) -> Result<u32> {
    u32::try_from(row.int(column)?)
        .map_err(|e| Error::system("The server's catalog holds an object id out of range.").with_source(e))
}
