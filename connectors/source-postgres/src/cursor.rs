//! Incremental reads by a column that grows.
//!
//! A read ends with a value and with what it could see (its snapshot): every row visible then whose
//! value was at most this one has been sent. The next read sends rows with a greater value, and rows
//! that could not be seen then although their value is not greater: those of transactions that were
//! still open, or whose clock was behind. Rows that share the last value therefore need no counting.
//!
//! Transactions are compared by age from the oldest one open at that time, so that nothing is missed
//! (a savepoint has an id of its own, which a snapshot does not list); rows committed between that one
//! and the snapshot come again.

use connector_kit::tracing::{info, warn};
use connector_kit::{Error, Result, StreamOutput};
use postgres_kit::{Connection, quote_identifier, quote_literal};

use crate::blocks::{TableRead, Then};
use crate::row::CopyDecoder;
use crate::selection::Selection;
use crate::snapshot::{View, open, take};
use crate::state::{Cursor, Named, TableSnapshot, ValueCursor};
use crate::types::ColumnType;

/// How far behind the last value late rows are looked for, where the cursor is a time: longer than
/// transactions last, short enough for an index to be of use.
pub(crate) const LATE_WINDOW: &str = "1 hour";
/// A snapshot older than this many transactions is replaced even when nothing new was read,
/// long before ages of transactions wrap around.
const MOST_AGE: u64 = 500_000_000;
/// Offering a checkpoint at every new value would cost more than the rows.
const VALUES_PER_CHECKPOINT: u32 = 1000;

/// The column.
#[derive(Clone, Debug)]
pub(crate) struct CursorColumn {
    pub(crate) name: String,
    pub(crate) type_: ColumnType,
    /// An index begins with it: ordering and counting are cheap.
    pub(crate) indexed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Timestamp { utc: bool },
    Date,
    Other,
}

impl CursorColumn {
    fn quoted(&self) -> String {
        quote_identifier(&self.name)
    }

    fn order(&self) -> Order {
        let schema = self.type_.schema();
        match (schema["format"].as_str(), schema["airbyte_type"].as_str()) {
            (Some("date-time"), kind) => Order::Timestamp { utc: kind == Some("timestamp_with_timezone") },
            (Some("date"), _) => Order::Date,
            _ => Order::Other,
        }
    }

    /// The server's text of a value as states hold it: ISO 8601 with its T, and Z for UTC. The server
    /// reads both.
    fn state_text(&self, server: &str) -> String {
        let Order::Timestamp { utc } = self.order() else { return server.to_owned() };
        let mut text = server.to_owned();
        // "2024-01-02 03:04:05.6+00 BC": the first space stands between digits.
        if let Some(space) =
            text.find(' ').filter(|at| text.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit))
        {
            text.replace_range(space..=space, "T");
        }
        if utc && let Some(at) = text.find("+00") {
            text.replace_range(at..at + 3, "Z");
        }
        text
    }
}

/// The greatest value under the view of a first read.
#[derive(Debug)]
pub(crate) struct ThenValue<'a> {
    pub(crate) read: &'a TableRead<'a>,
    pub(crate) column: &'a CursorColumn,
}

impl Then for ThenValue<'_> {
    async fn then(
        &self,
        connection: &mut Connection,
        view: &View,
    ) -> Result<(TableSnapshot, Option<Cursor>)> {
        let value = greatest(connection, self.read, self.column, None).await?;
        let count = count(connection, self.read, self.column, value.as_deref()).await?;
        let cursor = ValueCursor {
            field: self.column.name.clone(),
            value: value.map(|v| self.column.state_text(&v)),
            count,
            snapshot: Some(view.snapshot.clone()),
        };
        Ok((view.snapshot.clone(), Some(Cursor::Value(cursor))))
    }
}

async fn greatest(
    connection: &mut Connection,
    read: &TableRead<'_>,
    column: &CursorColumn,
    condition: Option<&str>,
) -> Result<Option<String>> {
    let _running = read.meter.query();
    let condition = condition.map_or_else(String::new, |c| format!(" WHERE {c}"));
    let sql = format!("SELECT max({})::text FROM {}{condition}", column.quoted(), read.table.quoted());
    let rows = connection.query(&sql).await?;
    Ok(rows.first().and_then(|row| row.get(0)).map(str::to_owned))
}

/// How many rows hold the value: for other programs that read our states. Only where an index
/// makes it cheap.
async fn count(
    connection: &mut Connection,
    read: &TableRead<'_>,
    column: &CursorColumn,
    value: Option<&str>,
) -> Result<Option<u64>> {
    let Some(value) = value.filter(|_| column.indexed) else { return Ok(None) };
    let _running = read.meter.query();
    let sql = format!(
        "SELECT count(*) FROM {} WHERE {} = {}",
        read.table.quoted(),
        column.quoted(),
        quote_literal(value)
    );
    let rows = connection.query(&sql).await?;
    Ok(rows.first().and_then(|row| row.get(0)).and_then(|text| text.parse().ok()))
}

