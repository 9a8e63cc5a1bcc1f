//! Values that an update did not touch and that are stored out of line (TOAST) are not in the
//! log, unless the table's replica identity is FULL. They are read from the table, by the
//! row's key. So are columns that the messages do not have: those added after the change, and
//! generated ones. Meanwhile the messages that follow wait here, so that records keep their order.
//!
//! The value read is that of now, not that of the update. The records still end at the
//! truth: if the value changed after this update, the update that changed it comes later in
//! the log and carries it whole. If the row is gone, or has another key, then so does the
//! message that says it: the null in its place, marked in the record's `meta.changes`, is
//! superseded by that delete. A row that is not there *yet* is waited for: a transaction can
//! be in the log before others may see it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use connector_kit::{Error, Result, tracing};
use postgres_kit::{Connection, quote_identifier, quote_literal, server_error};

use super::cells::Value;
use super::relation::{After, Known};
use super::visibility::Visibility;

/// Messages wait for a query of so many rows, or of so many bytes.
const MOST_ROWS: usize = 500;
const MOST_BYTES: usize = 8 << 20;
/// The first query is small: nobody knows yet how large the values are.
const FIRST_ROWS: usize = 16;
/// How long a row may take to become visible; a synchronous standby can hold it up.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);

/// A row to be read again: its relation and its key.
type Address = (u32, Vec<u8>);
/// The values of a row, by cell.
pub(crate) type Values = Vec<(usize, Option<String>)>;

/// Messages that wait, and what they wait for.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// As in a buffer of [`super::wal`].
    pub(crate) entries: Vec<u8>,
    wanted: HashMap<u32, Wanted>,
    rows: usize,
    limit: usize,
}

#[derive(Debug, Default)]
struct Wanted {
    cells: BTreeSet<usize>,
    /// By key, with the transactions that need it.
    keys: HashMap<Vec<u8>, u32>,
}

impl Default for Deferred {
    fn default() -> Self {
        Self { entries: Vec::new(), wanted: HashMap::new(), rows: 0, limit: FIRST_ROWS }
    }
}

impl Deferred {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows >= self.limit || self.entries.len() >= MOST_BYTES
    }

    /// Forgets everything: the server sends it again.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.wanted.clear();
        self.rows = 0;
    }

    /// Notes what an update lacks, if anything; says whether it has to wait.
    pub(crate) fn note(&mut self, known: &Known, after: &After<'_>, xid: u32) -> bool {
        let lacks = |cell: &usize| {
            let (_, key) = known.column(*cell);
            after.value(*cell, key) == Value::Unchanged && known.wants(*cell)
        };
        let lacking: Vec<usize> = (0..known.width()).filter(lacks).collect();
        if lacking.is_empty() {
            return false;
        }
        let Some(key) = key_of(known, after) else { return false };
        let wanted = self.wanted.entry(known.relation.oid).or_default();
        wanted.cells.extend(lacking);
        if wanted.keys.insert(key, xid).is_none() {
            self.rows += 1;
        }
        true
    }

    /// Reads what is lacking.
    pub(crate) async fn fetch(
        &mut self,
        connection: &mut Connection,
        relations: &HashMap<u32, Known>,
    ) -> Result<HashMap<Address, Values>> {
        let mut found = HashMap::new();
        let mut largest = 0;
        for (oid, wanted) in std::mem::take(&mut self.wanted) {
            let Some(known) = relations.get(&oid) else { continue };
            let mut missing = wanted.keys;
            let cells: Vec<usize> = wanted.cells.into_iter().collect();
            largest = largest.max(read(connection, known, &cells, &mut missing, &mut found).await?);
            if !missing.is_empty() {
                wait_for(connection, missing.values()).await?;
                read(connection, known, &cells, &mut missing, &mut found).await?;
            }
        }
        self.limit = (MOST_BYTES / largest.max(1)).clamp(1, MOST_ROWS).min(self.limit * 4);
        self.rows = 0;
        Ok(found)
    }
}

/// The row's key as one text; `None` without a key.
pub(crate) fn key_of(known: &Known, after: &After<'_>) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    for cell in &known.key {
        let Value::Text(text) = after.value(*cell, true) else { return None };
        push_part(&mut key, text);
    }
    (!key.is_empty()).then_some(key)
}

