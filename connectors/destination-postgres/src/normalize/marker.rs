//! What is noted of each stream's normalization: which raw rows are in its tables, and which tables it made.
//!
//! New raw rows are those with a greater id than any before. That holds for rows that this destination loads,
//! whose ids begin with the time; that it held is seen from how many rows there are up to the id noted, and
//! from a sum over their ids. What others did to the raw table is so noticed, not assumed.

use connector_kit::{Error, Result};
use postgres_kit::{Row, quote_literal};

use super::expression::table;
use super::tree::AB_ID;
use crate::lane::Lane;

/// The table of markers.
pub(super) const TABLE: &str = "_ferrybyte_normalized";

/// Raw rows, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) rows: i64,
    /// The sum of the ids' hashes.
    pub(crate) ids: String,
    /// The greatest id.
    pub(crate) last: Option<String>,
}

/// What is noted of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// What tells one plan from another.
    pub(crate) plan: String,
    pub(crate) done: Counted,
    /// How many raw rows others have taken out since they were normalized.
    pub(crate) lost: i64,
    /// The server whose hashes were summed.
    pub(crate) server: i64,
    pub(crate) tables: Vec<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Make all tables anew from all raw rows.
    Rebuild,
    /// Add the raw rows beyond this id.
    After(Option<String>),
}

/// How the raw table stands to what was noted of it.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Nothing was taken away and put in by this sync itself.
    pub(crate) replaced: bool,
    /// The plan is the one noted, and its tables are there.
    pub(crate) unchanged: bool,
    pub(crate) server: i64,
    /// Raw rows up to the id noted.
    pub(crate) before: Counted,
}

impl Marker {
    /// How many raw rows are gone in all, unless `decision` makes the tables anew.
    pub(crate) fn lost(noted: Option<&Self>, before: &Counted, decision: &Decision) -> i64 {
        match (noted, decision) {
            (Some(noted), Decision::After(_)) => noted.lost + (noted.done.rows - before.rows).max(0),
            _ => 0,
        }
    }

    /// Decides by what was noted (if anything) and what is there.
    pub(crate) fn decide(noted: Option<&Self>, now: &Standing, raw: &str) -> Result<Decision> {
        let Some(noted) = noted.filter(|_| !now.replaced) else { return Ok(Decision::Rebuild) };
        let missing = noted.done.rows - now.before.rows;
        let anew = missing < 0 || !now.unchanged;
        let exchanged = missing == 0 && noted.server == now.server && noted.done.ids != now.before.ids;
        if exchanged || (anew && noted.lost + missing.max(0) > 0) {
            let what = if exchanged {
                "others were put in their place"
            } else {
                "what was made of them would be lost, because the stream's tables have to be made anew"
            };
            return Err(Error::config(format!(
                "Rows were taken out of the raw table {raw} since they were normalized, and {what}; \
                 refresh the stream."
            )));
        }
        if anew {
            return Ok(Decision::Rebuild);
        }
        Ok(Decision::After(noted.done.last.clone()))
    }

    /// The statements that make the table of markers.
    pub(crate) fn create(internal: &str) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (schema text NOT NULL, raw text NOT NULL, plan text NOT NULL, rows bigint NOT NULL, \
             ids numeric NOT NULL, last text, lost bigint NOT NULL, server bigint NOT NULL, tables text[] NOT NULL, \
             normalized_at timestamp with time zone NOT NULL, PRIMARY KEY (schema, raw))",
            table(internal, TABLE)
        )
    }

    pub(crate) async fn load(
        lane: &mut Lane,
        internal: &str,
        schema: &str,
        raw: &str,
    ) -> Result<Option<Self>> {
        let sql = format!(
            "SELECT plan, rows, ids, last, lost, server, array_to_json(tables) FROM {} WHERE schema = {} AND raw = {}",
            table(internal, TABLE),
            quote_literal(schema),
            quote_literal(raw)
        );
        let rows = lane.query(&sql).await?;
        rows.first().map(Self::read).transpose()
    }

    /// The tables in `schema` that were made from other raw tables.
    pub(crate) async fn of_others(
        lane: &mut Lane,
        internal: &str,
        schema: &str,
        raw: &str,
    ) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT DISTINCT unnest(tables) FROM {} WHERE schema = {} AND raw <> {}",
            table(internal, TABLE),
            quote_literal(schema),
            quote_literal(raw)
        );
        lane.query(&sql).await?.iter().map(|row| row.text(0).map(str::to_owned)).collect()
    }

    fn read(row: &Row) -> Result<Self> {
        let tables = serde_json::from_str(row.text(6)?).map_err(|e| {
            Error::system("The list of normalized tables cannot be read; please report it.").with_source(e)
        })?;
        Ok(Self {
            plan: row.text(0)?.to_owned(),
            done: Counted {
                rows: row.int(1)?,
                ids: row.text(2)?.to_owned(),
                last: row.get(3).map(str::to_owned),
            },
            lost: row.int(4)?,
            server: row.int(5)?,
            tables,
        })
    }

    pub(crate) async fn store(&self, lane: &mut Lane, internal: &str, schema: &str, raw: &str) -> Result<()> {
        let place = table(internal, TABLE);
        let (schema, raw) = (quote_literal(schema), quote_literal(raw));
        let tables: Vec<String> = self.tables.iter().map(|t| quote_literal(t)).collect();
        let last = self.done.last.as_deref().map_or("NULL".to_owned(), quote_literal);
        lane
            .execute(&format!(
                "DELETE FROM {place} WHERE schema = {schema} AND raw = {raw}; \
                 INSERT INTO {place} VALUES ({schema}, {raw}, {}, {}, {}, {last}, {}, {}, ARRAY[{}]::text[], now())",
                quote_literal(&self.plan),
                self.done.rows,
                self.done.ids,
                self.lost,
                self.server,
                tables.join(", ")
            ))
            .await
    }
}

