//! Deduplication: rows that were gathered aside are folded to one per key and merged into the stream's table, in the lane's
//! transaction, so that whatever is durable is merged.
//!
//! Of two rows with the same key the one with the greater cursor stays, then the one that was extracted later, then the one that
//! came later; nulls are the smallest. A gathered row that ties with the stored one replaces it. A key with a null in it
//! equals no other.

use connector_kit::{EXTRACTED_AT, RAW_ID, Result};
use postgres_kit::quote_identifier;

use crate::lane::Lane;
use crate::names::TableName;
use crate::table::code;

/// A row was to be inserted or updated a second time by one statement.
const TWICE: &str = "21000";

/// Memory for looking keys up, where the server's default is meant for many small queries. One statement at a time uses it.
const ROOM: &str =
    "SELECT set_config('work_mem', '64MB', true) WHERE pg_size_bytes(current_setting('work_mem')) < 64 << 20";

/// The column in which change data capture says that a row was deleted.
pub(crate) const DELETED_AT: &str = "_ab_cdc_deleted_at";

/// How one stream's rows are merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) table: TableName,
    /// The gathering table, for SQL; its columns are those of the table.
    pub(crate) staging: String,
    /// All columns, unquoted.
    pub(crate) columns: Vec<String>,
    pub(crate) key: Vec<String>,
    pub(crate) cursor: Option<String>,
    /// The column that marks rows to be removed, where they are.
    pub(crate) deleted_at: Option<String>,
    /// The server knows that keys are unique.
    pub(crate) is_unique: bool,
    /// A key was gathered twice before, so the next batch is looked through at once.
    pub(crate) has_doubles: bool,
}

impl Merge {
    /// Folds and merges what was gathered, and empties the gathering table. A transaction is open.
    pub(crate) async fn run(&mut self, lane: &mut Lane) -> Result<()> {
        if !self.is_unique || self.has_doubles || self.deleted_at.is_some() {
            // Without statistics the server would take a temporary table for a small one.
            lane.execute(&self.analyze()).await?;
            lane.execute(ROOM).await?;
            self.fold(lane, &self.staging).await?;
        }
        if let Some(delete) = self.delete() {
            lane.execute(&delete).await?;
        }
        if self.is_unique {
            self.upsert_whatever_comes(lane).await?;
        } else {
            lane.execute(&self.update()).await?;
            lane.execute(&self.insert()).await?;
        }
        lane.execute(&format!("TRUNCATE {}", self.staging)).await
    }

    /// Most batches have no key twice, and to look for one takes as long as a fifth of the merge. The server refuses to
    /// touch a row twice, so it is folded only then.
    async fn upsert_whatever_comes(&mut self, lane: &mut Lane) -> Result<()> {
        let upsert = self.upsert();
        if self.has_doubles || self.deleted_at.is_some() {
            return lane.execute(&upsert).await;
        }
        lane.execute("SAVEPOINT ferrybyte_upsert").await?;
        match lane.execute(&upsert).await {
            Err(error) if code(&error) == TWICE => {
                lane.execute("ROLLBACK TO SAVEPOINT ferrybyte_upsert").await?;
                self.has_doubles = true;
                lane.execute(ROOM).await?;
                lane.execute(&self.drop_doubles(&self.staging)).await?;
                lane.execute(&upsert).await?;
            }
            done => done?,
        }
        lane.execute("RELEASE SAVEPOINT ferrybyte_upsert").await
    }

    /// Makes of rows that were loaded straight into the empty table what merging them would have.
    pub(crate) async fn settle(&self, lane: &mut Lane) -> Result<()> {
        lane.execute(ROOM).await?;
        self.fold(lane, &self.table.quoted()).await?;
        if let Some(deleted_at) = &self.deleted_at {
            let deleted = quote_identifier(deleted_at);
            lane.execute(&format!("DELETE FROM {} WHERE {deleted} IS NOT NULL", self.table)).await?;
        }
        Ok(())
    }

    /// Leaves one row per key.
    async fn fold(&self, lane: &mut Lane, table: &str) -> Result<()> {
        // To learn that there is nothing to fold takes the key only.
        if lane.query(&self.find_double(table)).await?.is_empty() {
            return Ok(());
        }
        lane.execute(&self.drop_doubles(table)).await
    }

    fn analyze(&self) -> String {
        format!("ANALYZE {} ({})", self.staging, self.keys())
    }

    fn find_double(&self, table: &str) -> String {
        let key = self.keys();
        format!("SELECT FROM {table} WHERE {} GROUP BY {key} HAVING count(*) > 1 LIMIT 1", self.has_key())
    }

    fn drop_doubles(&self, table: &str) -> String {
        let cursor = self.cursor.as_ref().map(|c| format!("{} DESC NULLS LAST, ", quote_identifier(c)));
        format!(
            "DELETE FROM {table} t USING (SELECT ctid AS place, row_number() OVER (PARTITION BY {} ORDER BY {}\"{EXTRACTED_AT}\" DESC, \
             \"{RAW_ID}\" COLLATE \"C\" DESC) AS rank FROM {table} WHERE {}) r WHERE t.ctid = r.place AND r.rank > 1",
            self.keys(),
            cursor.unwrap_or_default(),
            self.has_key()
        )
    }

