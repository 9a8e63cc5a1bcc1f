//! Booleans and numbers. Digits are the server's: nothing is rounded, and `numeric` keeps
//! the zeros of its scale.

use super::calendar::PAIRS;
use super::{Fate, Malformed, Outcome, nulled};

pub(super) fn boolean_binary(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    match value {
        [0] => out.extend_from_slice(b"false"),
        [1] => out.extend_from_slice(b"true"),
        _ => return Err(Malformed("a boolean")),
    }
    Ok(Fate::Written)
}

pub(super) fn boolean_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    match value {
        b"f" => boolean_binary(out, &[0]),
        b"t" => boolean_binary(out, &[1]),
        _ => Err(Malformed("a boolean")),
    }
}

/// `bit(1)` as an item of an array.
pub(super) fn bit_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    match value {
        b"0" => boolean_binary(out, &[0]),
        b"1" => boolean_binary(out, &[1]),
        _ => Err(Malformed("a bit")),
    }
}

#[inline]
fn write_integer(out: &mut Vec<u8>, value: i64) -> Outcome {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    Ok(Fate::Written)
}

#[inline]
pub(super) fn int2(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let bytes = value.try_into().map_err(|_| Malformed("a smallint"))?;
    write_integer(out, i16::from_be_bytes(bytes).into())
}

#[inline]
pub(super) fn int4(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let bytes = value.try_into().map_err(|_| Malformed("an integer"))?;
    out.extend_from_slice(itoa::Buffer::new().format(i32::from_be_bytes(bytes)).as_bytes());
    Ok(Fate::Written)
}

#[inline]
pub(super) fn int8(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let bytes = value.try_into().map_err(|_| Malformed("a bigint"))?;
    write_integer(out, i64::from_be_bytes(bytes))
}

#[inline]
pub(super) fn oid(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let bytes = value.try_into().map_err(|_| Malformed("an oid"))?;
    write_integer(out, u32::from_be_bytes(bytes).into())
}

pub(super) fn integer_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    // No integer type has more digits than bigint.
    if !canonical(digits) || digits.len() > 19 {
        return Err(Malformed("an integer"));
    }
    out.extend_from_slice(value);
    Ok(Fate::Written)
}

/// Digits as JSON wants them before a point: at least one, no needless zero.
fn canonical(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_digit) && !matches!(digits, [] | [b'0', _, ..])
}

#[inline]
pub(super) fn float4(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let bytes = value.try_into().map_err(|_| Malformed("a real"))?;
    write_float4(out, f32::from_be_bytes(bytes))
}

#[inline]
pub(super) fn float8(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let bytes = value.try_into().map_err(|_| Malformed("a double precision"))?;
    write_float8(out, f64::from_be_bytes(bytes))
}

/// Read as the type itself: a detour through f64 would show digits that a real has not.
pub(super) fn float4_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    write_float4(out, float(value).ok_or(Malformed("a real"))?)
}

pub(super) fn float8_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    write_float8(out, float(value).ok_or(Malformed("a double precision"))?)
}

fn float<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn write_float4(out: &mut Vec<u8>, value: f32) -> Outcome {
    if !value.is_finite() {
        return nulled(out);
    }
    out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    Ok(Fate::Written)
}

#[inline]
fn write_float8(out: &mut Vec<u8>, value: f64) -> Outcome {
    if !value.is_finite() {
        return nulled(out);
    }
    out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    Ok(Fate::Written)
}

const NUMERIC: Malformed = Malformed("a numeric");
/// `NUMERIC_DSCALE_MASK` of the server's format.
const MOST_DECIMALS: u16 = 0x3FFF;

