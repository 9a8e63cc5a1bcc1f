//! Finds RECORD lines in a stream of lines, and in each the few extents that matter,
//! without parsing the envelope twice.
//!
//! A source writes millions of lines that differ only in `data`. The scanner fully
//! scans the first line of a form, remembers the bytes before and after `data`, and
//! afterwards compares instead of parsing. A line that does not match goes the long
//! way, so member order, white space and unknown members cost time, never truth.

use std::collections::HashMap;
use std::ops::Range;

use crate::json::{self, JsonError, Token};

/// A stream as numbered by one [`RecordScanner`], from 0, in order of appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

impl StreamId {
    /// The number as an index into a table kept by the caller.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// A RECORD whose members have the right types.
    Record(ScannedRecord),
    /// Another message; `parse_message` reads it. The text is the `type` member.
    Other(String),
}

/// One RECORD line, by extents into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedRecord {
    /// The stream it belongs to; [`RecordScanner::descriptor`] gives the names.
    pub stream: StreamId,
    /// The `data` object's bytes. That nothing but this one object is there holds for a line that is valid JSON;
    /// whether it is one is checked by whoever decodes it.
    pub data: Range<usize>,
    /// `emitted_at`, in milliseconds since 1970; 0 when absent.
    pub emitted_at: i64,
    /// The `meta` object's bytes, when there is one.
    pub meta: Option<Range<usize>>,
}

/// The members around `data` of a line already understood.
#[derive(Debug)]
struct Template {
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    stream: StreamId,
    emitted_at: i64,
}

/// See the module text. One scanner serves one stream of lines.
#[derive(Debug, Default)]
pub struct RecordScanner {
    streams: Vec<(Option<String>, String)>,
    ids: HashMap<(Option<String>, String), StreamId>,
    templates: Vec<Template>,
    next_slot: usize,
}

/// Streams may interleave; more forms than this in turn fall back to full scans.
const TEMPLATES: usize = 4;

impl RecordScanner {
    /// An empty scanner.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Namespace and name of a stream that this scanner numbered.
    ///
    /// # Panics
    /// When `stream` came from another scanner.
    #[must_use]
    pub fn descriptor(&self, stream: StreamId) -> (Option<&str>, &str) {
        let (namespace, name) = &self.streams[stream.index()];
        (namespace.as_deref(), name)
    }

    /// Numbers a stream ahead of its first record, so that ids follow a catalog.
    pub fn intern(&mut self, namespace: Option<&str>, name: &str) -> StreamId {
        let key = (namespace.filter(|n| !n.is_empty()).map(str::to_owned), name.to_owned());
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let id = StreamId(u32::try_from(self.streams.len()).unwrap_or(u32::MAX));
        self.streams.push(key.clone());
        self.ids.insert(key, id);
        id
    }

    /// Says what a line (without its newline) is.
    ///
    /// # Errors
    /// When the line is not a JSON object with a `type`, or a RECORD lacks `stream` or
    /// an object `data`.
    #[inline]
    pub fn scan(&mut self, line: &[u8]) -> Result<Scanned, JsonError> {
        for template in &self.templates {
            if line.len() > template.prefix.len() + template.suffix.len()
                && line.starts_with(&template.prefix)
                && line.ends_with(&template.suffix)
            {
                let start = template.prefix.len();
                let end = line.len() - template.suffix.len();
                // Bytes between that are one object rule out further members after it.
                if is_one_object(&line[start..end]) {
                    return Ok(Scanned::Record(ScannedRecord {
                        stream: template.stream,
                        data: start..end,
                        emitted_at: template.emitted_at,
                        meta: None,
                    }));
                }
            }
        }
        self.scan_fully(line)
    }

    #[cold]
    fn scan_fully(&mut self, line: &[u8]) -> Result<Scanned, JsonError> {
        let mut kind = None;
        let mut record = None;
        let mut walk = json::members(line, 0);
        for member in walk.by_ref() {
            let member = member?;
            match (member.is("type"), member.is("record"), member.value) {
                (true, _, Token::Str(text)) => kind = text.to_str().ok(),
                (_, true, Token::Object(_)) => record = Some(member.value_start),
                _ => {}
            }
        }
        let end = walk.end().unwrap_or(line.len());
        if json::skip_space(line, end) != line.len() {
            return Err(JsonError { what: "text after the message", at: end });
        }
        match kind.as_deref() {
            Some("RECORD") => match record {
                Some(at) => self.scan_record(line, at).map(Scanned::Record),
                None => Err(JsonError { what: "RECORD without a record", at: 0 }),
            },
            Some(other) => Ok(Scanned::Other(other.to_owned())),
            None => Err(JsonError { what: "message without a type", at: 0 }),
        }
    }

