//! The few parts of a certificate that are looked at by hand, because the verifier has no word for
//! them. Nothing here decides about a signature.

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const VERSION: u8 = 0xa0;

/// What a certificate says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// From when and until when it is valid, in seconds since 1970.
    pub(crate) valid: (i64, i64),
    /// The common name of its subject.
    pub(crate) name: Option<&'a str>,
    /// The object identifier of the algorithm it is signed by.
    pub(crate) signed_by: &'a [u8],
}

/// Takes a certificate apart; `None` when it is none.
pub(crate) fn parts(certificate: &[u8]) -> Option<Parts<'_>> {
    let mut outer = Elements(Elements(certificate).of(SEQUENCE)?);
    let mut inner = Elements(outer.of(SEQUENCE)?);
    let signed_by = Elements(outer.of(SEQUENCE)?).of(OBJECT)?;
    // The version, which version 1 leaves out, and the serial number.
    if inner.next()?.0 == VERSION {
        inner.next()?;
    }
    inner.of(SEQUENCE)?;
    inner.of(SEQUENCE)?;
    let mut validity = Elements(inner.of(SEQUENCE)?);
    let valid = (time(validity.next()?)?, time(validity.next()?)?);
    let name = common_name(inner.of(SEQUENCE)?);
    Some(Parts { valid, name, signed_by })
}

/// The last common name of a subject, as the last is the most specific.
fn common_name(subject: &[u8]) -> Option<&str> {
    let mut name = None;
    let mut sets = Elements(subject);
    while let Some((SET, set)) = sets.next() {
        let mut attribute = Elements(Elements(set).of(SEQUENCE)?);
        if attribute.of(OBJECT)? == [0x55, 4, 3] {
            name = match attribute.next()? {
                // UTF8String, PrintableString, T61String, IA5String; all of them ASCII in a host's name.
                (0x0c | 0x13 | 0x14 | 0x16, text) => std::str::from_utf8(text).ok(),
                _ => None,
            };
        }
    }
    name
}

/// `UTCTime` (two digits of the year, 1950 to 2049) or `GeneralizedTime`, always with a `Z`.
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (0x17, 12) => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (0x18, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |n: usize| rest[2 * n..2 * n + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(1)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March, so that the leap day is the last.
    let (shifted, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = shifted * 365 + shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400);
    let days = days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + part(2)?) * 60 + part(3)?) * 60 + part(4)?)
}

/// DER elements, one after another.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let ([tag, length], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(*length), rest),
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (digits.iter().fold(0, |n, digit| n << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The next element, which must be of this kind.
    fn of(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use super::{parts, time};
    use proptest::prelude::{any, prop, proptest};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use testkit::services::Authority;

    #[test]
    fn takes_a_certificate_apart() {
        let authority = Authority::new();
        let (path, _) = authority.issue_to("somebody", "DNS:localhost");
        let der = CertificateDer::from_pem_file(path).unwrap();
        let parts = parts(&der).unwrap();
        assert_eq!(parts.name, Some("somebody"));
        assert_eq!(parts.signed_by, [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        assert_eq!(parts.valid.1 - parts.valid.0, 2 * 86_400);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
        assert!((0..3600).contains(&(now - parts.valid.0)));
        for cut in 0..der.len() {
            assert_eq!(super::parts(&der[..cut]), None);
        }
    }

    #[test]
    fn reads_times_of_both_kinds() {
        assert_eq!(time((0x17, b"700101000000Z")), Some(0));
        assert_eq!(time((0x17, b"000229235959Z")), Some(951_868_799));
        assert_eq!(time((0x18, b"21000301000000Z")), Some(4_107_542_400));
        assert_eq!(time((0x17, b"491231235959Z")), Some(2_524_607_999));
        for wrong in
            ["", "Z", "7001010000Z", "70010100000Z", "+00101000000Z", "701301000000Z", "700101000000"]
        {
            assert_eq!(time((0x17, wrong.as_bytes())), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = parts(&bytes);
            let _ = time((0x18, &bytes));
        }
    }
}