/// Counts the raw rows up to `last`, and all of them.
pub(crate) async fn count(
    lane: &mut Lane,
    schema: &str,
    raw: &str,
    last: Option<&str>,
) -> Result<(Counted, Counted)> {
    let id = format!("{AB_ID} COLLATE \"C\"");
    let before = last.map_or("false".to_owned(), |last| format!("{id} <= {}", quote_literal(last)));
    let sum = format!("coalesce(sum(hashtext({AB_ID})::bigint)");
    let rows = lane
        .query(&format!(
            "SELECT count(*), {sum}, 0), max({id}), count(*) FILTER (WHERE {before}), {sum} FILTER (WHERE {before}), 0) FROM {}",
            table(schema, raw)
        ))
        .await?;
    let row =
        rows.first().ok_or_else(|| Error::system("Counting raw rows gave no answer; please report it."))?;
    let all =
        Counted { rows: row.int(0)?, ids: row.text(1)?.to_owned(), last: row.get(2).map(str::to_owned) };
    let before = Counted { rows: row.int(3)?, ids: row.text(4)?.to_owned(), last: last.map(str::to_owned) };
    Ok((before, all))
}

#[cfg(test)]
mod tests {
    use super::{Counted, Decision, Marker, Standing};

    fn counted(rows: i64, ids: &str) -> Counted {
        Counted { rows, ids: ids.to_owned(), last: Some("x".to_owned()) }
    }

    fn decide(before: Counted, replaced: bool, unchanged: bool, server: i64) -> Option<Decision> {
        decide_after(0, before, replaced, unchanged, server)
    }

    fn decide_after(
        lost: i64,
        before: Counted,
        replaced: bool,
        unchanged: bool,
        server: i64,
    ) -> Option<Decision> {
        let noted = Marker { plan: "p".to_owned(), done: counted(5, "7"), lost, server: 15, tables: vec![] };
        Marker::decide(Some(&noted), &Standing { replaced, unchanged, server, before }, "raw").ok()
    }

    #[test]
    fn only_new_rows_are_added_where_the_others_are_as_they_were() {
        let after = Some(Decision::After(Some("x".to_owned())));
        assert_eq!(decide(counted(5, "7"), false, true, 15), after);
        assert_eq!(decide(counted(5, "8"), false, true, 18), after, "another server hashes otherwise");
        assert_eq!(decide(counted(3, "8"), false, true, 15), after, "what was removed stays normalized");
    }

    #[test]
    fn all_is_made_anew_where_rows_came_in_between_or_the_tables_changed() {
        assert_eq!(decide(counted(6, "9"), false, true, 15), Some(Decision::Rebuild));
        assert_eq!(decide(counted(5, "7"), false, false, 15), Some(Decision::Rebuild));
        assert_eq!(decide(counted(0, "0"), true, true, 15), Some(Decision::Rebuild));
        let standing = Standing { replaced: false, unchanged: true, server: 15, before: Counted::default() };
        assert_eq!(Marker::decide(None, &standing, "raw").unwrap(), Decision::Rebuild);
    }

    #[test]
    fn nothing_is_made_anew_from_a_raw_table_that_has_lost_rows() {
        assert_eq!(decide(counted(4, "7"), false, false, 15), None);
        assert_eq!(decide(counted(5, "8"), false, true, 15), None);
        assert_eq!(decide_after(1, counted(5, "7"), false, false, 15), None);
        assert_eq!(decide_after(1, counted(6, "9"), false, true, 15), None);
        assert_eq!(decide_after(1, counted(5, "7"), true, false, 15), Some(Decision::Rebuild));
        assert!(matches!(decide_after(1, counted(5, "7"), false, true, 15), Some(Decision::After(_))));
    }
}
