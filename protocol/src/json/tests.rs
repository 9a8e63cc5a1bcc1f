//! Texts scanned, and written and scanned again.

use super::{
    MAX_DEPTH, RawStr, Token, member, members, object_end, skip_value, string_at, value_at, write_str,
    write_utf8,
};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,40}".prop_map(Into::into),
        "[\\\\\"{}\\[\\],:]{0,70}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((".{0,8}", inner), 0..6)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_valid_text(value in json(), pretty in any::<bool>(), tail in ".{0,70}") {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        assert_eq!(skip_value(text.as_bytes(), 0), Ok(text.len()));
        if value.is_object() {
            assert_eq!(object_end(format!("{text}{tail}").as_bytes()), Some(text.len()));
            let names: Vec<_> = members(text.as_bytes(), 0).map(|m| m.unwrap().name.to_str().unwrap().into_owned()).collect();
            assert_eq!(names, value.as_object().unwrap().keys().cloned().collect::<Vec<_>>());
        }
    }

    #[test]
    fn accepts_exactly_what_serde_json_accepts(text in "[\\[\\]{}\",:0-9eE.+ntrufalse\\\\ -]{0,24}") {
        let ours = value_at(text.trim_start().as_bytes(), 0).is_ok_and(|(_, end)| text.trim_start()[end..].trim().is_empty());
        // serde_json refuses numbers beyond f64; the protocol carries any size.
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        let too_large = theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
        let surrogate = theirs.as_ref().is_err_and(|e| e.to_string().contains("surrogate") || e.to_string().contains("hex escape"));
        assert!(ours == theirs.is_ok() || too_large || surrogate, "{text:?}: ours {ours}, serde_json {theirs:?}");
    }

    #[test]
    fn numbers_end_where_their_digits_end(number in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,20})?", tail in "(|[^0-9.eE].{0,40})") {
        let text = format!("{number}{tail}");
        assert_eq!(value_at(text.as_bytes(), 0), Ok((Token::Number(number.as_bytes()), number.len())));
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = skip_value(&bytes, 0);
        let _ = object_end(&bytes);
        let _ = members(&bytes, 0).count();
    }

    #[test]
    fn strings_come_back_as_written(text in ".*") {
        let mut out = Vec::new();
        write_str(&mut out, &text);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        let (raw, end) = string_at(&out, 0).unwrap();
        assert_eq!((raw.to_str().unwrap().as_ref(), end), (text.as_str(), out.len()));
    }

    #[test]
    fn strings_are_written_as_serde_json_writes_them(text in "[ -~\"\\\\\n\t\u{1}\u{1F}é😀]{0,70}") {
        let mut out = b"x".to_vec();
        write_str(&mut out, &text);
        assert_eq!(std::str::from_utf8(&out[1..]).unwrap(), serde_json::to_string(&text).unwrap());
    }

    #[test]
    fn bytes_are_written_exactly_when_they_are_text(bytes in prop::collection::vec(prop_oneof![Just(b'a'), Just(b'"'), any::<u8>()], 0..40)) {
        let mut out = b"x".to_vec();
        match std::str::from_utf8(&bytes) {
            Ok(text) => {
                assert!(write_utf8(&mut out, &bytes));
                assert_eq!(serde_json::from_slice::<String>(&out[1..]).unwrap(), text);
            }
            Err(_) => {
                assert!(!write_utf8(&mut out, &bytes));
                assert_eq!(out, b"x");
            }
        }
    }
}

#[test]
fn a_lone_surrogate_is_replaced_and_reported() {
    let (raw, _) = string_at(br#""a\ud83d\ude00\ud83dz""#, 0).unwrap();
    let mut out = Vec::new();
    assert!(!raw.unescape_into(&mut out));
    assert_eq!(String::from_utf8(out).unwrap(), "a😀\u{FFFD}z");
}

#[test]
fn depth_is_capped() {
    let deep = |n| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    assert!(skip_value(deep(MAX_DEPTH).as_bytes(), 0).is_ok());
    assert_eq!(skip_value(deep(MAX_DEPTH + 1).as_bytes(), 0).unwrap_err().what, "nested too deep");
}

#[test]
fn the_last_of_two_equal_names_wins() {
    let token = member(br#"{"a":1,"\u0061":2}"#, "a").unwrap();
    assert_eq!(token, Some(Token::Number(b"2")));
}

#[test]
fn members_report_no_end_after_an_error() {
    let mut walk = members(br#"{"a":1 "b"}"#, 0);
    assert!(walk.next().unwrap().is_ok());
    assert!(walk.next().unwrap().is_err());
    assert_eq!(walk.end(), None);
}

#[test]
fn raw_str_is_small() {
    assert!(size_of::<RawStr<'_>>() <= 24);
}
