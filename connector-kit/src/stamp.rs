//! The four columns that destinations add to every row, whatever the format.

use std::time::{SystemTime, UNIX_EPOCH};

use protocol::ChangeReason;
use protocol::json::{self, Token};

/// A UUID per row.
pub const RAW_ID: &str = "_airbyte_raw_id";
/// When the source read the row: the record's `emitted_at`.
pub const EXTRACTED_AT: &str = "_airbyte_extracted_at";
/// `{"sync_id":1,"changes":[…]}`.
pub const META: &str = "_airbyte_meta";
/// The refresh generation; 0 from platforms that have none.
pub const GENERATION_ID: &str = "_airbyte_generation_id";

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes the added columns of one stream's rows.
#[derive(Debug)]
pub struct Stamp {
    id: [u8; 36],
    counter: u32,
    meta_head: Vec<u8>,
    /// What most rows get: no changes.
    meta_unchanged: Vec<u8>,
    generation: i64,
}

impl Stamp {
    /// For one run of one stream.
    #[must_use]
    pub fn new(sync_id: Option<i64>, generation: Option<i64>) -> Self {
        let sync_id = sync_id.map_or("null".to_owned(), |id| id.to_string());
        let meta_head = format!("{{\"sync_id\":{sync_id},\"changes\":[").into_bytes();
        let meta_unchanged = [&meta_head[..], b"]}"].concat();
        let mut stamp =
            Self { id: [0; 36], counter: 0, meta_head, meta_unchanged, generation: generation.unwrap_or(0) };
        stamp.renew();
        stamp
    }

    /// A new time and new random bits: a UUID of version 7 whose last 32 bits count. Rows of
    /// one run differ in those only, which formats in a few nanoseconds and compresses to
    /// almost nothing; the 42 random bits before them and the time keep runs apart.
    fn renew(&mut self) {
        let mut random = [0_u8; 8];
        if !matches!(rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()), Ok(8)) {
            // Without randomness, time and process still tell runs apart.
            let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
            random = (u64::from(nanos) << 32 | u64::from(std::process::id())).to_le_bytes();
        }
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let mut bytes = [0_u8; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[6..12].copy_from_slice(&random[..6]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        let mut at = 0;
        for (i, byte) in bytes.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                self.id[at] = b'-';
                at += 1;
            }
            self.id[at] = HEX[usize::from(byte >> 4)];
            self.id[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        self.counter = 0;
    }

    /// The next row's id, as text.
    #[inline]
    pub fn next_id(&mut self) -> &[u8; 36] {
        if self.counter & 0xFF == 0 {
            let mut rest = self.counter;
            for slot in self.id[28..].iter_mut().rev() {
                *slot = HEX[(rest & 15) as usize];
                rest >>= 4;
            }
        } else {
            // Of 255 rows in 256 the last two digits are all that differs.
            self.id[34] = HEX[(self.counter >> 4 & 15) as usize];
            self.id[35] = HEX[(self.counter & 15) as usize];
        }
        match self.counter.checked_add(1) {
            Some(next) => self.counter = next,
            None => self.renew(),
        }
        &self.id
    }

    /// The generation stamped on every row.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Appends `_airbyte_meta`: what the source and the platform say was changed, then what
    /// we changed. `None` when the record's own meta is malformed.
    #[inline]
    #[must_use]
    pub fn write_meta(&self, out: &mut Vec<u8>, record_meta: Option<&[u8]>, changes: &Changes) -> Option<()> {
        if record_meta.is_none() && changes.is_empty() {
            out.extend_from_slice(&self.meta_unchanged);
            return Some(());
        }
        out.extend_from_slice(&self.meta_head);
        let mut theirs = false;
        if let Some(meta) = record_meta {
            match json::member(meta, "changes").ok()? {
                Some(Token::Array(list)) => {
                    let inner = list.get(1..list.len() - 1)?.trim_ascii();
                    std::str::from_utf8(inner).ok()?;
                    out.extend_from_slice(inner);
                    theirs = !inner.is_empty();
                }
                None | Some(Token::Null) => {}
                Some(_) => return None,
            }
        }
        if theirs && !changes.json.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(&changes.json);
        out.extend_from_slice(b"]}");
        Some(())
    }
}

/// What we changed in the row at hand.
#[derive(Debug, Default)]
pub struct Changes {
    json: Vec<u8>,
}

impl Changes {
    /// The field was set to null. `field` is its name as a JSON string, quotes included.
    #[cold]
    pub fn nulled(&mut self, field: &[u8], reason: ChangeReason) {
        self.add(field, "NULLED", reason);
    }

    /// Part of the field's value is missing. `field` is its name as a JSON string, quotes included.
    #[cold]
    pub fn truncated(&mut self, field: &[u8], reason: ChangeReason) {
        self.add(field, "TRUNCATED", reason);
    }

