//! The digest behind every receipt: 128 bits, independent of record order.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_128;

/// A running count and digest of records.
///
/// The digest is the sum modulo 2^128 of XXH3-128 over each record's `data` bytes
/// exactly as they stand on the line. A sum does not depend on order, so a source
/// that reads over several connections, the pump and a destination that commits in
/// batches all arrive at the same number; and two sums can be added. A lost, doubled
/// or altered record changes it; a lost and a doubled one, which a count alone would
/// miss, change it too. It is a checksum against faults, not against forgery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordDigest {
    records: u64,
    sum: u128,
}

impl RecordDigest {
    /// Takes one record's `data` bytes into account.
    #[inline]
    pub fn add(&mut self, data: &[u8]) {
        self.records += 1;
        self.sum = self.sum.wrapping_add(xxh3_128(data));
    }

    /// Adds another digest's records to this one.
    #[inline]
    pub fn merge(&mut self, other: RecordDigest) {
        self.records += other.records;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// The difference between this running total and an earlier one of the same run.
    #[must_use]
    pub fn since(&self, earlier: RecordDigest) -> RecordDigest {
        RecordDigest { records: self.records - earlier.records, sum: self.sum.wrapping_sub(earlier.sum) }
    }

    /// How many records were added.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The sum alone, as it travels in `recordDigest`: 32 lower-case hex digits.
    #[must_use]
    pub fn hex(&self) -> String {
        format!("{:032x}", self.sum)
    }

    /// Puts a count and a digest read from the wire together again.
    ///
    /// # Errors
    /// When `hex` is not 32 hexadecimal digits.
    pub fn from_parts(records: u64, hex: &str) -> Result<Self, std::num::ParseIntError> {
        Ok(Self { records, sum: SumHex::from_str(hex)?.0 })
    }
}

struct SumHex(u128);

impl FromStr for SumHex {
    type Err = std::num::ParseIntError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        // A wrong length must be refused, or "0" would pass for an empty digest.
        if s.len() == 32 && s.bytes().all(|b| b.is_ascii_hexdigit()) {
            u128::from_str_radix(s, 16).map(SumHex)
        } else {
            u128::from_str_radix("", 16).map(SumHex)
        }
    }
}

impl fmt::Display for RecordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, digest {:032x}", self.records, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::RecordDigest;

    fn digest_of(rows: &[&str]) -> RecordDigest {
        let mut digest = RecordDigest::default();
        rows.iter().for_each(|row| digest.add(row.as_bytes()));
        digest
    }

    #[test]
    fn does_not_depend_on_order() {
        assert_eq!(digest_of(&["{\"a\":1}", "{\"a\":2}"]), digest_of(&["{\"a\":2}", "{\"a\":1}"]));
    }

    #[test]
    fn notices_a_lost_and_a_doubled_record() {
        let whole = digest_of(&["1", "2", "3"]);
        let wrong = digest_of(&["1", "1", "3"]);
        assert_eq!(whole.records(), wrong.records());
        assert_ne!(whole, wrong);
    }

    #[test]
    fn survives_its_text_form_and_refuses_a_short_one() {
        let digest = digest_of(&["x"]);
        assert_eq!(RecordDigest::from_parts(1, &digest.hex()), Ok(digest));
        assert!(RecordDigest::from_parts(1, "0").is_err());
        assert!(RecordDigest::from_parts(1, "+0000000000000000000000000000001").is_err());
    }

    #[test]
    fn subtracts_an_earlier_total() {
        let mut total = digest_of(&["1"]);
        let earlier = total;
        total.add(b"2");
        assert_eq!(total.since(earlier), digest_of(&["2"]));
    }
}
