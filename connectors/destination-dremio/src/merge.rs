//! Deduplication: rows that were gathered in a table beside are folded to one per key and merged by one statement. Dremio's
//! MERGE has one UPDATE and one INSERT, without conditions, so whether a row is newer stands in each value.
//!
//! Of two rows with the same key the one with the greater cursor stays, then the one that was extracted later, then the one
//! that came later; nulls are the smallest. A row that ties with the stored one replaces it. A key with a null in
//! it equals no other. To merge the same rows again changes nothing.

use connector_kit::{EXTRACTED_AT, Error, GENERATION_ID, RAW_ID, Result, SelectedStream, tracing};

use crate::insert::Range;
use crate::names::{Place, StreamNames, quote};
use crate::session::{Found, Session, Work};
use crate::table::Layout;

/// The column in which change data capture says that a row was deleted.
pub(crate) const DELETED_AT: &str = "_ab_cdc_deleted_at";

/// How one stream's rows are merged.
#[derive(Clone, Debug)]
pub(crate) struct Merge {
    pub(crate) table: Place,
    pub(crate) stage: Place,
    columns: Vec<String>,
    key: Vec<String>,
    cursor: Option<String>,
    /// The column that marks rows to be removed, where they are.
    deleted_at: Option<String>,
    /// Rows of earlier generations are older than any, whatever their cursor: they go at the end.
    minimum_generation: i64,
}

impl Merge {
    pub(crate) fn new(
        stream: &SelectedStream,
        names: &StreamNames,
        layout: &Layout,
        table: Place,
        deletes: bool,
    ) -> Self {
        let column = |field: &str| stream.column(field).map(|i| names.columns[i].clone());
        Self {
            table,
            stage: names.stage.clone(),
            columns: layout.columns.clone(),
            key: stream.primary_key.iter().filter_map(|path| column(path.first()?)).collect(),
            cursor: stream.cursor_field.first().and_then(|field| column(field)),
            deleted_at: column(DELETED_AT).filter(|_| deletes),
            minimum_generation: stream.generation.filter(|_| stream.replaces()).map_or(0, |g| g.minimum),
        }
    }

    /// Merges what was gathered, and empties the gathering table.
    pub(crate) async fn run(&self, session: &Session, gathered: &Range, deletions: bool) -> Result<()> {
        let found = gathered.count(session, &self.stage).await?;
        if found != gathered.rows {
            return Err(Error::transient(format!(
                "The table {} has {found} of {} rows that were gathered in it, so they are not merged. Start the sync again.",
                self.stage, gathered.rows
            )));
        }
        let doing = format!("merge rows into the table {}", self.table);
        session
            .once(&doing, (&self.merge(gathered)).into(), &Merged { merge: self, gathered })
            .await
            .map_err(|e| e.explained(&doing))?;
        if let Some(deleted) = self.deleted_at.as_ref().filter(|_| deletions) {
            let doing = format!("delete rows from the table {}", self.table);
            let sql = format!("DELETE FROM {} WHERE {} IS NOT NULL", self.table.sql(), quote(deleted));
            session.settle(&doing, &sql).await?;
        }
        // By their ids, and not all there is: done late, it must not meet the rows that are gathered next.
        let doing = format!("empty the table {}", self.stage);
        session.settle(&doing, &format!("DELETE FROM {} WHERE {}", self.stage.sql(), gathered.inside())).await
    }

    /// One row per key. Rows without a whole key are all kept.
    fn folded(&self, gathered: &Range) -> String {
        let columns = self.list("");
        let keys = self.key.iter().map(|c| quote(c)).collect::<Vec<_>>();
        let cursor = self.cursor.as_ref().map(|c| format!("{} DESC NULLS LAST, ", quote(c)));
        let keyless: String = keys.iter().map(|key| format!(" OR {key} IS NULL")).collect();
        format!(
            "SELECT {columns} FROM (SELECT {columns}, ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {}\"{EXTRACTED_AT}\" DESC, \
             \"{RAW_ID}\" DESC) AS \"_ferry_rank\" FROM {} WHERE {}) AS r WHERE \"_ferry_rank\" = 1{keyless}",
            keys.join(", "),
            cursor.unwrap_or_default(),
            self.stage.sql(),
            gathered.inside()
        )
    }

    fn merge(&self, gathered: &Range) -> String {
        let newer = self.is_newer();
        let set: Vec<String> = self
            .columns
            .iter()
            .filter(|column| !self.key.contains(column))
            .map(|column| {
                let c = quote(column);
                format!("{c} = (CASE WHEN {newer} THEN s.{c} ELSE t.{c} END)")
            })
            .collect();
        format!(
            "MERGE INTO {} AS t USING ({}) AS s ON ({}) WHEN MATCHED THEN UPDATE SET {} WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
            self.table.sql(),
            self.folded(gathered),
            self.same_key(),
            set.join(", "),
            self.list(""),
            self.list("s.")
        )
    }

