//! Records that no reader of the protocol would take: their largest values give way.

use protocol::json;

/// Replaces the largest values of the object at `data_start` by null until it fits. Returns the fields'
/// names, or `None` when that does not make it fit.
#[cold]
pub(crate) fn shed(bytes: &mut Vec<u8>, data_start: usize, at_most: usize) -> Option<Vec<String>> {
    let data = &bytes[data_start..];
    let mut values = Vec::new();
    for member in json::members(data, 0) {
        let member = member.ok()?;
        values.push((member.value_start..member.value_end, member.name.to_str().ok()?.into_owned()));
    }
    values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    let mut left = data.len();
    let mut gone = Vec::new();
    for value in values {
        if left <= at_most {
            break;
        }
        left = (left + NULL.len()).checked_sub(value.0.len())?;
        gone.push(value);
    }
    if left > at_most {
        return None;
    }
    // From the back, so that the places before stay right.
    gone.sort_by_key(|(value, _)| std::cmp::Reverse(value.start));
    for (value, _) in &gone {
        bytes.splice(data_start + value.start..data_start + value.end, NULL.iter().copied());
    }
    gone.reverse();
    Some(gone.into_iter().map(|(_, name)| name).collect())
}

const NULL: &[u8] = b"null";

#[cfg(test)]
mod tests {
    use super::shed;

    #[test]
    fn the_largest_values_go_first_and_no_more_than_needed() {
        let record = r#"head{"a":"xxxxxxxxxxxx","b":[1,2,3,4,5,6,7,8],"c\n":"yyyyyyyyyyyyyyyyyy","d":1}"#;
        let after = |at_most| {
            let mut bytes = record.as_bytes().to_vec();
            let gone = shed(&mut bytes, 4, at_most)?;
            Some((String::from_utf8(bytes).unwrap(), gone))
        };
        let (one, gone) = after(60).unwrap();
        assert_eq!(one, r#"head{"a":"xxxxxxxxxxxx","b":[1,2,3,4,5,6,7,8],"c\n":null,"d":1}"#);
        assert_eq!(gone, ["c\n"]);
        let (three, gone) = after(40).unwrap();
        assert_eq!(three, r#"head{"a":null,"b":null,"c\n":null,"d":1}"#);
        assert_eq!(gone, ["a", "b", "c\n"]);
        assert_eq!(after(20), None);
    }
}
