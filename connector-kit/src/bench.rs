//! Doors for the benches into what connectors never see. Not part of the API.

use std::sync::Arc;

use protocol::{ConfiguredStream, RecordDigest};

use crate::emitter::Emitter;
use crate::row::{Row, RowBuffer};
use crate::stream::SelectedStream;

/// As the kit does for a connector.
#[must_use]
pub fn select(configured: ConfiguredStream) -> SelectedStream {
    SelectedStream::new(configured)
}

/// Rows into memory, or thrown away chunk by chunk, through the same code as to stdout.
#[derive(Debug)]
pub struct EmitterToMemory {
    buffer: RowBuffer,
    kept: Option<Arc<std::sync::Mutex<Vec<u8>>>>,
}

impl EmitterToMemory {
    /// Keeps the lines.
    #[must_use]
    pub fn new(stream: &SelectedStream) -> Self {
        let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
        Self { buffer: RowBuffer::new(stream, Emitter::to_memory(Some(Arc::clone(&kept)))), kept: Some(kept) }
    }

    /// Throws full chunks away.
    #[must_use]
    pub fn discarding(stream: &SelectedStream) -> Self {
        Self { buffer: RowBuffer::new(stream, Emitter::to_memory(None)), kept: None }
    }

    /// Writes one row.
    #[inline]
    pub fn row(&mut self, write: impl FnOnce(&mut Row<'_>)) {
        let mut row = Row::open(&mut self.buffer);
        write(&mut row);
        // Memory never refuses.
        let _ = row.end();
    }

    /// Count and digest so far.
    #[must_use]
    pub fn total(&self) -> RecordDigest {
        self.buffer.digest
    }

    /// The lines.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        let _ = self.buffer.flush();
        self.kept.and_then(|k| k.lock().ok().map(|mut k| std::mem::take(&mut *k))).unwrap_or_default()
    }
}
