//! Positions in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A position in the write-ahead log. Text is the server's form, `16/B374D848`; JSON is the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

/// A text that is not a position in the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a log position of the form 16/B374D848")]
pub struct ParseLsnError;

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, ParseLsnError> {
        // `from_str_radix` alone would take a sign.
        let half = |digits: &str| match digits.len() {
            1..=8 if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                u64::from_str_radix(digits, 16).map_err(|_| ParseLsnError)
            }
            _ => Err(ParseLsnError),
        };
        let (high, low) = text.split_once('/').ok_or(ParseLsnError)?;
        Ok(Self(half(high)? << 32 | half(low)?))
    }
}

#[cfg(test)]
mod tests {
    use super::Lsn;
    use proptest::prelude::{any, proptest};

    #[test]
    fn reads_and_writes_the_servers_form() {
        assert_eq!("16/B374D848".parse(), Ok(Lsn(0x16_B374_D848)));
        assert_eq!(Lsn(0x16_0000_0001).to_string(), "16/1");
        assert_eq!(Lsn::default().to_string(), "0/0");
        for wrong in ["", "/", "1/", "/1", "+1/0", "1/+0", "1/123456789", "G/0", "1/0/0", "1"] {
            assert!(wrong.parse::<Lsn>().is_err(), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&Lsn(97_500_059_720)).unwrap(), "97500059720");
    }

    proptest! {
        #[test]
        fn every_position_survives_its_text(value in any::<u64>()) {
            assert_eq!(Lsn(value).to_string().parse(), Ok(Lsn(value)));
        }
    }
}
