//! Stream and namespace names as names of directories: one path component each, told
//! apart whenever the names differ, and readable back unless cut for length.

use xxhash_rust::xxh3::xxh3_128;

/// File systems allow 255 bytes; lock and staging names add a little.
const MAX_BYTES: usize = 200;
const KEPT_BYTES: usize = 150;

/// Encodes a name. Bytes that a path, a shell glob, a Hive partition or another system's
/// file names give a meaning become `%XX`; so does a leading dot. A longer name is cut and
/// ends in `%~` and a hash of the whole.
#[must_use]
pub fn encode(name: &str) -> String {
    if name.is_empty() {
        // A lone % stands for no other name.
        return "%".to_owned();
    }
    let mut out = String::with_capacity(name.len());
    let last = name.chars().count() - 1;
    for (index, c) in name.chars().enumerate() {
        let hidden = index == 0 && c == '.';
        let trailing = index == last && matches!(c, '.' | ' ');
        if c.is_control() || "/\\%\"':*?<>|=[]{}$`".contains(c) || hidden || trailing {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|b| out.push_str(&format!("%{b:02X}")));
        } else {
            out.push(c);
        }
    }
    if is_device(&out) {
        let first = out.remove(0);
        out.insert_str(0, &format!("%{:02X}", first as u32));
    }
    if out.len() > MAX_BYTES {
        let mut cut = (0..=KEPT_BYTES).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        if let Some(percent) = out[..cut].rfind('%').filter(|p| p + 3 > cut) {
            cut = percent;
        }
        out.truncate(cut);
        out.push_str(&format!("%~{:032x}", xxh3_128(name.as_bytes())));
    }
    out
}

/// Names that Windows keeps for devices, with any extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).to_ascii_uppercase();
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.ends_with(|c: char| c.is_ascii_digit())
}

/// The name that was encoded; `None` when it was cut.
#[cfg(test)]
fn decode(encoded: &str) -> Option<String> {
    if encoded == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::new();
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use proptest::prelude::proptest;

    #[test]
    fn nothing_leaves_the_directory() {
        for (name, expected) in [
            ("orders", "orders"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("../../etc", "%2E.%2F..%2Fetc"),
            ("a/b", "a%2Fb"),
            ("a\0b", "a%00b"),
            ("it's \"x\"", "it%27s %22x%22"),
            ("100%", "100%25"),
            ("day=1", "day%3D1"),
            ("🦀", "🦀"),
            ("", "%"),
            ("nul.txt", "%6Eul.txt"),
            (".ferry", "%2Eferry"),
        ] {
            assert_eq!(encode(name), expected);
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (a, b) = (encode(&format!("{}a", "é/".repeat(150))), encode(&format!("{}b", "é/".repeat(150))));
        assert!(a.len() <= 200 && a != b && decode(&a).is_none(), "{a}");
        assert_ne!(encode("%~"), "%~");
    }

    proptest! {
        #[test]
        fn every_name_is_one_component_and_comes_back(name in "\\PC{0,40}|[./%\\\\a ]{0,8}") {
            let encoded = encode(&name);
            assert!(!encoded.is_empty() && encoded.len() <= 255 && !encoded.starts_with('.'));
            assert!(!encoded.contains(['/', '\0']));
            if encoded.len() <= 150 {
                assert_eq!(decode(&encoded).as_deref(), Some(name.as_str()));
            }
        }
    }
}
