//! Which transactions a table's snapshot has seen already.

use std::fmt;
use std::str::FromStr;

use connector_kit::{Error, Result};
use serde::{Deserialize, Serialize};

/// What `pg_current_snapshot()` said inside the snapshot that a table was read in:
/// `xmin:xmax:xip,…`, all of 64 bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Visibility {
    /// All transactions before it are seen (or never committed).
    xmin: u64,
    /// It and all after it are not.
    xmax: u64,
    /// Those in between that were running, ascending.
    running: Vec<u64>,
}

impl Visibility {
    /// Whether the changes of this transaction are in the snapshot's rows.
    ///
    /// A message has the lower 32 bits of a transaction's number only. Transactions of one
    /// server live within 2^31 of each other, and so do the snapshot and every transaction
    /// that is asked about (those that committed before it was taken, or were running then),
    /// so the number is the one of these bits that is nearest to `xmax`.
    pub(crate) fn sees(&self, xid: u32) -> bool {
        let distance = xid.wrapping_sub(self.xmax as u32) as i32;
        let Some(full) = self.xmax.checked_add_signed(i64::from(distance)) else {
            return true;
        };
        full < self.xmin || (full < self.xmax && self.running.binary_search(&full).is_err())
    }
}

impl FromStr for Visibility {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::system(format!("The text {text:?} is not a snapshot of a server. Start the table over."))
        };
        let mut parts = text.split(':');
        let mut number = || parts.next().and_then(|p| p.parse::<u64>().ok()).ok_or_else(bad);
        let (xmin, xmax) = (number()?, number()?);
        let list = parts.next().ok_or_else(bad)?;
        let mut running = list
            .split(',')
            .filter(|x| !x.is_empty())
            .map(|x| x.parse::<u64>().map_err(|_| bad()))
            .collect::<Result<Vec<_>>>()?;
        if parts.next().is_some() || xmin > xmax {
            return Err(bad());
        }
        running.sort_unstable();
        Ok(Self { xmin, xmax, running })
    }
}

impl TryFrom<String> for Visibility {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl fmt::Display for Visibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (i, xid) in self.running.iter().enumerate() {
            write!(f, "{}{xid}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl From<Visibility> for String {
    fn from(visibility: Visibility) -> Self {
        visibility.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Visibility;
    use proptest::prelude::*;

    #[test]
    fn what_ran_or_came_later_is_not_seen() {
        let snapshot: Visibility = "10:20:10,14,19".parse().unwrap();
        let seen: Vec<u32> = (5..25).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 18]);
    }

    #[test]
    fn its_text_is_the_servers() {
        for text in ["10:20:10,14,19", "5:5:", "8589934600:8589934601:8589934600"] {
            assert_eq!(text.parse::<Visibility>().unwrap().to_string(), text);
            let json = serde_json::to_string(&text.parse::<Visibility>().unwrap()).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Visibility>(&json).unwrap().to_string(), text);
        }
        for text in ["", "1", "1:2", "2:1:", "1:2:3:4", "1:2:x", "a:2:"] {
            assert!(text.parse::<Visibility>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_lower_half_of_a_number_is_enough_on_both_sides_of_a_wraparound(
            xmax in 3_u64..1 << 40,
            behind in proptest::collection::vec(0_u64..1 << 31, 1..20),
            running in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            // Numbers before xmax, by how far they are behind it.
            let mut xids: Vec<u64> = behind.iter().filter_map(|b| xmax.checked_sub(*b + 1)).filter(|x| *x > 2).collect();
            prop_assume!(!xids.is_empty());
            xids.sort_unstable();
            let mut running: Vec<u64> = running.iter().map(|i| xids[i.index(xids.len())]).collect();
            running.sort_unstable();
            running.dedup();
            let xmin = running.first().copied().unwrap_or(xmax);
            let list: Vec<_> = running.iter().map(u64::to_string).collect();
            let snapshot: Visibility = format!("{xmin}:{xmax}:{}", list.join(",")).parse().unwrap();
            for xid in &xids {
                prop_assert_eq!(snapshot.sees(*xid as u32), !running.contains(xid), "{}", xid);
            }
            for ahead in [0, 1, 1000, (1_u64 << 31) - 1] {
                prop_assert!(!snapshot.sees((xmax + ahead) as u32));
            }
        }
    }
}
