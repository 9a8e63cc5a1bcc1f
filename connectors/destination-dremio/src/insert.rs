//! Rows into one table by INSERT: statements of a bounded size, each done once, whatever becomes of its answer.

use connector_kit::{BatchRow, Error, RAW_ID, Result, tracing};
use flight_kit::{Fault, Statement};

use crate::names::{Place, quote};
use crate::room::Share;
use crate::rows::{Record, RowReader, Waiting};
use crate::session::{Failure, Found, Session, Work, explained};
use crate::values::{LongText, Written, in_order, values};

/// Dremio plans every value by itself.
const MOST_VALUES: usize = 100_000;
/// Texts are not shortened below this to make a row fit.
const LEAST_TEXT: usize = 256;

/// The rows with ids from one to another, which came to a table in this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: String,
    pub(crate) last: String,
    pub(crate) rows: u64,
}

impl Range {
    /// Those of it that are in a table, for WHERE.
    pub(crate) fn inside(&self) -> String {
        let id = quote(RAW_ID);
        format!("{id} >= '{}' AND {id} <= '{}'", self.first, self.last)
    }

    /// All others.
    pub(crate) fn outside(&self) -> String {
        let id = quote(RAW_ID);
        format!("{id} < '{}' OR {id} > '{}'", self.first, self.last)
    }

    /// With the rows that follow it.
    pub(crate) fn joined(earlier: Option<&Self>, later: &Self) -> Self {
        earlier.map_or_else(
            || later.clone(),
            |earlier| Self {
                first: earlier.first.clone(),
                last: later.last.clone(),
                rows: earlier.rows + later.rows,
            },
        )
    }

    /// How many of its rows a table has.
    pub(crate) async fn count(&self, session: &Session, table: &Place) -> Result<u64> {
        let sql = format!("SELECT COUNT(*) FROM {} WHERE {}", table.sql(), self.inside());
        let answer = session.ask(&format!("count rows of the table {table}"), &sql).await?;
        let number = answer.number().and_then(|n| u64::try_from(n).ok());
        number.ok_or_else(|| Error::system("Dremio answered COUNT(*) with something that is no number."))
    }
}

/// Rows of a range that a statement brings into a table.
pub(crate) struct Arrival<'a> {
    pub(crate) table: &'a Place,
    pub(crate) range: &'a Range,
    /// What the statement begins with.
    pub(crate) verb: &'static str,
}

impl Work for Arrival<'_> {
    fn pattern(&self) -> String {
        format!("{} {}%{}%", self.verb, self.table.sql(), self.range.first)
    }

    async fn find(&self, session: &Session) -> Result<Found> {
        Ok(match self.range.count(session, self.table).await? {
            0 => Found::Nothing,
            n if n == self.range.rows => Found::Done,
            _ => Found::Otherwise,
        })
    }

    async fn undo(&self, session: &Session) -> Result<()> {
        let sql = format!("DELETE FROM {} WHERE {}", self.table.sql(), self.range.inside());
        session.settle(&format!("take rows back from the table {}", self.table), &sql).await
    }
}

/// Puts rows into one table.
#[derive(Debug)]
pub(crate) struct Inserter {
    table: Place,
    head: String,
    columns: Vec<String>,
    waiting: Waiting,
    share: Share,
    /// Bytes of a statement. Halved when Dremio finds one too large.
    most: usize,
    /// Bytes of a text. Lowered when Dremio says that it takes less.
    longest_text: usize,
}

/// Rows that have arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) range: Range,
    /// One of them says that it was deleted at the source.
    pub(crate) deletions: bool,
}

impl Arrived {
    pub(crate) fn join(earlier: &mut Option<Self>, later: Self) {
        *earlier = Some(match earlier.take() {
            None => later,
            Some(earlier) => Self {
                range: Range::joined(Some(&earlier.range), &later.range),
                deletions: earlier.deletions || later.deletions,
            },
        });
    }
}

impl Inserter {
    pub(crate) fn new(table: Place, columns: &[String], most: usize, share: Share) -> Self {
        let list = in_order(columns).map(|c| quote(c)).collect::<Vec<_>>().join(",");
        let head = format!("INSERT INTO {} ({list}) VALUES ", table.sql());
        let columns = columns.to_vec();
        Self { table, head, columns, waiting: Waiting::default(), share, most, longest_text: usize::MAX }
    }

    /// Whether a record makes a statement of its own; it is then given to [`Inserter::insert`] rather than kept.
    pub(crate) fn is_large(&self, row: &BatchRow<'_>) -> bool {
        row.data.len() >= self.most
    }

    /// Takes a record; whether there are enough of them to be sent.
    pub(crate) fn take(&mut self, id: [u8; 36], row: &BatchRow<'_>) -> bool {
        self.waiting.push(id, row);
        self.share.holds(self.waiting.bytes())
            || self.waiting.bytes() >= self.most
            || self.waiting.len() * self.columns.len() >= MOST_VALUES
    }

