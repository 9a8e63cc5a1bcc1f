//! Tables: what is there, making them, and giving them columns that they lack.

use arrow_schema::Schema;
use connector_kit::{Error, Result, SelectedStream, tracing};
use flight_kit::Fault;

use crate::names::{ADDED, Place, StreamNames, folder_sql, quote};
use crate::session::{Session, explained};
use crate::types::ColumnType;

/// The columns of a stream's table, the added ones first.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) columns: Vec<String>,
    pub(crate) types: Vec<ColumnType>,
}

impl Layout {
    pub(crate) fn new(stream: &SelectedStream, names: &StreamNames) -> Self {
        let added = [ColumnType::Varchar, ColumnType::Timestamp, ColumnType::Varchar, ColumnType::BigInt];
        let own = stream.columns.iter().map(|column| ColumnType::of(column.field_type));
        let columns = ADDED.iter().map(|name| (*name).to_owned()).chain(names.columns.iter().cloned());
        Self { columns: columns.collect(), types: added.into_iter().chain(own).collect() }
    }

    fn definitions<'a>(columns: impl Iterator<Item = (&'a String, &'a ColumnType)>) -> String {
        columns.map(|(name, kind)| format!("{} {}", quote(name), kind.sql())).collect::<Vec<_>>().join(", ")
    }

    fn all(&self) -> String {
        Self::definitions(self.columns.iter().zip(&self.types))
    }

    /// All columns' names, for SQL.
    pub(crate) fn list(&self) -> String {
        self.columns.iter().map(|c| quote(c)).collect::<Vec<_>>().join(", ")
    }

    /// What a table that is there lacks, for ALTER TABLE; `None` if nothing.
    ///
    /// # Errors
    /// When it is not ours, or holds a column of another type.
    fn missing(&self, table: &Place, found: &Schema) -> Result<Option<String>> {
        let find =
            |name: &str| found.fields().iter().find(|f| f.name().to_lowercase() == name.to_lowercase());
        if let Some(lacking) = ADDED.iter().find(|name| find(name).is_none()) {
            return Err(Error::config(format!(
                "There is a table {table} already that this destination did not make: it has no column {lacking}. Rename or drop it, or choose another path in `dataset`."
            )));
        }
        let changed: Vec<String> = self
            .columns
            .iter()
            .zip(&self.types)
            .filter_map(|(name, kind)| {
                let field = find(name)?;
                (!kind.is(field.data_type())).then(|| format!("{name:?} is not {}", kind.sql()))
            })
            .collect();
        if !changed.is_empty() {
            return Err(Error::config(format!(
                "The type of a column has changed: in the table {table}, {}. Dremio cannot change it where rows are; refresh the stream into a new table, by dropping or renaming this one.",
                changed.join(", ")
            )));
        }
        let lacking: Vec<_> =
            self.columns.iter().zip(&self.types).filter(|(name, _)| find(name).is_none()).collect();
        Ok((!lacking.is_empty()).then(|| Self::definitions(lacking.into_iter())))
    }
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Nothing,
    Table,
    /// A view of ours, of the first or second of the tables that take turns.
    ViewOf(usize),
}

/// Looks what readers see of a stream.
pub(crate) async fn look(session: &Session, names: &StreamNames) -> Result<Standing> {
    let place = &names.public;
    let doing = format!("look for the table {place}");
    let literal = |text: &str| text.to_lowercase().replace('\'', "''");
    let at = format!(
        "WHERE LOWER(TABLE_SCHEMA) = '{}' AND LOWER(TABLE_NAME) = '{}'",
        literal(&place.folder.join(".")),
        literal(&place.name)
    );
    let sql = format!("SELECT TABLE_TYPE FROM INFORMATION_SCHEMA.\"TABLES\" {at}");
    let kinds = session.ask(&doing, &sql).await?.texts(0);
    match kinds.first().map(String::as_str) {
        None => return Ok(Standing::Nothing),
        Some("VIEW") => {}
        Some(_) => return Ok(Standing::Table),
    }
    let sql = format!("SELECT VIEW_DEFINITION FROM INFORMATION_SCHEMA.VIEWS {at}");
    let definition = session.ask(&doing, &sql).await?.texts(0).concat();
    // Ours end in the table's path, which may come back without quotes.
    let definition = definition.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '"' | ';'));
    let of = |turn: &usize| definition.ends_with(&names.turns[*turn].name);
    [0, 1].into_iter().find(of).map(Standing::ViewOf).ok_or_else(|| {
        Error::config(format!(
            "There is a view {place} already that this destination did not make. Rename or drop it, or choose another path in `dataset`."
        ))
    })
}

/// Makes a table unless it is there.
pub(crate) async fn create(session: &Session, table: &Place, layout: &Layout) -> Result<()> {
    create_with(session, &format!("create the table {table}"), table, &layout.all()).await
}