/// Sends what is new since `from`, and the state after it.
pub(crate) async fn read_values<O: StreamOutput<Named>>(
    read: &TableRead<'_>,
    column: &CursorColumn,
    from: ValueCursor,
    out: &mut O,
) -> Result<()> {
    if from.field != column.name {
        return Err(Error::config(format!(
            "The state of table {} is by cursor {:?}, the catalog asks for {:?}. Clear the stream's state to read \
             it by another cursor.",
            read.table.descriptor(),
            from.field,
            column.name
        )));
    }
    let mut connection = open(read.endpoint).await?;
    let _open = read.meter.opened();
    let view = take(&mut connection, read.table, false).await?;
    let mut reader = Reader { read, column, view: &view, connection: &mut connection, out };
    let before = reader.out.records();
    let has_blocks = view.filenode.is_some();
    let seen = from.snapshot.as_ref().filter(|_| has_blocks).and_then(TableSnapshot::bounds);
    match seen {
        Some(bounds) => reader.late(&from, bounds).await?,
        None => reader.report_nulls().await?,
    }
    let last = reader.newer(&from, seen.is_some()).await?;
    let sent = reader.out.records() - before;
    let old = match (seen, view.snapshot.bounds()) {
        (Some((xmin, _)), Some((now, _))) => now.saturating_sub(xmin) > MOST_AGE,
        _ => true,
    };
    if sent == 0 && !old && last.is_none() {
        // What the earlier state says is still true, word for word.
        return Ok(());
    }
    let count = match &last {
        Some(value) => count(&mut connection, read, column, Some(value)).await?,
        None => count(&mut connection, read, column, from.value.as_deref()).await?,
    };
    let value = last.map(|v| column.state_text(&v)).or(from.value);
    connection.execute("COMMIT").await?;
    out.checkpoint(&named(read, ValueCursor { count, value, ..at(column, &view) }))
}

fn at(column: &CursorColumn, view: &View) -> ValueCursor {
    ValueCursor {
        field: column.name.clone(),
        value: None,
        count: None,
        snapshot: view.filenode.is_some().then(|| view.snapshot.clone()),
    }
}

fn named(read: &TableRead<'_>, cursor: ValueCursor) -> Named {
    Named {
        stream: read.table.name.clone(),
        namespace: read.table.schema.clone(),
        cursor: Cursor::Value(cursor),
    }
}

struct Reader<'r, O> {
    read: &'r TableRead<'r>,
    column: &'r CursorColumn,
    view: &'r View,
    connection: &'r mut Connection,
    out: &'r mut O,
}

