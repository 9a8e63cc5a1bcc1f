//! Decodes a record's `data` by its schema, without building a tree.
//!
//! The decoder expects the next column's key where it stands in schema order and compares
//! instead of searching. At the first surprise it indexes the rest of the object once and
//! goes on in column order, so no key order is wrong, only a little slower.

use protocol::json::{self, JsonError, Token};

/// Takes a record's values. Called exactly once per column, in column order; a column
/// that the record lacks comes as [`Token::Null`].
pub trait RowSink {
    /// One value. Strings are unescaped and checked for UTF-8 by the sink, which can do it a column at a time.
    fn value(&mut self, column: usize, token: Token<'_>);
}

/// Why a record's `data` cannot be decoded: it is not one JSON object.
pub type DecodeError = JsonError;

/// Decodes records of one stream.
#[derive(Debug)]
pub struct RowDecoder {
    keys: Vec<Key>,
    names: Vec<String>,
    /// Where the values of the columns not yet delivered stand, while in the slow path.
    index: Vec<Option<(usize, usize)>>,
}

/// `"name":` of a column, as writers without spaces write it.
#[derive(Debug)]
struct Key {
    text: Vec<u8>,
    /// Its first sixteen bytes, and which of them there are: compared at once, without a call.
    head: u128,
    mask: u128,
}

impl Key {
    fn new(name: &str) -> Self {
        let mut text = Vec::new();
        json::write_str(&mut text, name);
        text.push(b':');
        let (mut head, mut mask) = ([0; 16], [0; 16]);
        for (at, byte) in text.iter().take(16).enumerate() {
            (head[at], mask[at]) = (*byte, 0xFF);
        }
        Self { text, head: u128::from_le_bytes(head), mask: u128::from_le_bytes(mask) }
    }

    #[inline]
    fn begins(&self, data: &[u8]) -> bool {
        match data.split_first_chunk::<16>() {
            Some((block, rest)) => {
                (u128::from_le_bytes(*block) ^ self.head) & self.mask == 0
                    && self.text.get(16..).is_none_or(|text| rest.starts_with(text))
            }
            None => data.starts_with(&self.text),
        }
    }
}

impl RowDecoder {
    /// A decoder for the given columns.
    pub fn new<'a>(columns: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<String> = columns.into_iter().map(str::to_owned).collect();
        Self {
            keys: names.iter().map(|name| Key::new(name)).collect(),
            index: vec![None; names.len()],
            names,
        }
    }

    /// Hands every column's value to `sink`. Members that are no column are left out; of
    /// two equal names the last wins.
    ///
    /// # Errors
    /// When `data` is not one whole JSON object. The sink may have had some columns by
    /// then; the caller drops the row.
    #[inline]
    pub fn decode<S: RowSink>(&mut self, data: &[u8], sink: &mut S) -> Result<(), DecodeError> {
        if data.first() != Some(&b'{') {
            return Err(JsonError { what: "expected an object", at: 0 });
        }
        let mut pos = 1;
        for (column, key) in self.keys.iter().enumerate() {
            if !key.begins(&data[pos..]) {
                return self.decode_rest(data, pos, column, sink);
            }
            // Python writes a space after colons and commas.
            let start = json::skip_space(data, pos + key.text.len());
            let (token, end) = match data.get(start) {
                Some(b'"') => json::string_at(data, start).map(|(text, end)| (Token::Str(text), end))?,
                _ => json::value_at(data, start)?,
            };
            let last = match data.get(end) {
                Some(b',') => false,
                Some(b'}') if end + 1 == data.len() && column + 1 == self.keys.len() => true,
                // The object ends early, or there is space: let the slow path see it whole.
                _ => return self.decode_rest(data, pos, column, sink),
            };
            // A later member of the same name is not looked for: our own writers never write one.
            sink.value(column, token);
            if last {
                return Ok(());
            }
            pos = json::skip_space(data, end + 1);
        }
        self.check_tail(data, pos)
    }

    /// Members after the last column: unknown ones, or none at all (`{}` of no columns).
    fn check_tail(&self, data: &[u8], pos: usize) -> Result<(), DecodeError> {
        if pos > 1 && data.get(json::skip_space(data, pos)) == Some(&b'}') {
            return Err(JsonError { what: "expected a string", at: pos });
        }
        let mut rest = Vec::with_capacity(data.len() - pos + 1);
        rest.push(b'{');
        rest.extend_from_slice(&data[pos..]);
        let end = json::skip_value(&rest, 0)?;
        if end == rest.len() {
            Ok(())
        } else {
            Err(JsonError { what: "text after the object", at: pos + end - 1 })
        }
    }

    #[cold]
    fn decode_rest<S: RowSink>(
        &mut self,
        data: &[u8],
        from: usize,
        first: usize,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        self.index.iter_mut().for_each(|slot| *slot = None);
        // A key of schema order may follow anywhere; the guess moves on with each hit.
        let mut guess = first;
        let mut pos = json::skip_space(data, from);
        let mut separated = true;
        if from > 1 && data.get(pos) == Some(&b'}') {
            return Err(JsonError { what: "expected a string", at: pos });
        }
        while data.get(pos) != Some(&b'}') {
            if !separated {
                return Err(JsonError { what: "expected a comma or a closing brace", at: pos });
            }
            let (name, end) = json::string_at(data, pos)?;
            let colon = json::skip_space(data, end);
            if data.get(colon) != Some(&b':') {
                return Err(JsonError { what: "expected a colon", at: colon });
            }
            let start = json::skip_space(data, colon + 1);
            let (_, end) = json::value_at(data, start)?;
            if let Some(column) = self.find(&name, guess) {
                self.index[column] = Some((start, end));
                guess = column + 1;
            }
            pos = json::skip_space(data, end);
            separated = data.get(pos) == Some(&b',');
            if separated {
                pos = json::skip_space(data, pos + 1);
                if data.get(pos) == Some(&b'}') {
                    return Err(JsonError { what: "expected a string", at: pos });
                }
            }
        }
        let end = json::skip_space(data, pos + 1);
        if end != data.len() {
            return Err(JsonError { what: "text after the object", at: end });
        }
        for column in first..self.keys.len() {
            let token = match self.index[column] {
                Some((start, _)) => json::value_at(data, start)?.0,
                None => Token::Null,
            };
            sink.value(column, token);
        }
        Ok(())
    }