    /// Whether nothing was changed.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    fn add(&mut self, field: &[u8], change: &str, reason: ChangeReason) {
        if !self.json.is_empty() {
            self.json.push(b',');
        }
        self.json.extend_from_slice(b"{\"field\":");
        self.json.extend_from_slice(field);
        self.json.extend_from_slice(b",\"change\":\"");
        self.json.extend_from_slice(change.as_bytes());
        self.json.extend_from_slice(b"\",\"reason\":\"");
        self.json.extend_from_slice(reason_text(reason).as_bytes());
        self.json.extend_from_slice(b"\"}");
    }

    /// For the next row.
    #[inline]
    pub fn clear(&mut self) {
        self.json.clear();
    }
}

fn reason_text(reason: ChangeReason) -> &'static str {
    match reason {
        ChangeReason::SourceRecordSizeLimitation => "SOURCE_RECORD_SIZE_LIMITATION",
        ChangeReason::DestinationRecordSizeLimitation => "DESTINATION_RECORD_SIZE_LIMITATION",
        ChangeReason::PlatformRecordSizeLimitation => "PLATFORM_RECORD_SIZE_LIMITATION",
        ChangeReason::SourceFieldSizeLimitation => "SOURCE_FIELD_SIZE_LIMITATION",
        ChangeReason::DestinationFieldSizeLimitation => "DESTINATION_FIELD_SIZE_LIMITATION",
        ChangeReason::PlatformFieldSizeLimitation => "PLATFORM_FIELD_SIZE_LIMITATION",
        ChangeReason::SourceSerializationError => "SOURCE_SERIALIZATION_ERROR",
        ChangeReason::DestinationSerializationError => "DESTINATION_SERIALIZATION_ERROR",
        ChangeReason::PlatformSerializationError => "PLATFORM_SERIALIZATION_ERROR",
        ChangeReason::SourceRetrievalError => "SOURCE_RETRIEVAL_ERROR",
        ChangeReason::DestinationTypecastError => "DESTINATION_TYPECAST_ERROR",
    }
}

#[cfg(test)]
mod tests {
    use super::{Changes, Stamp, reason_text};
    use protocol::ChangeReason;
    use std::collections::HashSet;

    #[test]
    fn ids_are_version_seven_and_differ_within_and_between_runs() {
        let (mut a, mut b) = (Stamp::new(None, None), Stamp::new(None, None));
        let mut seen = HashSet::new();
        for _ in 0..70_000 {
            seen.insert(a.next_id().to_vec());
            seen.insert(b.next_id().to_vec());
        }
        assert_eq!(seen.len(), 140_000);
        let text = String::from_utf8(a.next_id().to_vec()).unwrap();
        let parts: Vec<_> = text.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{text}");
        assert!(text.as_bytes()[14] == b'7' && b"89ab".contains(&text.as_bytes()[19]), "{text}");
    }

    #[test]
    fn meta_merges_the_changes_of_both_sides() {
        let stamp = Stamp::new(Some(7), None);
        let meta = |theirs: Option<&str>, ours: &Changes| {
            let mut out = Vec::new();
            stamp.write_meta(&mut out, theirs.map(str::as_bytes), ours)?;
            Some(String::from_utf8(out).unwrap())
        };
        let mut ours = Changes::default();
        assert_eq!(meta(None, &ours).unwrap(), r#"{"sync_id":7,"changes":[]}"#);
        assert_eq!(meta(Some(r#"{"changes":null}"#), &ours).unwrap(), r#"{"sync_id":7,"changes":[]}"#);
        ours.nulled(b"\"a\"", ChangeReason::DestinationFieldSizeLimitation);
        let own = r#"{"field":"a","change":"NULLED","reason":"DESTINATION_FIELD_SIZE_LIMITATION"}"#;
        assert_eq!(meta(None, &ours).unwrap(), format!(r#"{{"sync_id":7,"changes":[{own}]}}"#));
        let merged = meta(Some(r#"{"changes":[ {"field":"b"} ]}"#), &ours).unwrap();
        assert_eq!(merged, format!(r#"{{"sync_id":7,"changes":[{{"field":"b"}},{own}]}}"#));
        assert_eq!(meta(Some(r#"{"changes":3}"#), &ours), None);
        ours.clear();
        ours.truncated(b"\"c\"", ChangeReason::DestinationSerializationError);
        assert!(meta(None, &ours).unwrap().contains(r#"{"field":"c","change":"TRUNCATED","reason""#));
    }

    #[test]
    fn reasons_are_spelled_as_the_protocol_does() {
        let reason = ChangeReason::DestinationTypecastError;
        assert_eq!(serde_json::to_value(reason).unwrap(), reason_text(reason));
    }
}
