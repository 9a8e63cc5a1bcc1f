//! What objects are called: the config's patterns, filled in.

use columnar::encode_name;
use connector_kit::protocol::StreamDescriptor;
use connector_kit::{Error, Result};

use crate::time::Moment;

/// The folder, below the config's path, of what readers are not to look at: names that begin so are hidden from
/// Dremio, Hive, Spark and Athena.
const HIDDEN: &str = "_ferry";
/// What stores allow.
const MAX_BYTES: usize = 1024;

/// The patterns of one stream's objects.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    root: String,
    path: String,
    file: String,
    extension: &'static str,
    namespace: String,
    stream: String,
}

/// What a name is filled in from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values {
    /// When the sync began.
    pub(crate) began: Moment,
    /// The object's own moment, in microseconds.
    pub(crate) now: i64,
    pub(crate) part: u64,
    pub(crate) sync_id: Option<i64>,
    pub(crate) random: [u8; 16],
}

impl Names {
    pub(crate) fn new(
        root: &str,
        path: &str,
        file: &str,
        extension: &'static str,
        stream: &StreamDescriptor,
    ) -> Self {
        Self {
            root: root.to_owned(),
            path: path.to_owned(),
            file: file.to_owned(),
            extension,
            namespace: stream.namespace.as_deref().map(encode_name).unwrap_or_default(),
            stream: encode_name(&stream.name),
        }
    }

    /// Whether every part has a name of its own.
    pub(crate) fn tells_parts_apart(&self) -> bool {
        self.file.contains("{part_number}") || self.path.contains("${UUID}")
    }

    /// An object's key. `nth` tells objects apart whose pattern does not: it goes before the extension.
    pub(crate) fn key(&self, values: &Values, nth: u32) -> Result<String> {
        let path = fill(&self.path, "${", "}", |name| self.of_path(name, values));
        let mut file = fill(&self.file, "{", "}", |name| self.of_file(name, values));
        if nth > 0 {
            let at = file.strip_suffix(self.extension).map_or(file.len(), str::len);
            file.insert_str(at, &format!("-{nth}"));
        }
        let full = format!("{}/{path}{file}", self.root);
        let parts: Vec<&str> = full.split('/').filter(|p| !p.is_empty()).collect();
        let key = parts.join("/");
        if key.len() > MAX_BYTES {
            return Err(Error::config(format!(
                "The name of an object would have {} bytes, and stores take {MAX_BYTES}; shorten s3_bucket_path or s3_path_format.",
                key.len()
            )));
        }
        Ok(key)
    }

    fn of_path(&self, name: &str, values: &Values) -> Option<String> {
        let at = &values.began;
        Some(match name {
            "NAMESPACE" => self.namespace.clone(),
            "STREAM_NAME" => self.stream.clone(),
            "YEAR" => format!("{:04}", at.year),
            "MONTH" => format!("{:02}", at.month),
            "DAY" => format!("{:02}", at.day),
            "HOUR" => format!("{:02}", at.hour),
            "MINUTE" => format!("{:02}", at.minute),
            "SECOND" => format!("{:02}", at.second),
            "MILLISECOND" => format!("{:04}", at.millisecond),
            "EPOCH" => at.epoch_ms.to_string(),
            "UUID" => uuid(values.random),
            _ => return None,
        })
    }

    fn of_file(&self, name: &str, values: &Values) -> Option<String> {
        let at = &values.began;
        Some(match name {
            "date" | "date:yyyy_MM_dd" => format!("{:04}_{:02}_{:02}", at.year, at.month, at.day),
            "date:yyyy_MM" => format!("{:04}_{:02}", at.year, at.month),
            "timestamp" | "timestamp:millis" => (values.now / 1_000).to_string(),
            "timestamp:micros" => values.now.to_string(),
            "part_number" => values.part.to_string(),
            "sync_id" => values.sync_id.unwrap_or(0).to_string(),
            "format_extension" => self.extension.to_owned(),
            _ => return None,
        })
    }
}

/// The key of the list of a stream's objects.
pub(crate) fn manifest_key(root: &str, stream: &StreamDescriptor) -> String {
    let namespace = stream.namespace.as_deref().map_or_else(String::new, |n| format!("{}/", encode_name(n)));
    hidden(root, &format!("{namespace}{}.json", encode_name(&stream.name)))
}

/// A key that readers do not look at.
pub(crate) fn hidden(root: &str, name: &str) -> String {
    if root.is_empty() { format!("{HIDDEN}/{name}") } else { format!("{root}/{HIDDEN}/{name}") }
}