/// Count of groups, weight of the first, sign, decimals to show; then groups of four
/// decimal digits, where zero groups at both ends are left out.
#[inline]
pub(super) fn numeric(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let (head, groups) = value.split_first_chunk::<8>().ok_or(NUMERIC)?;
    let field = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (groups, rest) = groups.as_chunks::<2>();
    let decimals = field(6);
    if usize::from(field(0)) != groups.len() || !rest.is_empty() || decimals > MOST_DECIMALS {
        return Err(NUMERIC);
    }
    match field(4) {
        0 => {}
        0x4000 => out.push(b'-'),
        // NaN, Infinity, -Infinity.
        0xC000 | 0xD000 | 0xF000 => return nulled(out),
        _ => return Err(NUMERIC),
    }
    // The power of 10,000 of the first group. Nothing is left of zero.
    let weight = if groups.is_empty() { -1 } else { field(2).cast_signed() };
    // Zero groups in front are left out; one that is not would stand as needless zeros.
    if weight > 0 && groups.first() == Some(&[0, 0]) {
        return Err(NUMERIC);
    }
    if (0..4).contains(&weight) && decimals <= 8 {
        return short_numeric(out, groups, weight.unsigned_abs().into(), decimals.into());
    }
    let whole = usize::try_from(i32::from(weight) + 1).unwrap_or(0);
    match groups.first() {
        Some(first) if whole > 0 => {
            let (digits, from) = four(*first)?;
            out.extend_from_slice(&digits[from..]);
            for at in 1..whole {
                out.extend_from_slice(&four(groups.get(at).copied().unwrap_or_default())?.0);
            }
        }
        _ => out.push(b'0'),
    }
    if decimals == 0 {
        return if groups.len() > whole { Err(NUMERIC) } else { Ok(Fate::Written) };
    }
    out.push(b'.');
    let mut missing = usize::from(decimals);
    let absent = usize::try_from(-1 - i32::from(weight)).unwrap_or(0);
    let zeros = missing.min(absent * 4);
    out.resize(out.len() + zeros, b'0');
    missing -= zeros;
    for group in groups.get(whole..).unwrap_or_default() {
        let (digits, _) = four(*group)?;
        let shown = missing.min(4);
        // The server never keeps digits beyond the scale; cutting them off would be rounding.
        if digits[shown..].iter().any(|d| *d != b'0') {
            return Err(NUMERIC);
        }
        out.extend_from_slice(&digits[..shown]);
        missing -= shown;
    }
    out.resize(out.len() + missing, b'0');
    Ok(Fate::Written)
}

/// At most sixteen digits, then at most eight: in one block, which is cut to size.
#[inline]
fn short_numeric(out: &mut Vec<u8>, groups: &[[u8; 2]], weight: usize, decimals: usize) -> Outcome {
    let shown = weight + 1 + decimals.div_ceil(4);
    if groups.len() > shown {
        return Err(NUMERIC);
    }
    let mut text = [b'0'; 28];
    let mut from = 0;
    for (at, group) in groups.iter().enumerate() {
        let (digits, zeros) = four(*group)?;
        // The point stands between them.
        let place = at * 4 + usize::from(at > weight);
        text[place..place + 4].copy_from_slice(&digits);
        if at == 0 {
            from = zeros;
        }
    }
    let whole = (weight + 1) * 4;
    let mut end = whole;
    if decimals > 0 {
        text[whole] = b'.';
        end += 1 + decimals;
        let dropped = &text[end..whole + 1 + decimals.div_ceil(4) * 4];
        if dropped.iter().any(|d| *d != b'0') {
            return Err(NUMERIC);
        }
    }
    out.extend_from_slice(&text[from..end]);
    Ok(Fate::Written)
}

/// A group's digits, and the first that is not a leading zero.
#[inline]
fn four(group: [u8; 2]) -> Result<([u8; 4], usize), Malformed> {
    let n = u16::from_be_bytes(group);
    if n > 9_999 {
        return Err(NUMERIC);
    }
    let ([a, b], [c, d]) = (PAIRS[usize::from(n / 100)], PAIRS[usize::from(n % 100)]);
    let from = usize::from(n < 10) + usize::from(n < 100) + usize::from(n < 1_000);
    Ok(([a, b, c, d], from))
}

pub(super) fn numeric_text(out: &mut Vec<u8>, value: &[u8]) -> Outcome {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let (whole, decimals) = match memchr::memchr(b'.', digits) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    if canonical(whole) && decimals.is_none_or(|d| !d.is_empty() && d.iter().all(u8::is_ascii_digit)) {
        out.extend_from_slice(value);
        return Ok(Fate::Written);
    }
    match value {
        b"NaN" | b"Infinity" | b"-Infinity" => nulled(out),
        _ => Err(NUMERIC),
    }
}

/// An amount as the locale writes it: currency, separators and sign are anywhere, but the
/// digits are in order, and how many of them are decimals is known.
pub(super) fn money_text(out: &mut Vec<u8>, value: &[u8], fraction_digits: u8) -> Outcome {
    // Minus is a hyphen, U+2212, or parentheses, by locale.
    let negative = memchr::memchr2(b'-', b'(', value).is_some()
        || memchr::memmem::find(value, "\u{2212}".as_bytes()).is_some();
    let mut digits = value.iter().copied().filter(u8::is_ascii_digit);
    let count = digits.clone().count();
    let decimals = usize::from(fraction_digits);
    // 64 bits, and no more than ten decimals.
    if count <= decimals || count > 30 {
        return Err(Malformed("an amount of money in the database's locale"));
    }
    if negative {
        out.push(b'-');
    }
    // A locale may pad the amount with zeros.
    let whole = count - decimals;
    let mut begun = false;
    for at in 0..whole {
        let digit = digits.next().unwrap_or(b'0');
        begun |= digit != b'0' || at + 1 == whole;
        if begun {
            out.push(digit);
        }
    }
    if decimals > 0 {
        out.push(b'.');
        out.extend(digits);
    }
    Ok(Fate::Written)
}
