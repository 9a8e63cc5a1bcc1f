//! Byte classification, 64 bytes at a time, as bit masks, through the `wide` crate
//! (SSE2, NEON or plain words), so that this workspace stays free of `unsafe`.

use wide::u8x16;

/// Bit `i` of each mask says that byte `i` of the block is of that class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Masks {
    pub(crate) quote: u64,
    pub(crate) backslash: u64,
    /// `{` or `[`
    pub(crate) open: u64,
    /// `}` or `]`
    pub(crate) close: u64,
}

#[inline]
pub(crate) fn classify(block: &[u8; 64]) -> Masks {
    let (quote, backslash) = (u8x16::splat(b'"'), u8x16::splat(b'\\'));
    let (open, close, case) = (u8x16::splat(b'{'), u8x16::splat(b'}'), u8x16::splat(0x20));
    let mut masks = Masks::default();
    for (i, lane) in block.as_chunks::<16>().0.iter().enumerate() {
        let bytes = u8x16::new(*lane);
        // Setting bit 5 folds [ onto { and ] onto }; no other byte lands there but
        // 0x5B/0x7B and 0x5D/0x7D.
        let folded = bytes | case;
        let mask = |hits: u8x16| u64::from(hits.to_bitmask()) << (i * 16);
        masks.quote |= mask(bytes.simd_eq(quote));
        masks.backslash |= mask(bytes.simd_eq(backslash));
        masks.open |= mask(folded.simd_eq(open));
        masks.close |= mask(folded.simd_eq(close));
    }
    masks
}

#[cfg(test)]
fn classify_portable(block: &[u8; 64]) -> Masks {
    let mut masks = Masks::default();
    for (i, byte) in block.iter().enumerate() {
        masks.quote |= u64::from(*byte == b'"') << i;
        masks.backslash |= u64::from(*byte == b'\\') << i;
        masks.open |= u64::from(byte | 0x20 == b'{') << i;
        masks.close |= u64::from(byte | 0x20 == b'}') << i;
    }
    masks
}

/// For a block of a string's bytes: bit `i` says that byte `i` has to be escaped; and
/// whether any is beyond ASCII.
#[inline]
pub(crate) fn to_escape(block: [u8; 16]) -> (u32, bool) {
    let (quote, backslash, limit) = (u8x16::splat(b'"'), u8x16::splat(b'\\'), u8x16::splat(0x1F));
    let v = u8x16::new(block);
    let control = v.max(limit).simd_eq(limit);
    let mask = (v.simd_eq(quote) | v.simd_eq(backslash) | control).to_bitmask();
    (mask, v.to_bitmask() != 0)
}

/// Bit `i` says that byte `i` is a backslash.
#[inline]
pub(crate) fn backslashes(block: [u8; 16]) -> u32 {
    u8x16::new(block).simd_eq(u8x16::splat(b'\\')).to_bitmask()
}

/// How many of the bytes, from the first on, are digits.
#[inline]
pub(crate) fn leading_digits(block: [u8; 16]) -> usize {
    let (zero, nine) = (u8x16::splat(b'0'), u8x16::splat(b'9'));
    let v = u8x16::new(block);
    let digits = v.max(zero).min(nine).simd_eq(v);
    (!digits.to_bitmask()).trailing_zeros().min(16) as usize
}

/// Bit `i` says that byte `i` is a quote, a backslash or a control byte.
#[inline]
pub(crate) fn string_stops(block: [u8; 16]) -> u32 {
    to_escape(block).0
}

#[cfg(test)]
mod tests {
    use super::{classify, classify_portable, leading_digits, string_stops};
    use proptest::prelude::{any, proptest};

    proptest! {
        #[test]
        fn both_classifiers_agree(bytes in any::<[u8; 32]>(), json in "[\\\\\"{}\\[\\]a:, ]{32}") {
            let mut block = [0_u8; 64];
            block[..32].copy_from_slice(&bytes);
            block[32..].copy_from_slice(json.as_bytes());
            assert_eq!(classify(&block), classify_portable(&block));
        }

        #[test]
        fn finds_the_bytes_that_end_plain_text(bytes in any::<[u8; 16]>(), json in "[\\\\\"a\u{1F}\u{20}é]{4}") {
            let mut block = bytes;
            block[..4].copy_from_slice(&json.as_bytes()[..4]);
            let ends = |b: &u8| matches!(b, b'"' | b'\\' | 0..=0x1F);
            let expected = block.iter().enumerate().fold(0, |mask, (i, b)| mask | u32::from(ends(b)) << i);
            assert_eq!(string_stops(block), expected);
        }

        #[test]
        fn counts_digits_up_to_the_first_other_byte(bytes in any::<[u8; 16]>(), digits in 0_usize..17) {
            let mut block = bytes;
            block[..digits].iter_mut().for_each(|b| *b = b'0' + *b % 10);
            let expected = block.iter().take_while(|b| b.is_ascii_digit()).count();
            assert_eq!(leading_digits(block), expected);
        }
    }
}
