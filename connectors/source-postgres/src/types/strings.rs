//! Text, and what is shown as hexadecimal digits.

use connector_kit::protocol::json;

use super::{Fate, Malformed, Outcome, nulled};

/// Any text. Bytes that are not UTF-8 (a SQL_ASCII database holds what it was given) cannot
/// be said in JSON.
#[inline]
pub(super) fn text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    if json::write_utf8(out, value) { Ok(Fate::Written) } else { nulled(out) }
}

/// A version, then the text.
#[inline]
pub(super) fn jsonb(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    match value {
        [1, json @ ..] => text(out, json),
        _ => Err(Malformed("a jsonb of version 1")),
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// `00` to `ff`.
const HEX_PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut n = 0;
    while n < 256 {
        pairs[n] = [HEX[n >> 4], HEX[n & 15]];
        n += 1;
    }
    pairs
};

/// `"\\x6b70"`
pub(super) fn bytea(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    out.extend_from_slice(b"\"\\\\x");
    out.reserve(value.len() * 2 + 1);
    for byte in value {
        out.extend_from_slice(&HEX_PAIRS[usize::from(*byte)]);
    }
    out.push(b'"');
    Ok(Fate::Written)
}

fn hex_of_bytea(value: &[u8]) -> Result<&[u8], Malformed> {
    match value {
        [b'\\', b'x', hex @ ..]
            if hex.len() % 2 == 0 && hex.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) =>
        {
            Ok(hex)
        }
        _ => Err(Malformed("a bytea in hexadecimal form")),
    }
}

pub(super) fn bytea_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let hex = hex_of_bytea(value)?;
    out.extend_from_slice(b"\"\\\\x");
    out.extend_from_slice(hex);
    out.push(b'"');
    Ok(Fate::Written)
}

/// Inside arrays: base64 of the text form.
pub(super) fn bytea_item(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    hex_of_bytea(value)?;
    out.push(b'"');
    for three in value.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let mut four = [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize]);
        four[three.len() + 1..].fill(b'=');
        out.extend_from_slice(&four);
    }
    out.push(b'"');
    Ok(Fate::Written)
}

/// `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`
#[inline]
pub(super) fn uuid(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    const PLACES: [usize; 16] = [1, 3, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 29, 31, 33, 35];
    let bytes: &[u8; 16] = value.try_into().map_err(|_| Malformed("a uuid"))?;
    let mut text = *b"\"00000000-0000-0000-0000-000000000000\"";
    for (byte, at) in bytes.iter().zip(PLACES) {
        text[at..at + 2].copy_from_slice(&HEX_PAIRS[usize::from(*byte)]);
    }
    out.extend_from_slice(&text);
    Ok(Fate::Written)
}
