//! Decimal digits to PostgreSQL's `numeric`: groups of four digits, none of them lost, and as many digits after
//! the point as were written.

use connector_kit::protocol::ChangeReason;

const TOO_LARGE: ChangeReason = ChangeReason::DestinationFieldSizeLimitation;
/// Digits before the point and after it that the type holds.
const WHOLE_DIGITS: i64 = 131_072;
const FRACTION_DIGITS: i64 = 16_383;
/// Exponents that the server does not even look at.
const EXPONENT: i64 = 1 << 29;

/// Appends a JSON number as a field. Appends nothing on an error.
///
/// # Errors
/// When the type cannot hold it.
#[inline]
pub(super) fn write_numeric(out: &mut Vec<u8>, number: &[u8]) -> Result<(), ChangeReason> {
    let (negative, magnitude) = match number {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    match short(magnitude) {
        Some((whole, fraction, scale)) => {
            write_short(out, negative, whole, fraction, scale);
            Ok(())
        }
        None => write_long(out, negative, magnitude),
    }
}

/// Whether the type can hold a JSON number.
pub(super) fn fits(number: &[u8]) -> bool {
    number.len() < 16 && !number.iter().any(|b| matches!(b, b'e' | b'E'))
        || write_long(&mut Vec::new(), false, number.strip_prefix(b"-").unwrap_or(number)).is_ok()
}

/// Digits that are surely below 2^64 …
const WHOLE: usize = 18;
/// … and that still are when filled up to groups of four.
const FRACTION: usize = 16;

/// The digits before the point and after it, and how many the latter are, of a number that is short and plain.
#[inline]
fn short(magnitude: &[u8]) -> Option<(u64, u64, usize)> {
    let (mut whole, mut at) = (0_u64, 0);
    while let Some(digit @ b'0'..=b'9') = magnitude.get(at) {
        whole = whole.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    if at > WHOLE {
        return None;
    }
    if at == magnitude.len() {
        return Some((whole, 0, 0));
    }
    if magnitude[at] != b'.' {
        return None;
    }
    let (point, mut fraction) = (at, 0_u64);
    at += 1;
    while let Some(digit @ b'0'..=b'9') = magnitude.get(at) {
        fraction = fraction.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    let scale = at - point - 1;
    (at == magnitude.len() && scale <= FRACTION).then_some((whole, fraction, scale))
}

#[inline]
fn write_short(out: &mut Vec<u8>, negative: bool, mut whole: u64, fraction: u64, scale: usize) {
    const POINT: usize = WHOLE.div_ceil(4);
    let mut groups = [0_u16; POINT + FRACTION / 4];
    let mut first = POINT;
    while whole != 0 {
        first -= 1;
        groups[first] = (whole % 10_000) as u16;
        whole /= 10_000;
    }
    let mut end = POINT + scale.div_ceil(4);
    let mut fraction = fraction * [1, 1_000, 100, 10][scale % 4];
    for group in groups[POINT..end].iter_mut().rev() {
        *group = (fraction % 10_000) as u16;
        fraction /= 10_000;
    }
    while first < end && groups[first] == 0 {
        first += 1;
    }
    while end > first && groups[end - 1] == 0 {
        end -= 1;
    }
    let count = end - first;
    let weight = if count == 0 { 0 } else { POINT as i16 - 1 - first as i16 };
    let mut field = [0; 4 + 8 + 2 * (POINT + FRACTION / 4)];
    let length = 8 + 2 * count;
    field[..4].copy_from_slice(&(length as u32).to_be_bytes());
    field[4..12].copy_from_slice(&head(count, weight, negative && count != 0, scale as u16));
    for (place, group) in field[12..].chunks_exact_mut(2).zip(&groups[first..end]) {
        place.copy_from_slice(&group.to_be_bytes());
    }
    out.extend_from_slice(&field[..4 + length]);
}

/// How many groups, how many of them minus one before the point, the sign, and the digits shown after the point.
#[inline]
fn head(groups: usize, weight: i16, negative: bool, scale: u16) -> [u8; 8] {
    let sign: u16 = if negative { 0x4000 } else { 0 };
    let mut head = [0; 8];
    head[..2].copy_from_slice(&(groups as u16).to_be_bytes());
    head[2..4].copy_from_slice(&weight.to_be_bytes());
    head[4..6].copy_from_slice(&sign.to_be_bytes());
    head[6..].copy_from_slice(&scale.to_be_bytes());
    head
}

#[cold]
fn write_long(out: &mut Vec<u8>, negative: bool, magnitude: &[u8]) -> Result<(), ChangeReason> {
    let mark = magnitude.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(magnitude.len());
    let (mantissa, power) = magnitude.split_at(mark);
    let power = exponent(power)?;
    let point = mantissa.iter().position(|b| *b == b'.');
    let decimals = point.map_or(0, |at| mantissa.len() - at - 1) as i64;
    // The last digit stands for this power of ten.
    let mut last = power - decimals;
    let scale = last.min(0).abs();
    if scale > FRACTION_DIGITS {
        return Err(TOO_LARGE);
    }
    let digits = mantissa.iter().filter(|b| **b != b'.').copied().skip_while(|b| *b == b'0');
    let mut digits: Vec<u8> = digits.collect();
    if digits.is_empty() {
        out.extend_from_slice(&8_u32.to_be_bytes());
        out.extend_from_slice(&head(0, 0, false, scale as u16));
        return Ok(());
    }
    if digits.len() as i64 + last > WHOLE_DIGITS {
        return Err(TOO_LARGE);
    }
    // The point stands between two groups.
    let padding = last.rem_euclid(4);
    digits.extend(std::iter::repeat_n(b'0', padding as usize));
    last -= padding;
    let weight = last / 4 + digits.len().div_ceil(4) as i64 - 1;
    let (incomplete, complete) = digits.as_rchunks::<4>();
    let group = |digits: &[u8]| digits.iter().fold(0_u16, |n, b| n * 10 + u16::from(b - b'0'));
    let groups = (!incomplete.is_empty()).then(|| group(incomplete));
    let mut groups: Vec<u16> = groups.into_iter().chain(complete.iter().map(|four| group(four))).collect();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    // Both bounds are checked above: at most 32,768 groups before the point.
    out.extend_from_slice(&(8 + 2 * groups.len() as u32).to_be_bytes());
    out.extend_from_slice(&head(groups.len(), weight as i16, negative, scale as u16));
    groups.iter().for_each(|group| out.extend_from_slice(&group.to_be_bytes()));
    Ok(())
}

/// Reads `e+12`, or nothing.
fn exponent(text: &[u8]) -> Result<i64, ChangeReason> {
    let Some((_, text)) = text.split_first() else { return Ok(0) };
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    let mut power = 0_i64;
    for digit in digits {
        power = power * 10 + i64::from(digit - b'0');
        if power > EXPONENT {
            return Err(TOO_LARGE);
        }
    }
    Ok(sign * power)
}
