//! Changes single members of a JSON text in place; every other byte stays as it was.
//!
//! Used where a line passes through us and must keep what we do not know: a state that
//! is echoed, an envelope whose names are mapped.

use crate::json::{self, JsonError, Token};

/// Sets or removes members of the object found by walking `path` from the text's root.
///
/// Each change is a name with its new JSON text, or `None` to remove it. A member that
/// exists is replaced where it stands; one that does not is appended. When a name
/// stands twice only one is kept.
///
/// # Errors
/// When the text is not an object, or a step of the path is missing or not an object.
pub fn set_members(
    text: &[u8],
    path: &[&str],
    changes: &[(&str, Option<&[u8]>)],
) -> Result<Vec<u8>, JsonError> {
    let at = object_at(text, path)?;
    let mut out = Vec::with_capacity(
        text.len() + changes.iter().map(|(n, v)| n.len() + v.map_or(0, <[u8]>::len) + 4).sum::<usize>(),
    );
    out.extend_from_slice(&text[..at]);
    out.push(b'{');
    let mut written = vec![false; changes.len()];
    let mut first = true;
    let mut walk = json::members(text, at);
    for member in walk.by_ref() {
        let member = member?;
        let change = changes.iter().position(|(name, _)| member.is(name));
        let value = match change {
            Some(i) if std::mem::replace(&mut written[i], true) => continue,
            Some(i) => match changes[i].1 {
                Some(value) => value,
                None => continue,
            },
            None => &text[member.value_start..member.value_end],
        };
        separate(&mut out, &mut first);
        out.extend_from_slice(&text[member.start..member.value_start]);
        out.extend_from_slice(value);
    }
    for ((name, value), _) in changes.iter().zip(&written).filter(|(_, written)| !**written) {
        if let Some(value) = value {
            separate(&mut out, &mut first);
            json::write_str(&mut out, name);
            out.push(b':');
            out.extend_from_slice(value);
        }
    }
    out.push(b'}');
    out.extend_from_slice(&text[walk.end().unwrap_or(text.len())..]);
    Ok(out)
}

/// Renames a member of the object at `path`; nothing happens when there is none.
///
/// # Errors
/// As [`set_members`].
pub fn rename_member(text: &[u8], path: &[&str], from: &str, to: &str) -> Result<Vec<u8>, JsonError> {
    let at = object_at(text, path)?;
    let mut value = None;
    for member in json::members(text, at) {
        let member = member?;
        if member.is(from) {
            value = Some(&text[member.value_start..member.value_end]);
        }
    }
    match value {
        Some(value) => set_members(text, path, &[(from, None), (to, Some(value))]),
        None => Ok(text.to_vec()),
    }
}

/// Keeps only the members of the object `data` whose name passes; their bytes, order
/// and spacing inside stay as they were.
///
/// # Errors
/// When `data` is not one JSON object.
pub fn keep_members(data: &[u8], out: &mut Vec<u8>, keep: impl Fn(&str) -> bool) -> Result<(), JsonError> {
    out.push(b'{');
    let mut first = true;
    for member in json::members(data, 0) {
        let member = member?;
        let name = member.name.to_str().map_err(|_| JsonError { what: "invalid UTF-8", at: member.start })?;
        if keep(&name) {
            separate(out, &mut first);
            out.extend_from_slice(&data[member.start..member.value_end]);
        }
    }
    out.push(b'}');
    Ok(())
}

fn separate(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

fn object_at(text: &[u8], path: &[&str]) -> Result<usize, JsonError> {
    let mut at = json::skip_space(text, 0);
    for step in path {
        let mut next = None;
        for member in json::members(text, at) {
            let member = member?;
            if let (true, Token::Object(_)) = (member.is(step), member.value) {
                next = Some(member.value_start);
            }
        }
        at = next.ok_or(JsonError { what: "a member on the path is missing", at })?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::{keep_members, rename_member, set_members};

    fn set(text: &str, path: &[&str], changes: &[(&str, Option<&[u8]>)]) -> String {
        String::from_utf8(set_members(text.as_bytes(), path, changes).unwrap()).unwrap()
    }

    #[test]
    fn replaces_in_place_and_appends_what_is_new() {
        let line = r#"{"type":"STATE", "state" : {"x":1e5,"id":1,"y":{"a":[1]}},"z":null}"#;
        assert_eq!(
            set(line, &["state"], &[("id", Some(b"7")), ("new", Some(b"{}"))]),
            r#"{"type":"STATE", "state" : {"x":1e5,"id":7,"y":{"a":[1]},"new":{}},"z":null}"#
        );
    }

    #[test]
    fn removes_and_deduplicates() {
        assert_eq!(set(r#"{"a":1,"b":2,"a":3}"#, &[], &[("a", None)]), r#"{"b":2}"#);
        assert_eq!(set(r#"{"a":1,"b":2,"a":3}"#, &[], &[("a", Some(b"0"))]), r#"{"a":0,"b":2}"#);
        assert_eq!(set("{}", &[], &[("a", Some(b"0"))]), r#"{"a":0}"#);
    }

    #[test]
    fn renames() {
        let out = rename_member(br#"{"s":{"global_":{"q":1}}}"#, &["s"], "global_", "global").unwrap();
        assert_eq!(out, br#"{"s":{"global":{"q":1}}}"#);
    }

    #[test]
    fn keeps_bytes_of_what_it_keeps() {
        let mut out = Vec::new();
        keep_members(br#"{ "a" : 1.00 , "b":2,"c":[ 1 ]}"#, &mut out, |n| n != "b").unwrap();
        assert_eq!(out, br#"{"a" : 1.00,"c":[ 1 ]}"#);
    }

    #[test]
    fn names_the_missing_step() {
        assert!(set_members(b"{}", &["state"], &[]).is_err());
        assert!(set_members(b"[]", &[], &[]).is_err());
    }
}
