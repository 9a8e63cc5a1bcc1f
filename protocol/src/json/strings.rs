//! What stands inside quotes: escapes resolved, and text written as a JSON string.

use crate::simd;

/// Appends the text that `raw` stands for; false when half a surrogate pair had to be replaced.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let mut faithful = true;
    out.reserve(raw.len() + 16);
    let mut rest = raw;
    // Text with one escape often has many, close to each other. Blocks are copied whole and cut to
    // size, since a copy of fixed size needs no call.
    while let Some(block) = rest.first_chunk::<16>() {
        let mask = simd::backslashes(*block);
        if mask == 0 {
            out.extend_from_slice(block);
            rest = &rest[16..];
            continue;
        }
        let plain = mask.trailing_zeros() as usize;
        let end = out.len() + plain;
        out.extend_from_slice(block);
        out.truncate(end);
        rest = unescape_one(&rest[plain..], out, &mut faithful);
    }
    while let Some(byte) = rest.first() {
        if *byte == b'\\' {
            rest = unescape_one(rest, out, &mut faithful);
        } else {
            out.push(*byte);
            rest = &rest[1..];
        }
    }
    faithful
}

/// What the letter after a backslash stands for, if it is not the start of a number.
const ESCAPES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut letter = 0;
    while letter < 256 {
        bytes[letter] = letter as u8;
        letter += 1;
    }
    bytes[b'n' as usize] = b'\n';
    bytes[b't' as usize] = b'\t';
    bytes[b'r' as usize] = b'\r';
    bytes[b'b' as usize] = 8;
    bytes[b'f' as usize] = 12;
    bytes
};

/// Appends what the escape at the start of `text` stands for; returns what follows it.
#[inline]
fn unescape_one<'a>(text: &'a [u8], out: &mut Vec<u8>, faithful: &mut bool) -> &'a [u8] {
    match text {
        [_, b'u', ..] => unescape_unicode(text, out, faithful),
        [_, letter, rest @ ..] => {
            out.push(ESCAPES[usize::from(*letter)]);
            rest
        }
        // A backslash at the very end stands for itself.
        _ => {
            out.push(b'\\');
            &[]
        }
    }
}

#[cold]
fn unescape_unicode<'a>(text: &'a [u8], out: &mut Vec<u8>, faithful: &mut bool) -> &'a [u8] {
    let (c, used) = unicode_escape(text);
    let mut utf8 = [0; 4];
    *faithful &= c.is_some();
    out.extend_from_slice(c.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut utf8).as_bytes());
    &text[used..]
}

/// Reads `\uXXXX`, or a surrogate pair of two, at the start of `text`.
fn unicode_escape(text: &[u8]) -> (Option<char>, usize) {
    let Some(first) = hex4(text, 2) else { return (None, 2.min(text.len())) };
    if (0xD800..0xDC00).contains(&first)
        && text.get(6..8) == Some(b"\\u")
        && let Some(second @ 0xDC00..0xE000) = hex4(text, 8)
    {
        return (char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)), 12);
    }
    (char::from_u32(first), 6)
}

fn hex4(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |n, b| char::from(*b).to_digit(16).map(|d| n * 16 + d))
}

/// Appends `text` as a JSON string, quotes included.
#[inline]
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    write_escaped(out, text.as_bytes());
}

/// Appends bytes as a JSON string, quotes included, if they are UTF-8; else appends nothing
/// and returns `false`.
#[inline]
pub fn write_utf8(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let start = out.len();
    if write_escaped(out, bytes) || std::str::from_utf8(bytes).is_ok() {
        return true;
    }
    out.truncate(start);
    false
}

/// Returns whether all bytes are ASCII.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    // Blocks are copied whole and cut to size, since a copy of fixed size needs no call.
    out.reserve(bytes.len() + 18);
    out.push(b'"');
    let mut beyond_ascii = false;
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let (mask, beyond) = simd::to_escape(*block);
        beyond_ascii |= beyond;
        if mask == 0 {
            out.extend_from_slice(block);
        } else {
            write_block(out, u128::from_le_bytes(*block), 16, mask);
        }
    }
    if !tail.is_empty() {
        let block = short_block(tail);
        let (mask, beyond) = simd::to_escape(block.to_le_bytes());
        beyond_ascii |= beyond;
        // What fills the block up are control bytes.
        write_block(out, block, tail.len(), mask & ((1 << tail.len()) - 1));
    }
    out.push(b'"');
    !beyond_ascii
}

/// Up to fifteen bytes, from the lowest, by loads of fixed size that may overlap.
#[inline]
fn short_block(bytes: &[u8]) -> u128 {
    // Where two loads overlap, they agree.
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        let place = 8 * (bytes.len() - 8);
        u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << place
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let place = 8 * (bytes.len() - 4);
        u128::from(u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << place)
    } else {
        bytes.iter().rev().fold(0, |block, byte| block << 8 | u128::from(*byte))
    }
}

/// Appends the first `length` bytes of a block, of which `mask` says which to escape.
#[inline]
fn write_block(out: &mut Vec<u8>, mut block: u128, mut length: usize, mut mask: u32) {
    while mask != 0 {
        let plain = mask.trailing_zeros() as usize;
        let end = out.len() + plain;
        out.extend_from_slice(&block.to_le_bytes());
        out.truncate(end);
        block >>= 8 * plain;
        write_escape(out, block as u8);
        block >>= 8;
        length -= plain + 1;
        mask >>= plain + 1;
    }
    let end = out.len() + length;
    out.extend_from_slice(&block.to_le_bytes());
    out.truncate(end);
}

#[inline]
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    /// The letter after the backslash, where there is one.
    const LETTERS: [u8; 128] = {
        let mut letters = [0; 128];
        letters[b'"' as usize] = b'"';
        letters[b'\\' as usize] = b'\\';
        letters[b'\n' as usize] = b'n';
        letters[b'\r' as usize] = b'r';
        letters[b'\t' as usize] = b't';
        letters
    };
    let letter = LETTERS[usize::from(byte & 0x7F)];
    if letter != 0 {
        out.extend_from_slice(&[b'\\', letter]);
    } else {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
        out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
    }
}
