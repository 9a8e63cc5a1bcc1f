//! Arrays in the server's text form: `{1,NULL,"a \"b\""}`, nested for more dimensions, with
//! the bounds in front (`[2:3]={1,2}`) where they are not the usual ones.

use super::{Fate, Malformed, Outcome};

const ARRAY: Malformed = Malformed("an array");
/// The server's own limit of dimensions.
const MOST_DIMENSIONS: usize = 6;

/// Writes the array as JSON, each item through `item`. Bounds are dropped: JSON has none.
pub(super) fn write(
    out: &mut Vec<u8>,
    text: &[u8],
    delimiter: u8,
    mut item: impl FnMut(&mut Vec<u8>, &[u8]) -> Outcome,
) -> Outcome {
    let mut rest = without_bounds(text)?;
    let mut fate = Fate::Written;
    let mut depth = 0;
    let mut unescaped = Vec::new();
    loop {
        // An opening brace, or an item, is next; or the end of an empty array.
        match rest {
            [b'{', after @ ..] if depth < MOST_DIMENSIONS => {
                out.push(b'[');
                depth += 1;
                rest = after;
                if !rest.starts_with(b"}") {
                    continue;
                }
            }
            [] | [b'{' | b'}', ..] => return Err(ARRAY),
            _ if depth == 0 => return Err(ARRAY),
            [b'"', after @ ..] => {
                let (quoted, after) = take_quoted(after, &mut unescaped)?;
                rest = after;
                keep(&mut fate, item(out, quoted)?);
            }
            _ => {
                let end = rest.iter().position(|b| *b == delimiter || *b == b'}').ok_or(ARRAY)?;
                let (plain, after) = rest.split_at(end);
                rest = after;
                match plain {
                    b"NULL" => out.extend_from_slice(b"null"),
                    // The server puts these into quotes.
                    [] => return Err(ARRAY),
                    plain if plain.iter().any(|b| matches!(b, b'\\' | b'"' | b'{')) => return Err(ARRAY),
                    plain => keep(&mut fate, item(out, plain)?),
                }
            }
        }
        while let [b'}', after @ ..] = rest {
            if depth == 0 {
                return Err(ARRAY);
            }
            out.push(b']');
            depth -= 1;
            rest = after;
        }
        match rest {
            [] if depth == 0 => return Ok(fate),
            [next, after @ ..] if depth > 0 && *next == delimiter => {
                out.push(b',');
                rest = after;
            }
            _ => return Err(ARRAY),
        }
    }
}

fn keep(fate: &mut Fate, of_item: Fate) {
    if of_item == Fate::Nulled {
        *fate = Fate::Nulled;
    }
}

/// What follows `[2:3][-1:0]=`.
fn without_bounds(text: &[u8]) -> Result<&[u8], Malformed> {
    if !text.starts_with(b"[") {
        return Ok(text);
    }
    let end = memchr::memchr(b'=', text).ok_or(ARRAY)?;
    let (bounds, rest) = text.split_at(end);
    let known = |b: &u8| matches!(b, b'[' | b']' | b':' | b'-' | b'+' | b'0'..=b'9');
    if bounds.iter().all(known) { Ok(&rest[1..]) } else { Err(ARRAY) }
}

/// The item up to the closing quote, and what follows it. Only an item with escapes is copied.
fn take_quoted<'a: 'b, 'b>(
    text: &'a [u8],
    unescaped: &'b mut Vec<u8>,
) -> Result<(&'b [u8], &'a [u8]), Malformed> {
    let mut at = memchr::memchr2(b'"', b'\\', text).ok_or(ARRAY)?;
    if text[at] == b'"' {
        return Ok((&text[..at], &text[at + 1..]));
    }
    unescaped.clear();
    let mut done = 0;
    loop {
        unescaped.extend_from_slice(&text[done..at]);
        if text[at] == b'"' {
            return Ok((unescaped, &text[at + 1..]));
        }
        unescaped.push(*text.get(at + 1).ok_or(ARRAY)?);
        done = at + 2;
        at = done + memchr::memchr2(b'"', b'\\', &text[done..]).ok_or(ARRAY)?;
    }
}
