//! Points, lines and areas: the server's text, in which every coordinate is shown with
//! decimals, as Airbyte shows them.

use super::{Fate, Malformed, Outcome, nulled};

const GEOMETRY: Malformed = Malformed("a geometric value");

/// Writes the text as a string: numbers anew, brackets and commas as they are.
pub(super) fn write(out: &mut Vec<u8>, text: &[u8]) -> Outcome {
    let Ok(mut rest) = std::str::from_utf8(text) else { return nulled(out) };
    out.push(b'"');
    while let Some(byte) = rest.bytes().next() {
        if matches!(byte, b'(' | b')' | b'[' | b']' | b'<' | b'>' | b'{' | b'}' | b',') {
            out.push(byte);
            rest = &rest[1..];
            continue;
        }
        let end = rest.find(['(', ')', '[', ']', '<', '>', '{', '}', ',']).unwrap_or(rest.len());
        coordinate(out, rest[..end].parse().map_err(|_| GEOMETRY)?);
        rest = &rest[end..];
    }
    out.push(b'"');
    Ok(Fate::Written)
}

/// `3.0`, `1.5e-7`, `1.0e+20`; in text, NaN and infinity can be said.
fn coordinate(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        let name: &[u8] = match (value.is_nan(), value > 0.0) {
            (true, _) => b"NaN",
            (_, true) => b"Infinity",
            (_, false) => b"-Infinity",
        };
        return out.extend_from_slice(name);
    }
    let mut buffer = zmij::Buffer::new();
    let digits = buffer.format_finite(value);
    match digits.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => {
            out.extend_from_slice(mantissa.as_bytes());
            out.extend_from_slice(b".0e");
            out.extend_from_slice(exponent.as_bytes());
        }
        _ => out.extend_from_slice(digits.as_bytes()),
    }
}
