//! The blocks of a table, dealt out in pieces to the connections that read them.

/// About 64 MiB: long enough that a query's start does not count, short enough that a
/// crash repeats little.
const BLOCKS: u32 = 8192;
/// Smaller pieces than this are not worth a query.
const LEAST_BLOCKS: u32 = 512;

/// A place in a table: block and item, as a TID.
pub(crate) type Tid = (u32, u16);

/// One piece: rows after a TID and before a block. Open ends reach to the table's ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    index: usize,
    pub(crate) after: Option<Tid>,
    pub(crate) before: Option<u32>,
}

impl Range {
    /// As a condition of a query; `None` when it is the whole table.
    pub(crate) fn condition(&self) -> Option<String> {
        let after = self.after.map(|(block, item)| format!("ctid > '({block},{item})'::tid"));
        let before = self.before.map(|block| format!("ctid < '({block},0)'::tid"));
        match (after, before) {
            (Some(after), Some(before)) => Some(format!("{after} AND {before}")),
            (after, before) => after.or(before),
        }
    }
}

/// Which pieces are still to read, and up to where all are read.
#[derive(Debug)]
pub(crate) struct Ranges {
    all: Vec<Range>,
    next: usize,
    finished: Vec<bool>,
    /// Pieces at the front that are finished.
    front: usize,
}

impl Ranges {
    /// Everything after `from`, cut for `readers` connections. The last piece is open: a table
    /// with children, or one that grew, has rows beyond its own size.
    pub(crate) fn new(from: Option<Tid>, blocks: u32, readers: u32) -> Self {
        let first = from.map_or(0, |(block, _)| block);
        let step = (blocks.saturating_sub(first) / (readers * 4)).clamp(LEAST_BLOCKS, BLOCKS);
        let mut all = Vec::new();
        let mut after = from.filter(|tid| *tid != (0, 0));
        let mut end = first.saturating_add(step);
        while end < blocks {
            all.push(Range { index: all.len(), after, before: Some(end) });
            after = Some((end, 0));
            end = end.saturating_add(step);
        }
        all.push(Range { index: all.len(), after, before: None });
        Self { finished: vec![false; all.len()], all, next: 0, front: 0 }
    }

    /// The whole in one piece: for what has no blocks of its own.
    pub(crate) fn whole() -> Self {
        Self::new(None, 0, 1)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The next piece for a reader.
    pub(crate) fn take(&mut self) -> Option<Range> {
        let range = self.all.get(self.next).cloned();
        self.next += 1;
        range
    }

    /// A piece was read. Returns the TID up to which everything is, when that has moved and
    /// there is more to read.
    pub(crate) fn finish(&mut self, range: &Range) -> Option<Tid> {
        self.finished[range.index] = true;
        let before = self.front;
        while self.finished.get(self.front) == Some(&true) {
            self.front += 1;
        }
        let moved = self.front > before;
        self.all.get(self.front).filter(|_| moved).and_then(|next| next.after)
    }
}

#[cfg(test)]
mod tests {
    use super::{Range, Ranges};

    fn drain(mut ranges: Ranges) -> Vec<Range> {
        std::iter::from_fn(|| ranges.take()).collect()
    }

    #[test]
    fn pieces_follow_each_other_without_gap_or_overlap() {
        for (from, blocks, readers) in [(None, 100_000, 1), (None, 3000, 2), (Some((77, 3)), 20_000, 4)] {
            let pieces = drain(Ranges::new(from, blocks, readers));
            assert!(pieces.len() > 1);
            assert_eq!(pieces[0].after, from);
            for pair in pieces.windows(2) {
                assert_eq!(pair[0].before.map(|b| (b, 0)), pair[1].after);
            }
            assert_eq!(pieces.last().unwrap().before, None);
        }
    }

    #[test]
    fn a_small_table_is_one_piece_without_a_condition() {
        for ranges in [Ranges::new(None, 0, 2), Ranges::new(Some((0, 0)), 300, 1), Ranges::whole()] {
            let pieces = drain(ranges);
            assert_eq!(pieces.len(), 1);
            assert_eq!(pieces[0].condition(), None);
        }
    }

    #[test]
    fn a_resumed_table_starts_after_the_last_row_read() {
        let pieces = drain(Ranges::new(Some((9, 4)), 10, 1));
        assert_eq!(pieces[0].condition().unwrap(), "ctid > '(9,4)'::tid");
    }

    #[test]
    fn the_front_moves_only_over_finished_pieces() {
        let mut ranges = Ranges::new(None, 4 * 8192, 1);
        let pieces: Vec<_> = std::iter::from_fn(|| ranges.take()).collect();
        assert_eq!(ranges.finish(&pieces[1]), None);
        assert_eq!(ranges.finish(&pieces[0]), Some((2 * 8192, 0)));
        assert_eq!(ranges.finish(&pieces[2]), Some((3 * 8192, 0)));
        assert_eq!(ranges.finish(&pieces[3]), None, "nothing is left to resume at");
    }
}
