//! Numbers that look random and depend on nothing but a seed and a row: any row can be
//! made without the ones before it, so a resumed read continues the same data.

/// The random numbers of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// `salt` tells streams apart.
    pub(crate) fn of_row(seed: i64, salt: u64, row: u64) -> Self {
        Self(
            (seed as u64).wrapping_mul(0xD134_2543_DE82_EF95)
                ^ salt.rotate_left(32)
                ^ row.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        )
    }

    /// The next 64 bits (Steele, Lea and Flood's SplitMix64).
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `0..n`.
    #[inline]
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// One of the words.
    #[inline]
    pub(crate) fn pick<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len() as u64) as usize]
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn rows_are_independent_of_each_other_and_of_order() {
        let value = |row| Random::of_row(7, 1, row).next();
        assert_eq!(value(5), value(5));
        assert_ne!(value(5), value(6));
        assert_ne!(Random::of_row(8, 1, 5).next(), value(5));
        assert_ne!(Random::of_row(7, 2, 5).next(), value(5));
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut random = Random::of_row(1, 1, 1);
        let mut seen = [false; 10];
        (0..1000).for_each(|_| seen[random.below(10) as usize] = true);
        assert!(seen.iter().all(|s| *s));
    }
}