    fn scan_record(&mut self, line: &[u8], at: usize) -> Result<ScannedRecord, JsonError> {
        let (mut stream, mut namespace, mut data, mut emitted_at, mut meta) = (None, None, None, 0, None);
        for member in json::members(line, at) {
            let member = member?;
            let extent = member.value_start..member.value_end;
            let not_utf8 = |_| JsonError { what: "invalid UTF-8", at: member.value_start };
            match member.value {
                Token::Str(text) if member.is("stream") => stream = Some(text.to_str().map_err(not_utf8)?),
                Token::Str(text) if member.is("namespace") => {
                    namespace = Some(text.to_str().map_err(not_utf8)?)
                }
                Token::Null if member.is("namespace") => namespace = None,
                Token::Object(_) if member.is("data") => data = Some(extent),
                Token::Number(text) if member.is("emitted_at") => emitted_at = millis(text),
                Token::Object(_) if member.is("meta") => meta = Some(extent),
                _ if member.is("data") => {
                    return Err(JsonError { what: "data is not an object", at: member.value_start });
                }
                _ => {}
            }
        }
        let stream = stream.ok_or(JsonError { what: "record without a stream", at })?;
        let data = data.ok_or(JsonError { what: "record without data", at })?;
        let stream = self.intern(namespace.as_deref(), &stream);
        if meta.is_none() {
            self.learn(Template {
                prefix: line[..data.start].to_vec(),
                suffix: line[data.end..].to_vec(),
                stream,
                emitted_at,
            });
        }
        Ok(ScannedRecord { stream, data, emitted_at, meta })
    }

    fn learn(&mut self, template: Template) {
        // A form that differs only in its time stamp replaces its elder.
        let slot =
            self.templates.iter().position(|t| t.stream == template.stream && t.suffix == template.suffix);
        match slot {
            Some(slot) => self.templates[slot] = template,
            None if self.templates.len() < TEMPLATES => self.templates.push(template),
            None => {
                self.templates[self.next_slot] = template;
                self.next_slot = (self.next_slot + 1) % TEMPLATES;
            }
        }
    }
}

