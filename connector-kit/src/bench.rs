//! Doors for the benches into what connectors never see. Not part of the API.

use std::sync::Arc;

use protocol::{ConfiguredStream, RecordDigest};

use crate::emitter::Emitter;
use crate::row::{Chunk, Row, StreamRows};
use crate::stream::SelectedStream;

/// As the kit does for a connector.
#[must_use]
pub fn select(configured: ConfiguredStream) -> SelectedStream {
    SelectedStream::new(configured)
}

/// Rows into memory, or thrown away chunk by chunk, through the same code as to stdout.
#[derive(Debug)]
pub struct EmitterToMemory {
    chunk: Chunk,
    rows: StreamRows,
    kept: Option<Arc<std::sync::Mutex<Vec<u8>>>>,
}

impl EmitterToMemory {
    /// Keeps the lines.
    #[must_use]
    pub fn new(stream: &SelectedStream) -> Self {
        let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
        let chunk = Chunk::new(Emitter::to_memory(Some(Arc::clone(&kept))));
        Self { chunk, rows: StreamRows::new(stream), kept: Some(kept) }
    }

    /// Throws full chunks away.
    #[must_use]
    pub fn discarding(stream: &SelectedStream) -> Self {
        Self { chunk: Chunk::new(Emitter::to_memory(None)), rows: StreamRows::new(stream), kept: None }
    }

    /// Writes one row.
    #[inline]
    pub fn row(&mut self, write: impl FnOnce(&mut Row<'_>)) {
        let mut row = Row::open(&mut self.chunk, &mut self.rows);
        write(&mut row);
        // Memory never refuses.
        let _ = row.end();
    }

    /// Count and digest so far.
    #[must_use]
    pub fn total(&self) -> RecordDigest {
        self.rows.digest
    }

    /// The lines.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        let _ = self.chunk.flush();
        self.kept.and_then(|k| k.lock().ok().map(|mut k| std::mem::take(&mut *k))).unwrap_or_default()
    }
}