/// The same, with columns as SQL has them.
pub(crate) async fn create_with(session: &Session, doing: &str, table: &Place, columns: &str) -> Result<()> {
    let sql = format!("CREATE TABLE IF NOT EXISTS {} ({columns})", table.sql());
    let error = match session.attempt(doing, &sql).await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    // Catalogs want their folders made; stores have them as soon as something is in them.
    if table.folder.len() > 1 && matches!(error.fault(), Fault::Missing | Fault::Refused | Fault::Failed) {
        let mut made = false;
        for depth in 2..=table.folder.len() {
            let folder = folder_sql(&table.folder[..depth]);
            let sql = format!("CREATE FOLDER IF NOT EXISTS {folder}");
            // One that is there may be somebody else's; only the last one counts.
            made = session.attempt(&format!("create the folder {folder}"), &sql).await.is_ok();
        }
        if made {
            return session.settle(doing, &sql).await;
        }
    }
    Err(explained(doing, error))
}

/// Makes a table anew, without rows.
pub(crate) async fn create_anew(session: &Session, table: &Place, layout: &Layout) -> Result<()> {
    drop_table(session, table).await?;
    create(session, table, layout).await
}

/// Drops a table if it is there.
pub(crate) async fn drop_table(session: &Session, table: &Place) -> Result<()> {
    let doing = format!("drop the table {table}");
    match session.attempt(&doing, &format!("DROP TABLE IF EXISTS {}", table.sql())).await {
        // In a folder that is not there, nothing is.
        Err(error) if error.fault() == Fault::Missing => Ok(()),
        done => done.map_err(|error| explained(&doing, error)),
    }
}

/// Gives a table the columns that it lacks; whether there were any.
pub(crate) async fn evolve(session: &Session, table: &Place, layout: &Layout) -> Result<bool> {
    let Some(columns) = layout.missing(table, &columns_of(session, table).await?)? else { return Ok(false) };
    tracing::info!("The table {table} gets new columns: {columns}.");
    let doing = format!("add columns to the table {table}");
    let sql = format!("ALTER TABLE {} ADD COLUMNS ({columns})", table.sql());
    match session.attempt(&doing, &sql).await {
        Ok(()) => Ok(true),
        // It may have been done, and the answer lost.
        Err(error) => match layout.missing(table, &columns_of(session, table).await?)? {
            None => Ok(true),
            Some(_) => Err(explained(&doing, error)),
        },
    }
}

/// Whether a table has, or can get, the layout's columns.
pub(crate) async fn can_hold(session: &Session, table: &Place, layout: &Layout) -> Result<bool> {
    Ok(layout.missing(table, &columns_of(session, table).await?).is_ok())
}

async fn columns_of(session: &Session, table: &Place) -> Result<Schema> {
    let sql = format!("SELECT * FROM {} LIMIT 0", table.sql());
    session.columns(&format!("look at the columns of the table {table}"), &sql).await
}

#[cfg(test)]
mod tests {
    use super::Layout;
    use crate::names::Place;
    use crate::types::ColumnType;
    use arrow_schema::{DataType, Field, Schema, TimeUnit};

    fn layout(own: &[(&str, ColumnType)]) -> Layout {
        let mut layout = Layout {
            columns: crate::names::ADDED.map(str::to_owned).to_vec(),
            types: vec![ColumnType::Varchar, ColumnType::Timestamp, ColumnType::Varchar, ColumnType::BigInt],
        };
        for (name, kind) in own {
            layout.columns.push((*name).to_owned());
            layout.types.push(*kind);
        }
        layout
    }

    fn found(own: &[(&str, DataType)]) -> Schema {
        let added = [
            ("_airbyte_raw_id", DataType::Utf8),
            ("_airbyte_extracted_at", DataType::Timestamp(TimeUnit::Millisecond, None)),
            ("_airbyte_meta", DataType::Utf8),
            ("_airbyte_generation_id", DataType::Int64),
        ];
        Schema::new(added.iter().chain(own).map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>())
    }

    fn missing(layout: &Layout, found: &Schema) -> Result<Option<String>, String> {
        let table = Place { folder: vec!["lake".into()], name: "t".into() };
        layout.missing(&table, found).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn only_what_lacks_is_added_whatever_the_case() {
        let layout =
            layout(&[("Id", ColumnType::BigInt), ("at", ColumnType::Date), ("x\"y", ColumnType::Varchar)]);
        let lacking = missing(&layout, &found(&[("ID", DataType::Int64), ("gone", DataType::Utf8)]));
        assert_eq!(lacking, Ok(Some("\"at\" DATE, \"x\"\"y\" VARCHAR".into())));
        let whole = found(&[("id", DataType::Int64), ("at", DataType::Date64), ("x\"y", DataType::Utf8)]);
        assert_eq!(missing(&layout, &whole), Ok(None));
    }

    #[test]
    fn a_changed_type_and_a_strangers_table_are_named() {
        let layout = layout(&[("id", ColumnType::BigInt)]);
        let error = missing(&layout, &found(&[("id", DataType::Utf8)])).unwrap_err();
        assert!(error.contains("\"id\" is not BIGINT") && error.contains("lake.t"), "{error}");
        let theirs = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
        let error = missing(&layout, &theirs).unwrap_err();
        assert!(error.contains("did not make") && error.contains("_airbyte_raw_id"), "{error}");
    }
}
