//! Columns and their types.

use std::collections::{HashMap, HashSet};

use connector_kit::{Error, Result};
use postgres_kit::{Connection, Row};

use super::{Column, Table, oid, unexpected};
use crate::types::{ColumnType, Locale, TypeInfo};

/// Names of columns by table and number, as indexes have them.
pub(super) type Numbers = HashMap<(u32, i64), String>;

/// Longer chains of domains and arrays are a server's joke.
const DEEPEST: usize = 32;
/// The type `money`, the only one whose values depend on the server's locale.
const MONEY: u32 = 790;

/// The types met so far.
#[derive(Debug, Default)]
pub(super) struct Types {
    rows: HashMap<u32, TypeRow>,
    made: HashMap<(u32, i32), ColumnType>,
    locale: Locale,
}

#[derive(Debug)]
struct TypeRow {
    schema: String,
    name: String,
    kind: char,
    category: char,
    delimiter: char,
    modifier: i32,
    element: u32,
    base: u32,
}

/// Fills in the columns of these tables.
pub(super) async fn add(
    connection: &mut Connection,
    oids: &str,
    tables: &mut HashMap<u32, &mut Table>,
    types: &mut Types,
) -> Result<Numbers> {
    let rows = connection
        .query(&format!(
            "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attgenerated <> '' \
             FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = ANY ({oids}) AND a.attnum > 0 AND NOT a.attisdropped \
             ORDER BY a.attrelid, a.attnum"
        ))
        .await?;
    let granted = granted_one_by_one(connection, tables).await?;
    let needed = rows.iter().map(|row| oid(row, 3)).collect::<Result<Vec<_>>>()?;
    types.learn(connection, &needed).await?;
    let mut numbers = Numbers::with_capacity(rows.len());
    for row in &rows {
        let relation = oid(row, 0)?;
        let Some(table) = tables.get_mut(&relation) else {
            return Err(unexpected("columns of a table"));
        };
        let name = row.text(2)?;
        let (type_oid, modifier) = (oid(row, 3)?, modifier(row, 4)?);
        let number = row.int(1)?;
        let selectable = table.wholly_selectable || granted.contains(&(relation, number));
        numbers.insert((relation, number), name.to_owned());
        table.columns.push(Column {
            number: i16::try_from(number).map_err(|e| unexpected("a column number").with_source(e))?,
            name: name.to_owned(),
            type_: types.column_type(type_oid, modifier)?,
            type_oid,
            modifier,
            generated: row.flag(5)?,
            selectable,
        });
    }
    Ok(numbers)
}

/// The columns that the user may read of tables of which she may not read all. Asking for
/// each column of the others as well would take longer than everything else.
async fn granted_one_by_one(
    connection: &mut Connection,
    tables: &HashMap<u32, &mut Table>,
) -> Result<HashSet<(u32, i64)>> {
    let partly = tables.values().filter(|t| t.selectable && !t.wholly_selectable);
    let oids: Vec<String> = partly.map(|t| t.oid.to_string()).collect();
    if oids.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = connection
        .query(&format!(
            "SELECT attrelid, attnum FROM pg_catalog.pg_attribute \
             WHERE attrelid = ANY ('{{{}}}'::pg_catalog.oid[]) AND attnum > 0 AND NOT attisdropped \
               AND pg_catalog.has_column_privilege(attrelid, attnum, 'SELECT')",
            oids.join(",")
        ))
        .await?;
    rows.iter().map(|row| Ok((oid(row, 0)?, row.int(1)?))).collect()
}

/// The types of columns that may be of another day than the catalog, by OID and modifier. One
/// that does not exist any more is read as text.
pub(crate) async fn column_types(
    connection: &mut Connection,
    columns: &[(u32, i32)],
) -> Result<Vec<ColumnType>> {
    let mut types = Types::default();
    let needed: Vec<u32> = columns.iter().map(|(oid, _)| *oid).collect();
    types.learn(connection, &needed).await?;
    let of = |(oid, modifier): &(u32, i32)| match types.rows.contains_key(oid) {
        true => types.column_type(*oid, *modifier),
        false => Ok(ColumnType::of(&gone(), *modifier, types.locale)),
    };
    columns.iter().map(of).collect()
}