/// Replaces each known name between the marks; what is unknown stays as it is.
fn fill(pattern: &str, open: &str, close: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut rest = pattern;
    while let Some(at) = rest.find(open) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let inner = &from[open.len()..];
        match inner.find(close).and_then(|end| Some((value(&inner[..end])?, end))) {
            Some((text, end)) => {
                out.push_str(&text);
                rest = &inner[end + close.len()..];
            }
            None => {
                out.push_str(open);
                rest = inner;
            }
        }
    }
    out.push_str(rest);
    out
}

fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = 0x40 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A random word, for what must be told from everything else.
pub(crate) fn token() -> String {
    random().iter().map(|b| format!("{b:02x}")).collect()
}

/// Random bytes, for what must not be guessed or met twice.
pub(crate) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if !matches!(filled, Ok(16)) {
        // Without randomness, time and process still tell runs apart.
        let now = u128::try_from(crate::time::now_micros()).unwrap_or(0);
        bytes = (now << 32 | u128::from(std::process::id())).to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Names, Values, manifest_key};
    use crate::time::Moment;
    use connector_kit::protocol::StreamDescriptor;

    fn stream(namespace: Option<&str>, name: &str) -> StreamDescriptor {
        StreamDescriptor { namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }

    fn values() -> Values {
        let began = Moment::at(1_709_251_199_007);
        Values { began, now: 1_709_251_200_000_001, part: 7, sync_id: Some(42), random: [0xab; 16] }
    }

    fn key(root: &str, path: &str, file: &str, stream: &StreamDescriptor) -> String {
        Names::new(root, path, file, ".parquet", stream).key(&values(), 0).unwrap()
    }

    #[test]
    fn every_variable_is_filled_in_and_unknown_ones_stay() {
        let orders = stream(Some("shop"), "orders");
        for (path, file, expected) in [
            ("${NAMESPACE}/${STREAM_NAME}/", "{part_number}{format_extension}", "lake/shop/orders/7.parquet"),
            ("${STREAM_NAME}_", "{part_number}{format_extension}", "lake/orders_7.parquet"),
            (
                "${YEAR}/${MONTH}/${DAY}/${HOUR}${MINUTE}${SECOND}_${MILLISECOND}_${EPOCH}/",
                "x{format_extension}",
                "lake/2024/02/29/235959_0007_1709251199007/x.parquet",
            ),
            (
                "//a//",
                "{date}_{date:yyyy_MM}_{sync_id}_{timestamp}_{timestamp:micros}",
                "lake/a/2024_02_29_2024_02_42_1709251200000_1709251200000001",
            ),
            ("${UUID}/", "f", "lake/abababab-abab-4bab-abab-abababababab/f"),
            ("${NOPE}/$x/${", "{nope}{date:MM}", "lake/${NOPE}/$x/${{nope}{date:MM}"),
        ] {
            assert_eq!(key("lake", path, file, &orders), expected);
        }
        assert_eq!(key("", "${NAMESPACE}/${STREAM_NAME}/", "f", &stream(None, "orders")), "orders/f");
    }

    #[test]
    fn df_06_names_of_streams_stay_below_the_path_and_stay_apart() {
        let path = "${NAMESPACE}/${STREAM_NAME}/";
        for (name, expected) in [
            ("..", "lake/n/%2E%2E/f"),
            ("../../etc", "lake/n/%2E.%2F..%2Fetc/f"),
            ("a/b", "lake/n/a%2Fb/f"),
            ("a\0b", "lake/n/a%00b/f"),
            ("${YEAR}", "lake/n/%24%7BYEAR%7D/f"),
        ] {
            assert_eq!(key("lake", path, "f", &stream(Some("n"), name)), expected);
        }
        let long =
            |end: &str| key("lake", path, "f", &stream(Some("n"), &format!("{}{end}", "x".repeat(300))));
        assert!(long("a") != long("b") && long("a").len() < 300);
    }

    #[test]
    fn a_number_that_tells_objects_apart_stands_before_the_extension() {
        let names = Names::new("", "a/", "data{format_extension}", ".csv.gz", &stream(None, "s"));
        assert_eq!(names.key(&values(), 2).unwrap(), "a/data-2.csv.gz");
        assert!(!names.tells_parts_apart());
        let long = Names::new("", &"x".repeat(1100), "f", ".csv", &stream(None, "s"));
        assert!(long.key(&values(), 0).unwrap_err().message().contains("s3_path_format"));
    }

    #[test]
    fn lists_of_streams_have_keys_of_their_own() {
        assert_eq!(manifest_key("lake", &stream(Some("a"), "b")), "lake/_ferry/a/b.json");
        assert_eq!(manifest_key("", &stream(None, "a/b")), "_ferry/a%2Fb.json");
    }
}
