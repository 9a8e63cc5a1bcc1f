//! `hstore`: `"a"=>"1", "b"=>NULL`, as the text of a JSON object.

use connector_kit::protocol::json;

use super::{Fate, Malformed, Outcome, nulled};

const HSTORE: Malformed = Malformed("an hstore");

/// Writes a string that holds a JSON object, its members in the server's order.
pub(super) fn write(out: &mut Vec<u8>, text: &[u8]) -> Outcome {
    let Ok(mut rest) = std::str::from_utf8(text) else { return nulled(out) };
    let mut object = String::from("{").into_bytes();
    let mut unescaped = String::new();
    while !rest.is_empty() {
        if object.len() > 1 {
            rest = rest.strip_prefix(", ").ok_or(HSTORE)?;
            object.push(b',');
        }
        rest = member_text(rest, &mut unescaped)?;
        json::write_str(&mut object, &unescaped);
        object.push(b':');
        rest = rest.strip_prefix("=>").ok_or(HSTORE)?;
        if let Some(after) = rest.strip_prefix("NULL") {
            object.extend_from_slice(b"null");
            rest = after;
        } else {
            rest = member_text(rest, &mut unescaped)?;
            json::write_str(&mut object, &unescaped);
        }
    }
    object.push(b'}');
    // Made of text and JSON's own marks.
    let object = std::str::from_utf8(&object).map_err(|_| HSTORE)?;
    json::write_str(out, object);
    Ok(Fate::Written)
}

/// Reads a name or value in quotes; returns what follows it.
fn member_text<'a>(text: &'a str, unescaped: &mut String) -> Result<&'a str, Malformed> {
    unescaped.clear();
    let mut rest = text.strip_prefix('"').ok_or(HSTORE)?;
    loop {
        let at = rest.find(['"', '\\']).ok_or(HSTORE)?;
        unescaped.push_str(&rest[..at]);
        if rest.as_bytes()[at] == b'"' {
            return Ok(&rest[at + 1..]);
        }
        let mut following = rest[at + 1..].chars();
        unescaped.push(following.next().ok_or(HSTORE)?);
        rest = following.as_str();
    }
}
