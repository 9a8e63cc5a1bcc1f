//! JSON text to PostgreSQL's `jsonb`, which refuses some JSON: NUL and halves of surrogate pairs in strings,
//! numbers beyond `numeric`, and what would take more than 256 MiB.

use connector_kit::protocol::ChangeReason;
use connector_kit::protocol::json;

use super::field::Kept;
use super::numeric;

const UNSTORABLE: ChangeReason = ChangeReason::DestinationSerializationError;
const TOO_LARGE: ChangeReason = ChangeReason::DestinationFieldSizeLimitation;
/// The only version there is of the binary form.
const VERSION: u8 = 1;
/// No number with fewer digits than this needs a look, if it has no exponent.
const SHORT: usize = 16_383;
/// What the items of one array or object may take together …
const CONTAINER_BYTES: usize = (1 << 28) - 1;
/// … which no text as short as this can exceed: `1,` becomes 12 bytes.
const HARMLESS_BYTES: usize = CONTAINER_BYTES / 6;

/// Appends whole and valid JSON in the binary form. `Err`: it cannot be stored at all; what was appended is of no use.
pub(crate) fn write_jsonb(out: &mut Vec<u8>, json: &[u8]) -> Result<Kept, ChangeReason> {
    out.reserve(1 + json.len());
    out.push(VERSION);
    let start = out.len();
    out.extend_from_slice(json);
    mend(&mut out[start..])
}

/// The same for a string, given as it stands between its quotes.
pub(super) fn write_jsonb_string(out: &mut Vec<u8>, raw: &[u8]) -> Result<Kept, ChangeReason> {
    out.reserve(3 + raw.len());
    out.extend_from_slice(&[VERSION, b'"']);
    let start = out.len();
    out.extend_from_slice(raw);
    let replaced = replace_unstorable(&mut out[start..]);
    out.push(b'"');
    Ok(if replaced { Kept::Part(UNSTORABLE) } else { Kept::Whole })
}

/// Replaces in place what the server refuses by what it takes.
fn mend(json: &mut [u8]) -> Result<Kept, ChangeReason> {
    let mut kept = Kept::Whole;
    if replace_unstorable(json) {
        kept = Kept::Part(UNSTORABLE);
    }
    if json.len() >= SHORT || has_exponent(json) {
        if matches!(json.first(), Some(b'-' | b'0'..=b'9')) {
            return if numeric::fits(json) { Ok(kept) } else { Err(TOO_LARGE) };
        }
        let seen = walk(json);
        if seen.size > CONTAINER_BYTES && json.len() > HARMLESS_BYTES {
            return Err(TOO_LARGE);
        }
        if seen.nulled {
            kept = Kept::Part(TOO_LARGE);
        }
    }
    Ok(kept)
}

/// Whether a digit is followed by an `e` anywhere. Without branches, so that the compiler does 16 at a time.
fn has_exponent(json: &[u8]) -> bool {
    let pairs = json.iter().zip(json.get(1..).unwrap_or_default());
    pairs.fold(false, |found, (digit, e)| found | (digit.is_ascii_digit() & (e | 0x20 == b'e')))
}

struct Seen {
    /// More than the values take in the binary form on disk.
    size: usize,
    nulled: bool,
}

/// Looks at every value; numbers that do not fit become null, of which the text is never longer.
fn walk(json: &mut [u8]) -> Seen {
    let mut seen = Seen { size: 0, nulled: false };
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => match json::string_at(json, at) {
                Ok((text, end)) => {
                    seen.size += text.raw().len() + 4;
                    at = end;
                }
                // The text was parsed before it came here.
                Err(_) => return seen,
            },
            b'-' | b'0'..=b'9' => {
                let length = json[at..]
                    .iter()
                    .position(|b| matches!(b, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'));
                let end = length.map_or(json.len(), |length| at + length);
                seen.size += (end - at) / 2 + 12;
                if !numeric::fits(&json[at..end]) {
                    json[at..end].fill(b' ');
                    json[at..at + 4].copy_from_slice(b"null");
                    seen.nulled = true;
                }
                at = end;
            }
            b'[' | b'{' | b't' | b'f' | b'n' => {
                seen.size += 8;
                at += 1;
            }
            _ => at += 1,
        }
    }
    seen
}

/// `\u0000` and escaped halves of surrogate pairs become `\ufffd`; returns whether there were any.
fn replace_unstorable(json: &mut [u8]) -> bool {
    let mut replaced = false;
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &json[at..]) {
        at += found;
        let Some(code) = escape(json, at) else {
            at += 2;
            continue;
        };
        at += 6;
        let half = match code {
            0 => true,
            0xD800..0xDC00 => match escape(json, at) {
                Some(0xDC00..0xE000) => {
                    at += 6;
                    continue;
                }
                _ => true,
            },
            0xDC00..0xE000 => true,
            _ => false,
        };
        if half {
            json[at - 4..at].copy_from_slice(b"fffd");
            replaced = true;
        }
    }
    replaced
}

/// The code of `\uXXXX` at `at`.
fn escape(json: &[u8], at: usize) -> Option<u32> {
    let [b'\\', b'u', hex @ ..] = json.get(at..at + 6)? else { return None };
    hex.iter().try_fold(0, |n, b| char::from(*b).to_digit(16).map(|digit| n * 16 + digit))
}