    fn delete(&self) -> Option<String> {
        let deleted = quote_identifier(self.deleted_at.as_ref()?);
        Some(format!(
            "DELETE FROM {} t USING {} s WHERE {} AND s.{deleted} IS NOT NULL AND {}",
            self.table,
            self.staging,
            self.same_key(),
            self.is_newer("s")
        ))
    }

    fn update(&self) -> String {
        format!(
            "UPDATE {} t SET {} FROM {} s WHERE {}{} AND {}",
            self.table,
            self.set("s"),
            self.staging,
            self.same_key(),
            self.is_alive(" AND "),
            self.is_newer("s")
        )
    }

    fn insert(&self) -> String {
        let (columns, values) = self.lists();
        format!(
            "INSERT INTO {} ({columns}) SELECT {values} FROM {} s WHERE NOT EXISTS (SELECT FROM {} t WHERE {}){}",
            self.table,
            self.staging,
            self.table,
            self.same_key(),
            self.is_alive(" AND ")
        )
    }

    fn upsert(&self) -> String {
        let (columns, values) = self.lists();
        format!(
            "INSERT INTO {} AS t ({columns}) SELECT {values} FROM {} s{} ON CONFLICT ({}) DO UPDATE SET {} WHERE {}",
            self.table,
            self.staging,
            self.is_alive(" WHERE "),
            self.keys(),
            self.set("excluded"),
            self.is_newer("excluded")
        )
    }

    /// Every column but those of the key, which are equal.
    fn set(&self, from: &str) -> String {
        let columns = self.columns.iter().filter(|column| !self.key.contains(column));
        let set = columns.map(|column| {
            let column = quote_identifier(column);
            format!("{column} = {from}.{column}")
        });
        set.collect::<Vec<_>>().join(", ")
    }

    fn lists(&self) -> (String, String) {
        let columns: Vec<String> = self.columns.iter().map(|c| quote_identifier(c)).collect();
        (columns.join(", "), columns.iter().map(|c| format!("s.{c}")).collect::<Vec<_>>().join(", "))
    }

    fn keys(&self) -> String {
        self.key.iter().map(|c| quote_identifier(c)).collect::<Vec<_>>().join(", ")
    }

    fn has_key(&self) -> String {
        let parts = self.key.iter().map(|c| format!("{} IS NOT NULL", quote_identifier(c)));
        parts.collect::<Vec<_>>().join(" AND ")
    }

    fn same_key(&self) -> String {
        let parts = self.key.iter().map(|c| {
            let column = quote_identifier(c);
            format!("t.{column} = s.{column}")
        });
        parts.collect::<Vec<_>>().join(" AND ")
    }

    /// Only rows that are not to be removed.
    fn is_alive(&self, before: &str) -> String {
        self.deleted_at
            .as_ref()
            .map_or_else(String::new, |c| format!("{before}s.{} IS NULL", quote_identifier(c)))
    }

    /// Whether the gathered row, called `s`, replaces the stored row `t`.
    fn is_newer(&self, s: &str) -> String {
        let extracted = format!("t.\"{EXTRACTED_AT}\" <= {s}.\"{EXTRACTED_AT}\"");
        let Some(cursor) = &self.cursor else { return extracted };
        let c = quote_identifier(cursor);
        format!(
            "(t.{c} < {s}.{c} OR t.{c} IS NULL AND {s}.{c} IS NOT NULL OR \
             (t.{c} = {s}.{c} OR t.{c} IS NULL AND {s}.{c} IS NULL) AND {extracted})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Merge;
    use crate::names::TableName;

    fn merge() -> Merge {
        let own = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        Merge {
            table: TableName::new("s", "t"),
            staging: "pg_temp.\"g\"".into(),
            columns: own(&["_airbyte_raw_id", "_airbyte_extracted_at", "id", "v\"w", "at"]),
            key: own(&["id"]),
            cursor: Some("at".into()),
            deleted_at: None,
            is_unique: true,
            has_doubles: false,
        }
    }

    #[test]
    fn every_name_is_quoted_and_keys_are_not_set() {
        let update = merge().update();
        assert!(
            update.starts_with("UPDATE \"s\".\"t\" t SET \"_airbyte_raw_id\" = s.\"_airbyte_raw_id\", "),
            "{update}"
        );
        assert!(update.contains("\"v\"\"w\" = s.\"v\"\"w\"") && !update.contains("SET \"id\""), "{update}");
    }

    #[test]
    fn a_stream_without_deletes_has_no_word_of_them() {
        let plain = merge();
        assert_eq!(plain.delete(), None);
        assert!(!plain.insert().contains("deleted"));
        let mut hard = merge();
        hard.deleted_at = Some("_ab_cdc_deleted_at".into());
        let upsert = hard.upsert();
        assert!(upsert.contains("s WHERE s.\"_ab_cdc_deleted_at\" IS NULL ON CONFLICT"), "{upsert}");
        assert!(hard.update().contains("AND s.\"_ab_cdc_deleted_at\" IS NULL AND ("), "{}", hard.update());
    }
}
