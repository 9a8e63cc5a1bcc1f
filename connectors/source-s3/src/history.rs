//! What was read already: the state, in the form that Airbyte's file-based sources write.
//!
//! `history` has the newest files read, each with the time it was written, and
//! `_ab_source_file_last_modified` the newest of them as `time_key`. One key is ours: `unread`
//! has files that could not be read, so that they are tried again although newer ones were.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use connector_kit::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::time;

/// The most files remembered.
pub(crate) const MOST_FILES: usize = 10_000;
/// The most files remembered as not readable.
const MOST_UNREAD: usize = 1_000;
const DAY_MICROS: i64 = 86_400_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;

/// A stream's state.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cursor {
    history: BTreeMap<String, Read>,
    #[serde(rename = "_ab_source_file_last_modified", default, skip_serializing_if = "Option::is_none")]
    newest: Option<String>,
    /// Set by version 3 of Airbyte's source, whose states did not name all files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v3_min_sync_date: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unread: BTreeMap<String, String>,
    /// The whole of a full refresh was read: there is nothing to go on from.
    #[serde(rename = "__ab_full_refresh_sync_complete", default, skip_serializing_if = "std::ops::Not::not")]
    complete: bool,
}

impl Cursor {
    /// What the state of a full refresh is once it has ended.
    pub(crate) fn complete() -> Self {
        Self { complete: true, ..Self::default() }
    }
}

/// What the history says of a file; version 3 had days, each with the files written then.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Read {
    At(String),
    Files(Vec<String>),
}

/// The state at work.
#[derive(Debug)]
pub(crate) struct History {
    files: HashMap<String, i64>,
    by_time: BTreeSet<(i64, String)>,
    unread: BTreeMap<String, i64>,
    /// The oldest file when the sync began, if files before it may have been forgotten.
    earliest: Option<(i64, String)>,
    v3_min_sync_date: Option<i64>,
    days: u32,
    now: i64,
}

impl History {
    /// `days` and `now` decide about old files once the history is full.
    pub(crate) fn new(cursor: Option<Cursor>, days: u32, now: i64) -> Result<Self> {
        let cursor = cursor.unwrap_or_default();
        let broken = |what: &str| {
            Error::config(format!(
                "The state's {what} is no point in time, so the state was not written by this connector. Pass the right state, or none to read everything."
            ))
        };
        let read = |(key, text): (String, String)| Some((key, time::parse(&text)?));
        let newest = cursor.newest.as_deref().map(|n| n.split('_').next().unwrap_or(n));
        let old_newest = newest.and_then(time::parse);
        let mut files: HashMap<String, i64> = HashMap::new();
        let mut was_v3 = false;
        for (name, value) in cursor.history {
            match value {
                Read::At(text) => {
                    files.insert(name, time::parse(&text).ok_or_else(|| broken("history"))?);
                }
                Read::Files(keys) => {
                    was_v3 = true;
                    let day = time::parse(&name).ok_or_else(|| broken("history"))?;
                    // Only the day is known: a file written later on it is not taken for a newer one.
                    let end = (day + DAY_MICROS - 1).min(old_newest.unwrap_or(i64::MAX).max(day));
                    for key in keys {
                        let known = files.entry(key).or_insert(end);
                        *known = (*known).max(end);
                    }
                }
            }
        }
        let mut unread = BTreeMap::new();
        for entry in cursor.unread {
            let (key, modified) = read(entry).ok_or_else(|| broken("unread"))?;
            unread.insert(key, modified);
        }
        let v3_min_sync_date = match cursor.v3_min_sync_date.as_deref() {
            Some(text) => Some(time::parse(text).ok_or_else(|| broken("v3_min_sync_date"))?),
            None if was_v3 => old_newest.map(|newest| newest - HOUR_MICROS),
            None => None,
        };
        let by_time: BTreeSet<(i64, String)> = files.iter().map(|(k, t)| (*t, k.clone())).collect();
        let earliest = if files.len() >= MOST_FILES { by_time.first().cloned() } else { None };
        Ok(Self { files, by_time, unread, earliest, v3_min_sync_date, days, now })
    }

