//! A table whose changes are read, and how its snapshot and the log meet.

use std::sync::Arc;

use connector_kit::{Result, SelectedStream};

use super::visibility::Visibility;
use crate::state::{SeenColumn, Streaming, TableSnapshot};
use crate::tables::Table;

/// A table whose changes are read.
#[derive(Debug)]
pub(crate) struct Followed {
    /// The stream's index in the run.
    pub(crate) stream: usize,
    pub(crate) selected: Arc<SelectedStream>,
    /// As the catalog has it when the run begins.
    pub(crate) table: Table,
    pub(crate) columns: Vec<SeenColumn>,
    /// Columns of a higher number were added since the table was read.
    pub(crate) last_column: i16,
    snapshot: Option<TableSnapshot>,
    visible: Option<Visibility>,
    /// The `_ab_cdc_lsn` that the next change has to pass.
    floor: u64,
    /// Something of the state has changed.
    pub(crate) changed: bool,
    pub(crate) failed: bool,
    /// The transaction that was last asked about, by its number in the run, and the answer.
    asked: (u64, bool),
}

impl Followed {
    pub(crate) fn new(
        stream: usize,
        selected: Arc<SelectedStream>,
        table: Table,
        state: Streaming,
    ) -> Result<Self> {
        let snapshot = state.snapshot;
        let visible = match &snapshot {
            Some(s) if !s.visible.is_empty() => Some(s.visible.parse()?),
            _ => None,
        };
        let floor = snapshot.as_ref().map_or(0, |s| s.row_lsn);
        let columns = state.columns;
        Ok(Self {
            stream,
            selected,
            table,
            columns,
            last_column: state.last_column,
            snapshot,
            visible,
            floor,
            changed: false,
            failed: false,
            asked: (0, false),
        })
    }

    /// The stream's part of the state, once the log was read up to `position`.
    pub(crate) fn state(&mut self, position: u64) -> Streaming {
        self.changed = false;
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.row_lsn = self.floor;
            // All that the snapshot saw is behind us; its transaction numbers would grow old.
            if position >= snapshot.until_lsn {
                snapshot.visible.clear();
                self.visible = None;
            }
        }
        Streaming {
            snapshot: self.snapshot.clone(),
            columns: self.columns.clone(),
            last_column: self.last_column,
            again: false,
        }
    }

    /// Whether a state made now would differ from the last one.
    pub(crate) fn has_news(&self, position: u64) -> bool {
        self.changed
            || self.visible.is_some() && self.snapshot.as_ref().is_some_and(|s| position >= s.until_lsn)
    }

    /// Whether the table's snapshot has the changes of this transaction already. `number`
    /// counts the transactions of the run, from 1.
    #[inline]
    pub(crate) fn has_seen(&mut self, number: u64, xid: u32, commit: u64) -> bool {
        if self.asked.0 != number {
            let before = self.snapshot.as_ref().is_some_and(|s| commit < s.until_lsn);
            let seen = before && self.visible.as_ref().is_some_and(|v| v.sees(xid));
            self.asked = (number, seen);
        }
        self.asked.1
    }

    /// The `_ab_cdc_lsn` of a change at `lsn`: the same, except where that would sort it before
    /// the snapshot's row.
    ///
    /// A transaction that was open when the table was read may have made its changes before.
    /// They are numbered on from the snapshot's place, and whatever is not beyond these numbers is
    /// numbered on too, for ever: so two changes of one row always have numbers in their order.
    #[inline]
    pub(crate) fn lsn(&mut self, lsn: u64) -> u64 {
        if lsn > self.floor {
            return lsn;
        }
        self.floor += 1;
        self.changed = true;
        self.floor
    }
}