    fn find(&self, name: &json::RawStr<'_>, guess: usize) -> Option<usize> {
        if name.has_escapes() {
            let name = name.to_str().ok()?;
            return self.names.iter().position(|n| *n == name);
        }
        let is = |i: usize| self.names[i].as_bytes() == name.raw();
        if guess < self.names.len() && is(guess) {
            return Some(guess);
        }
        (0..self.names.len()).find(|i| is(*i))
    }
}

#[cfg(test)]
mod tests {
    use super::{RowDecoder, RowSink};
    use proptest::prelude::{Just, Strategy, any, proptest};
    use protocol::json::Token;

    #[derive(Default)]
    struct Seen(Vec<(usize, String)>);
    impl RowSink for Seen {
        fn value(&mut self, column: usize, token: Token<'_>) {
            let text = match token {
                Token::Null => "null".into(),
                Token::Bool(b) => b.to_string(),
                Token::Number(n) | Token::Array(n) | Token::Object(n) => {
                    String::from_utf8_lossy(n).into_owned()
                }
                Token::Str(s) => format!("{:?}", s.to_str().unwrap()),
            };
            self.0.push((column, text));
        }
    }

    fn decode(data: &str) -> Result<Vec<String>, super::DecodeError> {
        let mut seen = Seen::default();
        RowDecoder::new(["a", "b\"", "c"]).decode(data.as_bytes(), &mut seen)?;
        assert_eq!(seen.0.iter().map(|(c, _)| *c).collect::<Vec<_>>(), [0, 1, 2]);
        Ok(seen.0.into_iter().map(|(_, v)| v).collect())
    }

    #[test]
    fn every_order_and_spacing_gives_the_same_values() {
        for data in [
            r#"{"a":1,"b\"":"x\ty","c":[1,{"d":2}]}"#,
            r#"{"c":[1,{"d":2}],"b\"":"x\ty","a":1}"#,
            r#"{"a": 1, "b\"": "x\ty", "c": [1,{"d":2}]}"#,
            r#"{ "a" : 1 , "b\u0022" : "x\ty" , "c":[1,{"d":2}] }"#,
            r#"{"x":{"a":9},"a":1,"b\"":"x\ty","c":[1,{"d":2}],"y":null}"#,
            r#"{"a":1,"b\"":"x\ty","x":0,"c":[1,{"d":2}]}"#,
        ] {
            assert_eq!(decode(data).unwrap(), ["1", "\"x\\ty\"", r#"[1,{"d":2}]"#], "{data}");
        }
    }

    #[test]
    fn names_of_every_length_are_told_apart_from_those_that_differ_at_any_place() {
        for length in 1..40 {
            let name = "n".repeat(length);
            for at in 0..=length {
                let mut other = name.clone();
                if at < length {
                    other.replace_range(at..=at, "m");
                }
                for tail in ["", "                    "] {
                    let mut seen = Seen::default();
                    let data = format!("{{\"{other}\":1{tail}}}");
                    RowDecoder::new([name.as_str()]).decode(data.as_bytes(), &mut seen).unwrap();
                    let expected = if at < length { "null" } else { "1" };
                    assert_eq!(seen.0, [(0, expected.to_owned())], "{data}");
                }
            }
        }
    }

    #[test]
    fn missing_columns_are_null() {
        assert_eq!(decode("{}").unwrap(), ["null"; 3]);
        assert_eq!(decode(r#"{"a":1}"#).unwrap(), ["1", "null", "null"]);
        assert_eq!(decode(r#"{"c":3}"#).unwrap(), ["null", "null", "3"]);
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for data in [
            "",
            "[]",
            "{",
            r#"{"a":1"#,
            r#"{"a":1,}"#,
            r#"{"a":1}}"#,
            r#"{"a":1 "c":2}"#,
            r#"{"a":}"#,
            r#"{"a":01}"#,
            r#"{"a":1,"b\"":2,"c":3,}"#,
            r#"{"a":1,"b\"":2,"c":3}x"#,
            r#"{"a":1,"b\"":2,"c":3,"d"}"#,
            r#"{"a":1]"#,
        ] {
            assert!(decode(data).is_err(), "{data}");
        }
    }

    proptest! {
        #[test]
        fn shuffled_members_decode_like_sorted_ones(order in Just(vec![0_usize, 1, 2, 3]).prop_shuffle(), n in any::<i64>(), cut in 0_usize..60) {
            let members = [format!("\"a\":{n}"), "\"b\\\"\":true".to_owned(), "\"c\":\"}\"".to_owned(), "\"z\":[]".to_owned()];
            let body: Vec<_> = order.iter().map(|i| members[*i].as_str()).collect();
            let data = format!("{{{}}}", body.join(","));
            assert_eq!(decode(&data).unwrap(), [n.to_string(), "true".into(), "\"}\"".into()]);
            if cut < data.len() {
                assert!(decode(&data[..cut]).is_err());
            }
        }
    }
}
