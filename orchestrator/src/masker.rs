//! Hides secrets in everything ferry writes: logs, errors, reports.
//!
//! A secret is looked for as it is, JSON-escaped, percent-encoded and in base64 (also
//! inside a longer base64 text, where it stands in one of three forms). Matches may
//! overlap; their union is hidden, so that no part of either remains.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use serde_json::Value;

/// Shorter values would hide half of every log and protect nothing.
const SHORTEST: usize = 3;

/// See the module text.
#[derive(Clone, Debug, Default)]
pub struct Masker {
    automaton: Option<AhoCorasick>,
}

impl Masker {
    /// A masker for these secrets.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms = BTreeSet::new();
        for secret in secrets {
            add_forms(secret, &mut forms);
            // A key of several lines is logged line by line.
            if secret.contains('\n') {
                secret.lines().map(str::trim).filter(|l| l.len() >= 8).for_each(|l| add_forms(l, &mut forms));
            }
        }
        let automaton = if forms.is_empty() { None } else { AhoCorasick::new(&forms).ok() };
        Self { automaton }
    }

    /// The text with every secret replaced by `****`.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        let Some(automaton) = &self.automaton else { return text.to_owned() };
        let mut hidden: Vec<(usize, usize)> = Vec::new();
        for found in automaton.find_overlapping_iter(text) {
            hidden.push((found.start(), found.end()));
        }
        if hidden.is_empty() {
            return text.to_owned();
        }
        hidden.sort_unstable();
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        let mut spans = hidden.into_iter().peekable();
        while let Some((start, mut end)) = spans.next() {
            while let Some((_, next_end)) = spans.next_if(|(next, _)| *next <= end) {
                end = end.max(next_end);
            }
            out.push_str(&text[at..start]);
            out.push_str("****");
            at = end;
        }
        out.push_str(&text[at..]);
        out
    }
}

/// The values in `config` that stand where its schema says `airbyte_secret`.
pub fn secret_values(schema: &Value, config: &Value, found: &mut Vec<String>) {
    if schema.get("airbyte_secret").and_then(Value::as_bool) == Some(true) {
        leaves(config, found);
        return;
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(Value::Array(alternatives)) = schema.get(key) {
            alternatives.iter().for_each(|alternative| secret_values(alternative, config, found));
        }
    }
    match config {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(below) = schema.get("properties").and_then(|p| p.get(name)) {
                    secret_values(below, value, found);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = schema.get("items") {
                items.iter().for_each(|item| secret_values(below, item, found));
            }
        }
        _ => {}
    }
}

fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(members) => members.values().for_each(|item| leaves(item, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn add_forms(secret: &str, forms: &mut BTreeSet<String>) {
    if secret.trim().len() < SHORTEST {
        return;
    }
    forms.insert(secret.to_owned());
    let json = Value::String(secret.to_owned()).to_string();
    let json = json[1..json.len() - 1].to_owned();
    // A message that is itself JSON text inside a log line is escaped twice.
    let twice = Value::String(json.clone()).to_string();
    forms.insert(twice[1..twice.len() - 1].to_owned());
    forms.insert(json);
    let percent = |keep: &dyn Fn(u8) -> bool, upper: bool| {
        let mut out = String::new();
        for byte in secret.bytes() {
            match (keep(byte), upper) {
                (true, _) => out.push(char::from(byte)),
                (false, true) => out.push_str(&format!("%{byte:02X}")),
                (false, false) => out.push_str(&format!("%{byte:02x}")),
            }
        }
        out
    };
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let as_form = |b: u8| b.is_ascii_alphanumeric() || b"-_.*".contains(&b);
    for upper in [true, false] {
        forms.insert(percent(&unreserved, upper));
        forms.insert(percent(&as_form, upper));
        forms.insert(percent(&as_form, upper).replace("%20", "+"));
    }
    for alphabet in [STANDARD, URL_SAFE] {
        // A text's digits depend on where it starts in its group of three bytes; the
        // digits that its neighbours share in are left out.
        for lead in 0..3_usize {
            let mut padded = vec![0_u8; lead];
            padded.extend_from_slice(secret.as_bytes());
            let digits = base64(&padded, alphabet);
            let first = [0, 2, 3][lead];
            let last = padded.len() * 8 / 6;
            if let Some(inner) = digits.get(first..last).filter(|inner| inner.len() >= 6) {
                forms.insert(inner.to_owned());
            }
            if lead == 0 && digits.len() >= 4 {
                forms.insert(digits);
            }
        }
    }
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Without padding.
fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::with_capacity(bytes.len() * 4 / 3 + 3);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            out.push(char::from(alphabet[(word >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Masker, STANDARD, base64, secret_values};
    use proptest::prelude::proptest;
    use serde_json::json;

    proptest! {
        #[test]
        fn hides_a_secret_in_every_form(secret in "[ -~]{6,24}", before in "[a-z]{0,4}", after in "[a-z]{0,4}") {
            let secret = format!("s3cr\"{secret}");
            let masker = Masker::new([secret.as_str()]);
            let wrapped = base64(format!("{before}{secret}{after}").as_bytes(), STANDARD);
            let core = base64(secret.as_bytes(), STANDARD);
            let text = format!("{secret} {} {wrapped} {core}", json!(secret));
            let masked = masker.mask(&text);
            assert!(!masked.contains(&secret), "{masked}");
            assert!(!masked.contains(&core), "{masked}");
            assert!(!masked.contains(json!(secret).to_string().trim_matches('"')), "{masked}");
            // Inside a longer text at most the digits shared with its neighbours remain.
            assert!(wrapped.len() < 16 || !masked.contains(&wrapped[8..wrapped.len() - 6]), "{masked}");
        }
    }

    #[test]
    fn hides_percent_encoded_secrets_and_overlapping_ones() {
        let masker = Masker::new(["p@ss/word", "abcdef", "defghi"]);
        assert_eq!(masker.mask("u=p%40ss%2Fword p%40ss%2fword"), "u=**** ****");
        assert_eq!(masker.mask("xabcdefghix"), "x****x");
    }

    #[test]
    fn leaves_other_text_and_very_short_secrets_alone() {
        assert_eq!(Masker::new(["a", ""]).mask("a banana"), "a banana");
        assert_eq!(Masker::default().mask("plain"), "plain");
    }

    #[test]
    fn hides_the_lines_of_a_key() {
        let masker = Masker::new(["-----BEGIN-----\nMIIEvQIBADANBg\n-----END-----"]);
        assert_eq!(masker.mask("got MIIEvQIBADANBg here"), "got **** here");
    }

    #[test]
    fn finds_secrets_by_the_schema() {
        let schema = json!({"properties": {
            "password": {"airbyte_secret": true},
            "user": {},
            "auth": {"oneOf": [{"properties": {"key": {"airbyte_secret": true}}}, {"properties": {"other": {}}}]},
            "hosts": {"items": {"properties": {"token": {"airbyte_secret": true}}}}
        }});
        let config = json!({"password": "p1", "user": "u", "auth": {"key": 12345}, "hosts": [{"token": "t1"}, {"token": "t2"}]});
        let mut found = Vec::new();
        secret_values(&schema, &config, &mut found);
        assert_eq!(found, ["p1", "12345", "t1", "t2"]);
    }
}