fn push_part(key: &mut Vec<u8>, part: &[u8]) {
    key.extend_from_slice(&(part.len() as u32).to_le_bytes());
    key.extend_from_slice(part);
}

fn parts(mut key: &[u8]) -> Vec<String> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = key.split_first_chunk::<4>() {
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).unwrap_or_default();
        parts.push(String::from_utf8_lossy(part).into_owned());
        key = rest;
    }
    parts
}

/// One query; what it finds goes from `missing` to `found`. Returns the size of the largest row.
async fn read(
    connection: &mut Connection,
    known: &Known,
    cells: &[usize],
    missing: &mut HashMap<Vec<u8>, u32>,
    found: &mut HashMap<Address, Values>,
) -> Result<usize> {
    let relation = &known.relation;
    let column = |cell: &usize| quote_identifier(known.column(*cell).0);
    let list = |cells: &[usize]| cells.iter().map(column).collect::<Vec<_>>().join(", ");
    let literals = |key: &Vec<u8>| parts(key).iter().map(|p| quote_literal(p)).collect::<Vec<_>>().join(", ");
    let keys: Vec<String> = missing.keys().map(|key| format!("({})", literals(key))).collect();
    let one_column = known.key.len() == 1;
    let sql = format!(
        "SELECT {keys}, {values} FROM {schema}.{name} WHERE {left} IN ({right})",
        keys = list(&known.key),
        values = list(cells),
        schema = quote_identifier(&relation.schema),
        name = quote_identifier(&relation.name),
        left = if one_column { list(&known.key) } else { format!("({})", list(&known.key)) },
        right = keys.join(", "),
    );
    let rows = match connection.query(&sql).await {
        Ok(rows) => rows,
        // The table or a column is not there any more, or has another name: the rows are gone for us.
        Err(error) if is_gone(&error) => {
            tracing::warn!(
                "Values of {}.{} that changes did not touch cannot be read any more and are null, each noted in its record: {error}",
                relation.schema,
                relation.name
            );
            missing.clear();
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    let mut largest = 0;
    for row in &rows {
        let mut key = Vec::new();
        for part in 0..known.key.len() {
            push_part(&mut key, row.get(part).unwrap_or_default().as_bytes());
        }
        missing.remove(&key);
        let value = |(i, cell): (usize, &usize)| (*cell, row.get(known.key.len() + i).map(str::to_owned));
        let values: Values = cells.iter().enumerate().map(value).collect();
        largest = largest.max(values.iter().map(|(_, v)| v.as_ref().map_or(0, String::len)).sum());
        found.insert((relation.oid, key), values);
    }
    Ok(largest)
}

fn is_gone(error: &Error) -> bool {
    server_error(error).is_some_and(|e| matches!(e.code.as_str(), "42P01" | "42703" | "3F000"))
}

/// Waits until these transactions can be seen.
async fn wait_for(connection: &mut Connection, xids: impl Iterator<Item = &u32>) -> Result<()> {
    let xids: BTreeSet<u32> = xids.copied().collect();
    let began = tokio::time::Instant::now();
    loop {
        let rows = connection.query("SELECT pg_catalog.pg_current_snapshot()::text").await?;
        let now: Visibility = match rows.first() {
            Some(row) => row.text(0)?.parse()?,
            None => return Err(Error::system("The server did not answer what its snapshot is.")),
        };
        if xids.iter().all(|xid| now.sees(*xid)) {
            return Ok(());
        }
        if began.elapsed() > VISIBLE_WITHIN {
            return Err(Error::transient(
                "A transaction is in the log, but the server does not show it to others yet: it may be waiting for a synchronous standby. \
                 Sync again once that has answered.",
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{parts, push_part};

    #[test]
    fn keys_of_several_columns_are_not_confused() {
        let mut key = Vec::new();
        for part in ["a", "", "b'c"] {
            push_part(&mut key, part.as_bytes());
        }
        assert_eq!(parts(&key), ["a", "", "b'c"]);
        let mut other = Vec::new();
        for part in ["", "a", "b'c"] {
            push_part(&mut other, part.as_bytes());
        }
        assert_ne!(key, other);
    }
}