    /// Drops what waits.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
        self.share.holds(0);
    }

    /// Sends what waits. What has arrived is noted, also if the rest fails.
    pub(crate) async fn send(
        &mut self,
        session: &Session,
        rows: &mut RowReader,
        arrived: &mut Option<Arrived>,
    ) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let records: Vec<Record<'_>> = waiting.records().collect();
        self.insert(session, rows, &records, arrived).await?;
        waiting.clear();
        self.waiting = waiting;
        self.share.holds(0);
        Ok(())
    }

    /// Sends records, likewise.
    pub(crate) async fn insert(
        &mut self,
        session: &Session,
        rows: &mut RowReader,
        records: &[Record<'_>],
        arrived: &mut Option<Arrived>,
    ) -> Result<()> {
        let mut from = 0;
        while from < records.len() {
            let statement = self.statement(session, rows, &records[from..]).await?;
            from += usize::try_from(statement.range.rows).unwrap_or(usize::MAX);
            Arrived::join(arrived, statement);
        }
        Ok(())
    }

    /// Sends one statement with the first of these records.
    async fn statement(
        &mut self,
        session: &Session,
        rows: &mut RowReader,
        records: &[Record<'_>],
    ) -> Result<Arrived> {
        let doing = format!("insert rows into the table {}", self.table);
        // Of this statement alone: it holds one row that is too large as it is.
        let mut longest_here = usize::MAX;
        loop {
            let longest = self.longest_text.min(longest_here);
            let (statement, written, bytes) = self.written(rows, records, longest)?;
            let id = |at: usize| String::from_utf8_lossy(records[at].id).into_owned();
            let range = Range { first: id(0), last: id(written.rows - 1), rows: written.rows as u64 };
            let work = Arrival { table: &self.table, range: &range, verb: "INSERT INTO" };
            match session.once(&doing, statement, &work).await {
                Ok(answer) => {
                    let told = answer.and_then(|answer| answer.number()).and_then(|n| u64::try_from(n).ok());
                    if told.is_some_and(|told| told != range.rows) && work.find(session).await? != Found::Done
                    {
                        return Err(Error::system(format!(
                            "Dremio took {} of {} rows that were inserted into the table {}.",
                            told.unwrap_or_default(),
                            range.rows,
                            self.table
                        )));
                    }
                    if let Some(cut) = self.cut(session, &range, &written.long_texts).await? {
                        work.undo(session).await?;
                        self.limit_texts(cut);
                        continue;
                    }
                    return Ok(Arrived { range, deletions: written.deletions });
                }
                Err(Failure::Refused(error)) => {
                    self.shrink(&doing, error, written.rows, bytes, &mut longest_here)?;
                }
                Err(Failure::Other(error)) => return Err(error),
            }
        }
    }

    /// A statement with the first of these records, what is in it, and its length.
    fn written(
        &self,
        rows: &mut RowReader,
        records: &[Record<'_>],
        longest: usize,
    ) -> Result<(Statement, Written, usize)> {
        let mut sql = self.head.clone().into_bytes();
        let written = values(&mut sql, rows, records.iter().copied(), self.head.len() + self.most, longest)?;
        let text = std::str::from_utf8(&sql).map_err(|e| {
            Error::config("A record is not UTF-8; mend the source that sent it.").with_source(e)
        })?;
        Ok((text.into(), written, sql.len()))
    }

    /// After a refusal for size: smaller statements, or shorter texts.
    fn shrink(
        &mut self,
        doing: &str,
        error: flight_kit::Error,
        rows: usize,
        bytes: usize,
        longest_here: &mut usize,
    ) -> Result<()> {
        if let Some(limit) = text_limit(error.said()).filter(|limit| *limit < self.longest_text) {
            self.limit_texts(limit);
            return Ok(());
        }
        let halved = (*longest_here).min(bytes) / 2;
        if error.fault() != Fault::TooLarge || rows == 1 && halved < LEAST_TEXT {
            return Err(explained(doing, error));
        }
        if rows > 1 {
            self.most = (bytes / 2).min(self.most / 2).max(1);
            tracing::warn!(
                "Dremio takes no statement of {bytes} bytes; they have about {} from now on.",
                self.most
            );
        } else {
            *longest_here = halved;
            tracing::warn!(
                "A row of the table {} is too large for Dremio: its texts of more than {halved} bytes become null and are listed in _airbyte_meta.",
                self.table
            );
        }
        Ok(())
    }

    fn limit_texts(&mut self, limit: usize) {
        tracing::warn!(
            "Dremio takes no text of more than {limit} bytes here; longer ones become null and are listed in _airbyte_meta."
        );
        self.longest_text = limit;
    }

    /// What Dremio has cut a long text to, if it has: it says nowhere how long a text that is not cast may be.
    async fn cut(&self, session: &Session, range: &Range, texts: &[LongText]) -> Result<Option<usize>> {
        for text in texts {
            let column = &self.columns[text.column];
            let sql = format!(
                "SELECT CHAR_LENGTH({}) FROM {} WHERE {}",
                quote(column),
                self.table.sql(),
                range.inside()
            );
            let answer =
                session.ask(&format!("look at a long text in the table {}", self.table), &sql).await?;
            let found = answer.number().and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
            if found < text.characters {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The number in "exceeds the size limit of 32000 bytes".
fn text_limit(said: &str) -> Option<usize> {
    let rest = said.split_once("size limit of ")?.1;
    let digits = rest.split(' ').next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Range, text_limit};

    #[test]
    fn the_limit_is_read_from_what_dremio_says() {
        assert_eq!(text_limit("Field 'c' exceeds the size limit of 32000 bytes."), Some(32_000));
        assert_eq!(
            text_limit("Field with index 3 exceeds the size limit of 32000 bytes, actual size is 5"),
            Some(32_000)
        );
        assert_eq!(text_limit("size limit of many bytes"), None);
        assert_eq!(text_limit(""), None);
    }

    #[test]
    fn ranges_grow_at_their_end() {
        let range = |first: &str, last: &str, rows| Range { first: first.into(), last: last.into(), rows };
        let joined = Range::joined(Some(&range("a", "b", 2)), &range("c", "d", 3));
        assert_eq!(joined, range("a", "d", 5));
        assert_eq!(Range::joined(None, &joined), joined);
        assert_eq!(joined.inside(), "\"_airbyte_raw_id\" >= 'a' AND \"_airbyte_raw_id\" <= 'd'");
        assert_eq!(joined.outside(), "\"_airbyte_raw_id\" < 'a' OR \"_airbyte_raw_id\" > 'd'");
    }
}