/// Whether an object that begins where `data` begins also ends there, and not before.
///
/// An object that ends earlier is followed by a comma or another end. A brace that is followed by something else stands in a
/// string, and most records have no other: looking at braces alone is much cheaper than telling strings from the rest.
#[inline]
fn is_one_object(data: &[u8]) -> bool {
    let [b'{', inside @ .., b'}'] = data else { return false };
    let ends_here = |at: usize| matches!(data[at + 2], b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
    if memchr::memchr_iter(b'}', inside).any(ends_here) {
        return json::object_end(data) == Some(data.len());
    }
    true
}

/// Milliseconds from a JSON number; clients write floats for integers now and then.
fn millis(text: &[u8]) -> i64 {
    let text = std::str::from_utf8(text).unwrap_or("0");
    text.parse::<i64>().unwrap_or_else(|_| text.parse::<f64>().map_or(0, |f| f as i64))
}

#[cfg(test)]
mod tests {
    use super::{RecordScanner, Scanned, ScannedRecord};
    use proptest::prelude::{Just, Strategy, any, proptest};

    fn record(scanner: &mut RecordScanner, line: &str) -> ScannedRecord {
        match scanner.scan(line.as_bytes()).unwrap() {
            Scanned::Record(record) => record,
            Scanned::Other(kind) => panic!("{kind}"),
        }
    }

    #[test]
    fn a_remembered_form_never_swallows_members_after_data() {
        let mut scanner = RecordScanner::new();
        let plain = r#"{"type":"RECORD","record":{"stream":"s","emitted_at":5,"data":{"a":{}}}}"#;
        let with_meta = r#"{"type":"RECORD","record":{"stream":"s","emitted_at":5,"data":{"a":1},"meta":{"changes":[{}]}}}"#;
        for _ in 0..2 {
            let found = record(&mut scanner, plain);
            assert_eq!((&plain[found.data], found.emitted_at, found.meta), (r#"{"a":{}}"#, 5, None));
            let found = record(&mut scanner, with_meta);
            assert_eq!(&with_meta[found.data], r#"{"a":1}"#);
            assert_eq!(&with_meta[found.meta.unwrap()], r#"{"changes":[{}]}"#);
        }
    }

    #[test]
    fn braces_in_strings_and_in_nested_objects_do_not_end_data() {
        let mut scanner = RecordScanner::new();
        for data in [
            r#"{"a":"}"}"#,
            r#"{"a":"},","b":{"c":"}}"}}"#,
            r#"{"a":{"b":{}} }"#,
            r#"{"a":[{},{}],"b":"\\"}"#,
            "{}",
        ] {
            for tail in ["", r#","x":1"#, r#" ,"x":{"y":2}"#, r#","meta":{"changes":[]}"#] {
                let line = format!(
                    r#"{{"type":"RECORD","record":{{"stream":"s","emitted_at":5,"data":{data}{tail}}}}}"#
                );
                for _ in 0..2 {
                    assert_eq!(&line[record(&mut scanner, &line).data], data, "{line}");
                }
            }
        }
        let glued = r#"{"type":"RECORD","record":{"stream":"s","emitted_at":5,"data":{"a":1}}}"#.repeat(2);
        assert!(scanner.scan(glued.as_bytes()).is_err());
    }

    #[test]
    fn tells_streams_apart_by_namespace_and_treats_null_as_none() {
        let mut scanner = RecordScanner::new();
        let a =
            record(&mut scanner, r#"{"type":"RECORD","record":{"namespace":"x","stream":"s","data":{}}}"#)
                .stream;
        let b =
            record(&mut scanner, r#"{"type":"RECORD","record":{"namespace":null,"stream":"s","data":{}}}"#)
                .stream;
        let c = record(&mut scanner, r#"{"record":{"data":{},"stream":"s"},"type":"RECORD"}"#).stream;
        assert_ne!(a, b);
        assert_eq!(b, c);
        assert_eq!(scanner.descriptor(a), (Some("x"), "s"));
    }

    #[test]
    fn refuses_what_is_no_record() {
        let mut scanner = RecordScanner::new();
        for line in [
            "garbage",
            "{}",
            r#"{"type":"RECORD"}"#,
            r#"{"type":"RECORD","record":{"stream":"s"}}"#,
            r#"{"type":"RECORD","record":{"stream":"s","data":[]}}"#,
            r#"{"type":"RECORD","record":{"stream":"s","data":{}}} x"#,
            r#"{"type":"RECORD","record":{"stream":"s","data":{"a":1}"#,
        ] {
            assert!(scanner.scan(line.as_bytes()).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_on_a_damaged_line(cut in 0_usize..90, at in 0_usize..90, byte in any::<u8>()) {
            let line = br#"{"type":"RECORD","record":{"stream":"s","emitted_at":5,"data":{"a":"x\"}","b":[1,{"c":2}]}}}"#;
            let mut scanner = RecordScanner::new();
            let whole = scanner.scan(line);
            assert!(whole.is_ok());
            let mut damaged = line[..cut.min(line.len())].to_vec();
            if let Some(b) = damaged.get_mut(at) { *b = byte; }
            let _ = scanner.scan(&damaged);
        }

        #[test]
        fn finds_data_wherever_it_stands(order in Just(vec![0, 1, 2, 3]).prop_shuffle(), n in any::<u64>()) {
            let members = [r#""stream":"s""#.to_owned(), r#""emitted_at":7.0"#.to_owned(), format!("\"data\":{{\"n\":{n}}}"), r#""extra":{"x":"}"}"#.to_owned()];
            let body: Vec<_> = order.iter().map(|i| members[*i].as_str()).collect();
            let line = format!(r#"{{"type":"RECORD","record":{{{}}}}}"#, body.join(","));
            let mut scanner = RecordScanner::new();
            for _ in 0..2 {
                let found = record(&mut scanner, &line);
                assert_eq!(line[found.data], format!("{{\"n\":{n}}}"));
                assert_eq!(found.emitted_at, 7);
            }
        }
    }
}
