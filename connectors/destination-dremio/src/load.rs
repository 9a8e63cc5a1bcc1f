//! Rows into one table, by whichever way is quicker: Parquet in a store and COPY INTO, where the config has one, or
//! INSERT. Rows come to the table in their order, so those of a flush are one range of ids.

use std::sync::Arc;

use connector_kit::{BatchRow, RecordBatch, Result, tracing};

use crate::insert::{Arrived, Inserter, Range};
use crate::names::Place;
use crate::room::{Room, Share};
use crate::rows::{Record, RowReader, check_utf8};
use crate::session::Session;
use crate::staged::Stager;
use crate::staging::Stage;
use crate::table::Layout;

/// What Dremio reads of one value in a file, unless it was told otherwise. Longer ones are inserted, which tells what it takes.
const LONGEST_IN_FILES: usize = 32_000;
/// After so many records with longer values, files are not worth the while any more.
const MOST_DETOURS: u32 = 20;

/// Loads one table.
#[derive(Debug)]
pub(crate) struct Loader {
    rows: RowReader,
    inserter: Inserter,
    stager: Option<Stager>,
    detours: u32,
    /// All of this run.
    sent: Option<Arrived>,
    /// Since the last call of [`Loader::take_new`].
    new: Option<Arrived>,
}

impl Loader {
    pub(crate) fn new(
        table: Place,
        layout: &Layout,
        rows: RowReader,
        insert_bytes: usize,
        stage: Option<&Stage>,
        room: &Arc<Room>,
    ) -> Self {
        Self {
            inserter: Inserter::new(table.clone(), &layout.columns, insert_bytes, Share::of(room)),
            stager: stage.map(|stage| Stager::new(table, layout, stage.clone(), Share::of(room))),
            rows,
            detours: 0,
            sent: None,
            new: None,
        }
    }

    /// All rows that were sent in this run, or since they were last forgotten.
    pub(crate) fn sent(&self) -> Option<&Range> {
        self.sent.as_ref().map(|arrived| &arrived.range)
    }

    /// Rows that were sent since the last call.
    pub(crate) fn take_new(&mut self) -> Option<Arrived> {
        self.new.take()
    }

    /// The same, and leaves them to be taken.
    pub(crate) fn new_rows(&self) -> Option<&Arrived> {
        self.new.as_ref()
    }

    /// Takes rows, and sends them whenever there are enough.
    pub(crate) async fn write(&mut self, session: &Session, batch: &RecordBatch) -> Result<()> {
        check_utf8(batch)?;
        for row in batch.rows() {
            let id = self.rows.next_id();
            // No value is longer than the record.
            let is_short = row.data.len() + row.meta.map_or(0, <[u8]>::len) <= LONGEST_IN_FILES;
            match &self.stager {
                Some(_) if is_short => {
                    self.send_waiting(session).await?;
                    let Some(stager) = &mut self.stager else { continue };
                    stager.take(&mut self.rows, id, &row).await?;
                    if stager.is_full() {
                        self.copy(session).await?;
                    }
                }
                Some(_) => {
                    self.copy(session).await?;
                    self.detours += 1;
                    if self.detours > MOST_DETOURS {
                        tracing::info!(
                            "Many records have more than {LONGEST_IN_FILES} bytes, so they are inserted rather than staged."
                        );
                        self.stager = None;
                    }
                    self.insert(session, id, &row).await?;
                }
                None => self.insert(session, id, &row).await?,
            }
        }
        Ok(())
    }

    async fn insert(&mut self, session: &Session, id: [u8; 36], row: &BatchRow<'_>) -> Result<()> {
        if self.inserter.is_large(row) {
            self.send_waiting(session).await?;
            let mut arrived = None;
            let done =
                self.inserter.insert(session, &mut self.rows, &[Record::of(&id, row)], &mut arrived).await;
            arrived.into_iter().for_each(|arrived| self.note(arrived));
            return done;
        }
        if self.inserter.take(id, row) {
            self.send_waiting(session).await?;
        }
        Ok(())
    }

    async fn send_waiting(&mut self, session: &Session) -> Result<()> {
        // Also of a failure part of the rows has arrived.
        let mut arrived = None;
        let done = self.inserter.send(session, &mut self.rows, &mut arrived).await;
        arrived.into_iter().for_each(|arrived| self.note(arrived));
        done
    }

    async fn copy(&mut self, session: &Session) -> Result<()> {
        if let Some(stager) = &mut self.stager
            && let Some(arrived) = stager.load(session).await?
        {
            self.note(arrived);
        }
        Ok(())
    }

    /// Sends what waits. One of the two ways has nothing.
    pub(crate) async fn send(&mut self, session: &Session) -> Result<()> {
        self.send_waiting(session).await?;
        self.copy(session).await
    }

    /// Drops what waits, and what it knows of what was sent.
    pub(crate) async fn forget(&mut self) {
        self.inserter.forget();
        if let Some(stager) = &mut self.stager {
            stager.forget().await;
        }
        self.sent = None;
        self.new = None;
    }

    /// Removes files that were never loaded.
    pub(crate) async fn clean_up(&mut self) {
        if let Some(stager) = &mut self.stager {
            stager.clean_up().await;
        }
    }

    fn note(&mut self, arrived: Arrived) {
        Arrived::join(&mut self.sent, arrived.clone());
        Arrived::join(&mut self.new, arrived);
    }
}