    /// Whether a file is to be read.
    pub(crate) fn wants(&self, key: &str, modified: i64) -> bool {
        if let Some(read) = self.files.get(key) {
            return modified > *read;
        }
        if self.unread.contains_key(key) {
            return true;
        }
        if self.v3_min_sync_date.is_some_and(|min| modified < min) {
            return false;
        }
        let Some((time, name)) = &self.earliest else { return true };
        match modified.cmp(time) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => key > name.as_str(),
            std::cmp::Ordering::Less => modified >= self.now - i64::from(self.days) * DAY_MICROS,
        }
    }

    /// A file was read whole.
    pub(crate) fn add(&mut self, key: &str, modified: i64) {
        self.unread.remove(key);
        if let Some(before) = self.files.insert(key.to_owned(), modified) {
            self.by_time.remove(&(before, key.to_owned()));
        }
        self.by_time.insert((modified, key.to_owned()));
        while self.files.len() > MOST_FILES {
            if let Some((_, oldest)) = self.by_time.pop_first() {
                self.files.remove(&oldest);
            }
        }
    }

    /// A file cannot be read: it is tried again in the next sync, however many newer ones are read meanwhile.
    pub(crate) fn fail(&mut self, key: &str, modified: i64) {
        if self.unread.len() < MOST_UNREAD {
            self.unread.insert(key.to_owned(), modified);
        }
    }

    pub(crate) fn is_unread(&self, key: &str) -> bool {
        self.unread.contains_key(key)
    }

    /// Forgets those that were not readable and are not there any more.
    pub(crate) fn keep_unread(&mut self, there: &BTreeSet<String>) {
        self.unread.retain(|key, _| there.contains(key));
    }

    /// A file is not there any more.
    pub(crate) fn forget(&mut self, key: &str) {
        self.unread.remove(key);
    }

    pub(crate) fn cursor(&self) -> Cursor {
        Cursor {
            history: self.files.iter().map(|(k, t)| (k.clone(), Read::At(time::format(*t)))).collect(),
            newest: self.by_time.last().map(|(t, k)| format!("{}_{k}", time::format(*t))),
            v3_min_sync_date: self.v3_min_sync_date.map(time::format),
            unread: self.unread.iter().map(|(k, t)| (k.clone(), time::format(*t))).collect(),
            complete: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, DAY_MICROS, History, MOST_FILES};
    use crate::time;

    fn history(state: &str, days: u32, now: &str) -> History {
        let cursor: Cursor = serde_json::from_str(state).unwrap();
        History::new(Some(cursor), days, time::parse(now).unwrap()).unwrap()
    }

    #[test]
    fn the_state_is_the_one_that_airbyte_writes() {
        let text = r#"{"history":{"a.csv":"2024-01-02T03:04:05.000000Z","b.csv":"2024-01-01T00:00:00.500000Z"},"_ab_source_file_last_modified":"2024-01-02T03:04:05.000000Z_a.csv"}"#;
        let history = history(text, 3, "2024-02-01");
        assert_eq!(serde_json::to_string(&history.cursor()).unwrap(), text);
    }

    #[test]
    fn s3_01_a_late_file_with_an_older_time_is_wanted_and_a_read_one_only_when_newer() {
        let h = history(r#"{"history":{"b":"2024-01-02T00:00:00.000000Z"}}"#, 3, "2024-02-01");
        let at = |t| time::parse(t).unwrap();
        assert!(h.wants("a", at("2020-01-01")));
        assert!(!h.wants("b", at("2024-01-02")));
        assert!(!h.wants("b", at("2024-01-01")));
        assert!(h.wants("b", at("2024-01-03")));
    }

    #[test]
    fn a_full_history_forgets_the_oldest_and_then_goes_by_time() {
        let mut h = History::new(None, 2, 0).unwrap();
        for n in 0..MOST_FILES + 5 {
            h.add(&format!("f{n:05}"), i64::try_from(n).unwrap() * DAY_MICROS);
        }
        let cursor = h.cursor();
        assert_eq!(cursor.history.len(), MOST_FILES);
        let day = |n: i64| n * DAY_MICROS;
        let now = day(10_100);
        let h = History::new(Some(cursor), 2, now).unwrap();
        // The earliest left is f00005.
        assert!(!h.wants("f00004", day(4)));
        assert!(!h.wants("f00003", day(5)));
        assert!(h.wants("f00006x", day(5)));
        assert!(h.wants("new", day(6)));
        let h = History::new(Some(h.cursor()), 2, day(6)).unwrap();
        assert!(h.wants("late", day(4)));
    }

    #[test]
    fn what_could_not_be_read_is_wanted_again_whatever_came_since() {
        let mut h = History::new(None, 0, 0).unwrap();
        h.fail("bad", 1);
        for n in 0..=MOST_FILES {
            h.add(&format!("f{n}"), 1_000 + i64::try_from(n).unwrap());
        }
        let mut h = History::new(Some(h.cursor()), 0, i64::MAX / 2).unwrap();
        assert!(h.wants("bad", 1) && !h.wants("other", 1));
        h.add("bad", 2_000_000);
        assert!(!serde_json::to_string(&h.cursor()).unwrap().contains("unread"));
    }

    #[test]
    fn a_state_of_version_three_is_read() {
        let state = r#"{"history":{"2022-05-01":["a.csv"],"2022-05-02":["b.csv"]},"_ab_source_file_last_modified":"2022-05-02T10:00:00Z","schema":{}}"#;
        let h = history(state, 3, "2024-02-01");
        let at = |t| time::parse(t).unwrap();
        assert!(
            !h.wants("a.csv", at("2022-05-01T17:00:00Z")) && h.wants("a.csv", at("2022-05-02T00:00:00Z"))
        );
        assert!(
            !h.wants("b.csv", at("2022-05-02T10:00:00Z")) && h.wants("b.csv", at("2022-05-02T11:00:00Z"))
        );
        assert!(
            !h.wants("c.csv", at("2022-05-02T08:00:00Z")) && h.wants("c.csv", at("2022-05-02T09:30:00Z"))
        );
    }

    #[test]
    fn a_state_of_something_else_is_refused() {
        let cursor: Cursor = serde_json::from_str(r#"{"history":{"a":"yesterday"}}"#).unwrap();
        assert!(History::new(Some(cursor), 3, 0).unwrap_err().message().contains("history"));
    }
}
