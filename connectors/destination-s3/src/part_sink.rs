//! Bytes of an object on their way: gathered into parts, and sent when a part is full.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use s3_kit::{Upload, part_bytes};

/// All sinks together may gather about so much.
const GATHERED_BYTES: usize = 32 << 20;

/// What all sinks have gathered, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    bytes: AtomicUsize,
    sinks: AtomicUsize,
}

impl Gathered {
    /// Whether one that holds so much had better end its object: parts cannot be sent before they are full.
    pub(crate) fn is_crowded_by(&self, own: usize) -> bool {
        let sinks = self.sinks.load(Ordering::Relaxed).max(1);
        self.bytes.load(Ordering::Relaxed) > GATHERED_BYTES && own >= GATHERED_BYTES / sinks
    }
}

/// The sink's own side, and its owner's.
#[derive(Debug)]
pub(crate) struct Sending {
    /// Gone once it is finished.
    pub(crate) upload: Option<Upload>,
    part: Vec<u8>,
    gathered: Arc<Gathered>,
}

impl Sending {
    /// Sends what is left as the last part. False when there was nothing at all.
    pub(crate) fn end(&mut self) -> Result<bool, s3_kit::Error> {
        self.send()?;
        Ok(self.upload.as_ref().is_some_and(|upload| upload.parts() > 0))
    }

    pub(crate) fn gathered(&self) -> usize {
        self.part.len()
    }

    /// The bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.upload.as_ref().map_or(0, Upload::bytes) + self.part.len() as u64
    }

    fn send(&mut self) -> Result<(), s3_kit::Error> {
        if let (Some(upload), false) = (&mut self.upload, self.part.is_empty()) {
            self.gathered.bytes.fetch_sub(self.part.len(), Ordering::Relaxed);
            return upload.send(std::mem::take(&mut self.part).into());
        }
        Ok(())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.gathered.bytes.fetch_sub(self.part.len(), Ordering::Relaxed);
        self.gathered.sinks.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A sink, shared between the file that writes to it and whoever ends it.
#[derive(Clone, Debug)]
pub(crate) struct PartSink(Arc<Mutex<Sending>>);

impl PartSink {
    pub(crate) fn new(upload: Upload, gathered: &Arc<Gathered>) -> Self {
        gathered.sinks.fetch_add(1, Ordering::Relaxed);
        let gathered = Arc::clone(gathered);
        Self(Arc::new(Mutex::new(Sending { upload: Some(upload), part: Vec::new(), gathered })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Sending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for PartSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sending = self.lock();
        let whole = part_bytes(sending.upload.as_ref().map_or(0, Upload::parts) + 1);
        let taken = bytes.len().min(whole - sending.part.len());
        // Doubling stops at a part's size: no byte more is ever needed.
        let room = (sending.part.len() + taken).next_power_of_two().min(whole);
        let more = room.saturating_sub(sending.part.len());
        sending.part.reserve_exact(more);
        sending.part.extend_from_slice(&bytes[..taken]);
        sending.gathered.bytes.fetch_add(taken, Ordering::Relaxed);
        if sending.part.len() == whole {
            sending.send().map_err(io::Error::other)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
