//! One memory budget for all files that are being written.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::Error;

/// Something that holds rows in memory and can write them out early.
pub(crate) trait Holder: Send {
    /// Bytes of memory held now.
    fn held(&self) -> usize;
    /// Writes out what it holds.
    fn let_go(&mut self) -> Result<(), Error>;
}

/// Bounds the memory of all open row groups together, so that a hundred streams need no
/// more than one. When the sum exceeds the limit, the largest writes out its row group,
/// whoever asked.
pub struct Budget {
    limit: usize,
    holders: Mutex<Vec<Weak<Mutex<dyn Holder>>>>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// The largest block that glibc still learns from (`mallopt(3)`, `M_MMAP_THRESHOLD`), with room for its header.
const LESSON: usize = (32 << 20) - (64 << 10);

/// Lets the allocator keep the memory of pages for the next pages.
///
/// The encoder takes a buffer of about 1 MiB for every page and gives it back. glibc would hand it to the kernel each time, and a
/// twentieth of the CPU time would go into faults. It raises its limits to the size of a block that it mapped and that is given
/// back; this one is never touched, so it costs nothing. Other allocators do not mind.
fn keep_pages() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LESSON)));
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        keep_pages();
        Arc::new(Self { limit, holders: Mutex::default() })
    }

    pub(crate) fn join(&self, holder: &Arc<Mutex<dyn Holder>>) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.retain(|h| h.strong_count() > 0);
        holders.push(Arc::downgrade(holder));
    }

    /// Brings the sum under the limit. Call it without holding a file's lock.
    pub(crate) fn balance(&self) -> Result<(), Error> {
        let holders: Vec<_> = {
            let holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
            holders.iter().filter_map(Weak::upgrade).collect()
        };
        let mut sizes: Vec<(usize, usize)> = holders
            .iter()
            .map(|h| h.lock().unwrap_or_else(PoisonError::into_inner).held())
            .zip(0..)
            .collect();
        let mut total: usize = sizes.iter().map(|(size, _)| size).sum();
        sizes.sort_unstable();
        while total > self.limit {
            let Some((size, index)) = sizes.pop() else { break };
            holders[index].lock().unwrap_or_else(PoisonError::into_inner).let_go()?;
            total -= size;
        }
        Ok(())
    }
}