impl<O: StreamOutput<Named>> Reader<'_, O> {
    /// Rows that the earlier read could not see although its cursor is past them, and rows
    /// without a cursor value that came since.
    async fn late(&mut self, from: &ValueCursor, (xmin, xmax): (u64, u64)) -> Result<()> {
        let since = format!("age(xmin) <= age('{}'::xid)", xmin & 0xFFFF_FFFF);
        let column = self.column.quoted();
        if let Some(value) = &from.value {
            let value = quote_literal(value);
            match self.column.order() {
                Order::Timestamp { utc } => {
                    let type_ = if utc { "timestamptz" } else { "timestamp" };
                    let least = format!("{value}::{type_} - interval '{LATE_WINDOW}'");
                    self.copy(&format!("{column} <= {value} AND {column} >= {least} AND {since}")).await?;
                }
                Order::Date => {
                    self.copy(&format!("{column} <= {value} AND {column} >= {value}::date - 1 AND {since}"))
                        .await?;
                }
                // Such values come from sequences and counters: a row can only be late if its
                // transaction was open, and then no window says how far.
                Order::Other if xmin < xmax => self.copy(&format!("{column} <= {value} AND {since}")).await?,
                Order::Other => {}
            }
        }
        let before = self.out.records();
        self.copy(&format!("{column} IS NULL AND {since}")).await?;
        let nulls = self.out.records() - before;
        if nulls > 0 {
            info!(
                "Table {}: {nulls} new or changed rows have no value in cursor {:?}; they were read by their transaction.",
                self.read.table.descriptor(),
                self.column.name
            );
        }
        Ok(())
    }

    /// Where rows cannot be told by their transaction, those without a value stay unread: say so.
    async fn report_nulls(&mut self) -> Result<()> {
        let _running = self.read.meter.query();
        let table = self.read.table.quoted();
        let sql = format!("SELECT count(*) FROM {table} WHERE {} IS NULL", self.column.quoted());
        let rows = self.connection.query(&sql).await?;
        let nulls = rows.first().and_then(|row| row.get(0)).unwrap_or("0");
        if nulls != "0" {
            warn!(
                "Table {}: {nulls} rows have no value in cursor {:?} and are not in this incremental read. Choose a \
                 cursor without nulls, or refresh the stream.",
                self.read.table.descriptor(),
                self.column.name
            );
        }
        Ok(())
    }

    /// Rows beyond the cursor. Returns the last value as the server writes it, if there was one.
    async fn newer(&mut self, from: &ValueCursor, exact: bool) -> Result<Option<String>> {
        let column = self.column.quoted();
        let condition = match &from.value {
            None => format!("{column} IS NOT NULL"),
            Some(value) => {
                let operator =
                    if exact || self.boundary_is_unchanged(from, value).await? { ">" } else { ">=" };
                format!("{column} {operator} {}", quote_literal(value))
            }
        };
        if self.column.indexed {
            self.ordered(&condition).await
        } else {
            // Without an index the rows come in no order, so there is no place to resume at but the end.
            let before = self.out.records();
            self.copy(&condition).await?;
            if self.out.records() == before {
                return Ok(None);
            }
            greatest(self.connection, self.read, self.column, Some(&condition)).await
        }
    }

    /// A state without a snapshot may have a count of the rows at its value; as long as it is
    /// right, all of them were read.
    async fn boundary_is_unchanged(&mut self, from: &ValueCursor, value: &str) -> Result<bool> {
        let Some(counted) = from.count else { return Ok(false) };
        let indexed = CursorColumn { indexed: true, ..self.column.clone() };
        Ok(count(self.connection, self.read, &indexed, Some(value)).await? == Some(counted))
    }

    /// Rows in the order of the cursor, with checkpoints where its value changes.
    async fn ordered(&mut self, condition: &str) -> Result<Option<String>> {
        let column = self.column.quoted();
        let sql = self.query(&format!("{column}::text"), condition, &format!(" ORDER BY r.{column}"));
        let _running = self.read.meter.query();
        self.connection.copy_out(&sql).await?;
        let mut decoder = self.decoder(1);
        let mut last: Option<Vec<u8>> = None;
        let mut passed = 0;
        loop {
            while let Some(mut data) = self.connection.next_copy_data()? {
                while let Some(mut tuple) = decoder.tuple(&mut data)? {
                    let value = tuple.leading()?.unwrap_or_default();
                    if last.as_deref() != Some(value) {
                        passed += 1;
                        if passed % VALUES_PER_CHECKPOINT == 0
                            && let Some(complete) = &last
                        {
                            let value = self.column.state_text(&utf8(complete)?);
                            let cursor = ValueCursor { value: Some(value), ..at(self.column, self.view) };
                            self.out.checkpoint(&named(self.read, cursor))?;
                        }
                        let slot = last.get_or_insert_default();
                        slot.clear();
                        slot.extend_from_slice(value);
                    }
                    let mut row = self.out.row();
                    tuple.write(&mut row)?;
                    self.read.selection.write_constants(&mut row);
                    row.end()?;
                }
            }
            if self.connection.copy_finished() {
                break;
            }
            self.connection.fill().await?;
        }
        decoder.finish()?;
        last.map(|value| utf8(&value)).transpose()
    }

    /// Rows in any order.
    async fn copy(&mut self, condition: &str) -> Result<()> {
        let sql = self.query("", condition, "");
        let _running = self.read.meter.query();
        copy_rows(self.connection, &sql, self.decoder(0), self.read.selection, self.out).await
    }

    fn query(&self, leading: &str, condition: &str, order: &str) -> String {
        select(self.read, leading, condition, order)
    }

    fn decoder(&self, leading: usize) -> CopyDecoder {
        CopyDecoder::new(self.read.table.descriptor().to_string(), leading, self.read.selection.decoded())
    }
}

fn utf8(value: &[u8]) -> Result<String> {
    String::from_utf8(value.to_vec()).map_err(|e| {
        Error::config("The cursor column holds bytes that are no UTF-8; choose another.").with_source(e)
    })
}

/// `COPY (SELECT leading, the selection FROM the table WHERE condition …)`.
pub(crate) fn select(read: &TableRead<'_>, leading: &str, condition: &str, order: &str) -> String {
    let list = read.selection.list();
    let comma = if leading.is_empty() || list.is_empty() { "" } else { ", " };
    // The alias tells a column from the result column of the same name in ORDER BY.
    format!(
        "COPY (SELECT {leading}{comma}{list} FROM {} AS r WHERE {condition}{order}) TO STDOUT (FORMAT binary)",
        read.table.quoted()
    )
}

/// Sends all rows of a COPY.
pub(crate) async fn copy_rows<O: StreamOutput<Named>>(
    connection: &mut Connection,
    sql: &str,
    mut decoder: CopyDecoder,
    selection: &Selection,
    out: &mut O,
) -> Result<()> {
    connection.copy_out(sql).await?;
    loop {
        while let Some(mut data) = connection.next_copy_data()? {
            while let Some(tuple) = decoder.tuple(&mut data)? {
                let mut row = out.row();
                tuple.write(&mut row)?;
                selection.write_constants(&mut row);
                row.end()?;
            }
        }
        if connection.copy_finished() {
            return decoder.finish();
        }
        connection.fill().await?;
    }
}