fn gone() -> TypeInfo {
    TypeInfo {
        schema: String::new(),
        name: String::new(),
        kind: 'b',
        category: 'U',
        delimiter: ',',
        modifier: -1,
        element: None,
        base: None,
    }
}

impl Types {
    /// Asks for what these columns need and is not known yet, down to elements and bases.
    async fn learn(&mut self, connection: &mut Connection, needed: &[u32]) -> Result<()> {
        let mut new: Vec<u32> = needed.iter().copied().filter(|oid| !self.rows.contains_key(oid)).collect();
        new.sort_unstable();
        new.dedup();
        if new.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = new.iter().map(u32::to_string).collect();
        let rows = connection
            .query(&format!(
                "WITH RECURSIVE needed (oid) AS ( \
                   SELECT pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) \
                   UNION \
                   SELECT CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END \
                   FROM needed JOIN pg_catalog.pg_type t ON t.oid = needed.oid \
                   WHERE t.typtype = 'd' OR t.typcategory = 'A' AND t.typelem <> 0) \
                 SELECT t.oid, n.nspname, t.typname, t.typtype, t.typcategory, t.typdelim, t.typtypmod, \
                   CASE WHEN t.typtype <> 'd' AND t.typcategory = 'A' THEN t.typelem ELSE 0 END, \
                   CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE 0 END \
                 FROM needed JOIN pg_catalog.pg_type t ON t.oid = needed.oid \
                   JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace",
                list.join(",")
            ))
            .await?;
        for row in &rows {
            self.rows.insert(
                oid(row, 0)?,
                TypeRow {
                    schema: row.text(1)?.to_owned(),
                    name: row.text(2)?.to_owned(),
                    kind: letter(row, 3)?,
                    category: letter(row, 4)?,
                    delimiter: letter(row, 5)?,
                    modifier: modifier(row, 6)?,
                    element: oid(row, 7)?,
                    base: oid(row, 8)?,
                },
            );
        }
        if self.rows.contains_key(&MONEY) && new.iter().any(|oid| self.reaches_money(*oid)) {
            let digits = connection.query(Locale::QUERY).await?;
            let digits = digits.first().ok_or_else(|| unexpected("no money format"))?.int(0)?;
            let digits = u8::try_from(digits).map_err(|e| unexpected("a money format").with_source(e))?;
            self.locale = Locale { money_fraction_digits: digits };
            self.made.clear();
        }
        Ok(())
    }

    fn reaches_money(&self, oid: u32) -> bool {
        let mut oid = oid;
        for _ in 0..DEEPEST {
            match self.rows.get(&oid) {
                _ if oid == MONEY => return true,
                Some(row) => oid = row.element.max(row.base),
                None => return false,
            }
        }
        false
    }

    fn column_type(&mut self, oid: u32, modifier: i32) -> Result<ColumnType> {
        if let Some(made) = self.made.get(&(oid, modifier)) {
            return Ok(made.clone());
        }
        let made = ColumnType::of(&self.info(oid, DEEPEST)?, modifier, self.locale);
        self.made.insert((oid, modifier), made.clone());
        Ok(made)
    }

    fn info(&self, oid: u32, depth: usize) -> Result<TypeInfo> {
        let row = self.rows.get(&oid).ok_or_else(|| unexpected("no type for a column"))?;
        if depth == 0 {
            return Err(unexpected("a type inside of itself"));
        }
        let inner = |oid: u32| match oid {
            0 => Ok(None),
            _ => self.info(oid, depth - 1).map(|info| Some(Box::new(info))),
        };
        Ok(TypeInfo {
            schema: row.schema.clone(),
            name: row.name.clone(),
            kind: row.kind,
            category: row.category,
            delimiter: row.delimiter,
            modifier: row.modifier,
            element: inner(row.element)?,
            base: inner(row.base)?,
        })
    }
}

fn letter(row: &Row, column: usize) -> Result<char, Error> {
    row.text(column)?.chars().next().ok_or_else(|| unexpected("an empty mark"))
}

fn modifier(row: &Row, column: usize) -> Result<i32, Error> {
    i32::try_from(row.int(column)?).map_err(|e| unexpected("a type modifier").with_source(e))
}
