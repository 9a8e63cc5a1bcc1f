//! Bounds what all streams together hold back, so that a hundred of them need no more memory than one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be held before those who hold the most send early.
const LIMIT: usize = 4 << 20;

/// What is held, and by how many.
#[derive(Debug, Default)]
pub(crate) struct Room {
    held: AtomicUsize,
    shares: AtomicUsize,
}

/// One holder's part, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Room>,
    own: usize,
}

impl Share {
    pub(crate) fn of(room: &Arc<Room>) -> Self {
        room.shares.fetch_add(1, Ordering::Relaxed);
        Self { room: Arc::clone(room), own: 0 }
    }

    /// Says what is held now; whether it had better be sent.
    pub(crate) fn holds(&mut self, bytes: usize) -> bool {
        self.room.held.fetch_add(bytes, Ordering::Relaxed);
        let held = self.room.held.fetch_sub(self.own, Ordering::Relaxed) - self.own;
        self.own = bytes;
        held > LIMIT && bytes >= LIMIT / self.room.shares.load(Ordering::Relaxed).max(1)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.own, Ordering::Relaxed);
        self.room.shares.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{LIMIT, Room, Share};
    use std::sync::Arc;

    #[test]
    fn alone_one_may_hold_it_all_and_in_a_crowd_the_largest_go_first() {
        let room = Arc::<Room>::default();
        let mut alone = Share::of(&room);
        assert!(!alone.holds(LIMIT));
        assert!(alone.holds(LIMIT + 1));
        assert!(!alone.holds(LIMIT / 2));
        let mut others: Vec<Share> = (0..9).map(|_| Share::of(&room)).collect();
        assert!(others.iter_mut().all(|other| !other.holds(LIMIT / 20)));
        assert!(others[0].holds(LIMIT / 5), "more than its part, and all have too much");
        assert!(!others[1].holds(LIMIT / 30), "less than its part");
        drop(others);
        assert_eq!(room.held.load(std::sync::atomic::Ordering::Relaxed), LIMIT / 2);
    }
}