    fn list(&self, alias: &str) -> String {
        self.columns.iter().map(|c| format!("{alias}{}", quote(c))).collect::<Vec<_>>().join(", ")
    }

    fn same_key(&self) -> String {
        let parts = self.key.iter().map(|c| format!("t.{c} = s.{c}", c = quote(c)));
        parts.collect::<Vec<_>>().join(" AND ")
    }

    /// Whether the gathered row `s` replaces the stored row `t`.
    fn is_newer(&self) -> String {
        let extracted = format!("t.\"{EXTRACTED_AT}\" <= s.\"{EXTRACTED_AT}\"");
        let newer = match &self.cursor {
            None => extracted,
            Some(cursor) => {
                let c = quote(cursor);
                format!(
                    "t.{c} < s.{c} OR (t.{c} IS NULL AND s.{c} IS NOT NULL) OR \
                     ((t.{c} = s.{c} OR (t.{c} IS NULL AND s.{c} IS NULL)) AND {extracted})"
                )
            }
        };
        match self.minimum_generation {
            0 => newer,
            minimum => format!("t.\"{GENERATION_ID}\" < {minimum} OR {newer}"),
        }
    }
}

/// What a merge does: no gathered row is left that is neither stored nor older than the stored one.
struct Merged<'a> {
    merge: &'a Merge,
    gathered: &'a Range,
}

impl Work for Merged<'_> {
    fn pattern(&self) -> String {
        format!("MERGE INTO {}%{}%", self.merge.table.sql(), self.gathered.first)
    }

    /// A second merge of the same rows finds nothing to change, unless both insert the same new row. So it is enough to say
    /// whether that has happened.
    async fn find(&self, session: &Session) -> Result<Found> {
        let Merge { table, .. } = self.merge;
        let stored = self.gathered.count(session, table).await?;
        if stored == 0 {
            return Ok(Found::Nothing);
        }
        let sql = format!(
            "SELECT COUNT(DISTINCT \"{RAW_ID}\") FROM {} WHERE {}",
            table.sql(),
            self.gathered.inside()
        );
        let answer = session.ask(&format!("count rows of the table {table}"), &sql).await?;
        let distinct = answer.number().and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
        Ok(if distinct == stored { Found::Done } else { Found::Otherwise })
    }

    /// Only rows that were inserted twice: they are taken out, and the next merge inserts them once.
    async fn undo(&self, session: &Session) -> Result<()> {
        let Merge { table, .. } = self.merge;
        tracing::warn!(
            "Rows were merged twice at once into the table {table}; they are taken out and merged again."
        );
        let sql = format!(
            "DELETE FROM {t} WHERE \"{RAW_ID}\" IN (SELECT \"{RAW_ID}\" FROM {t} WHERE {} GROUP BY \"{RAW_ID}\" HAVING COUNT(*) > 1)",
            self.gathered.inside(),
            t = table.sql()
        );
        session.settle(&format!("take rows back from the table {table}"), &sql).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Merge, Range};
    use crate::names::Place;

    fn merge() -> Merge {
        let own = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let place = |name: &str| Place { folder: own(&["lake"]), name: name.into() };
        Merge {
            table: place("t"),
            stage: place("t__ferry_stage"),
            columns: own(&["_airbyte_raw_id", "id", "v\"w", "at"]),
            key: own(&["id"]),
            cursor: Some("at".into()),
            deleted_at: None,
            minimum_generation: 0,
        }
    }

    #[test]
    fn dw_07_a_merge_is_folded_and_has_one_update_and_one_insert() {
        let gathered = Range { first: "f".into(), last: "l".into(), rows: 2 };
        let sql = merge().merge(&gathered);
        assert!(sql.contains("PARTITION BY \"id\" ORDER BY \"at\" DESC NULLS LAST, \"_airbyte_extracted_at\" DESC, \"_airbyte_raw_id\" DESC"), "{sql}");
        assert!(
            sql.contains("WHERE \"_ferry_rank\" = 1 OR \"id\" IS NULL) AS s ON (t.\"id\" = s.\"id\")"),
            "{sql}"
        );
        assert!(sql.contains("\"v\"\"w\" = (CASE WHEN t.\"at\" < s.\"at\" OR "), "{sql}");
        assert!(!sql.contains("SET \"id\"") && !sql.contains(", \"id\" = (CASE"), "keys are equal: {sql}");
        assert_eq!((sql.matches("WHEN MATCHED").count(), sql.matches("WHEN NOT MATCHED").count()), (1, 1));
    }

    #[test]
    fn rows_of_an_earlier_generation_are_older_than_any() {
        let refresh = Merge { minimum_generation: 7, cursor: None, ..merge() };
        let newer =
            "t.\"_airbyte_generation_id\" < 7 OR t.\"_airbyte_extracted_at\" <= s.\"_airbyte_extracted_at\"";
        assert_eq!(refresh.is_newer(), newer);
    }
}
