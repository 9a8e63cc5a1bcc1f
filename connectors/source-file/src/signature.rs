//! Requests to object stores, signed as Amazon's fourth version has it, in their headers. The
//! body of a GET is empty and stays unsigned.

use std::time::SystemTime;

use connector_kit::Secret;
use reqwest::Url;
use ring::{digest, hmac};

const EMPTY: &str = "UNSIGNED-PAYLOAD";

/// Who signs, for which region.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) id: String,
    pub(crate) secret: Secret,
    pub(crate) region: String,
}

impl Signer {
    /// The headers that make a GET of `url` ours, at this time.
    pub(crate) fn headers(&self, url: &Url, now: SystemTime) -> [(&'static str, String); 3] {
        let stamp = stamp(now);
        let day = stamp.get(..8).unwrap_or_default();
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let names = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "GET\n{}\n{}\nhost:{host}\nx-amz-content-sha256:{EMPTY}\nx-amz-date:{stamp}\n\n{names}\n{EMPTY}",
            url.path(),
            url.query().unwrap_or_default(),
        );
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let digest = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}");
        let first = format!("AWS4{}", self.secret.expose().trim());
        let key = [day, &self.region, "s3", "aws4_request"]
            .iter()
            .fold(first.into_bytes(), |key, part| keyed(&key, part.as_bytes()));
        let signature = hex(&keyed(&key, text.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.id.trim()
        );
        [("x-amz-date", stamp), ("x-amz-content-sha256", EMPTY.to_owned()), ("authorization", authorization)]
    }
}

fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `20260131T102030Z`.
fn stamp(now: SystemTime) -> String {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let mut text = Vec::new();
    connector_kit::write_timestamp(&mut text, i64::try_from(seconds).unwrap_or(0) * 1_000_000, true);
    String::from_utf8_lossy(&text).replace(['-', ':'], "")
}

/// A key as a path: everything but what URLs leave alone is in percent.
pub(crate) fn path(key: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    key.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{Signer, path, stamp};
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_signature_is_the_one_that_an_independent_implementation_makes() {
        let signer = Signer {
            id: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned().into(),
            region: "eu-west-1".into(),
        };
        let url = "http://127.0.0.1:9000/lake/a%20b.csv".parse().unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let [(_, date), _, (_, authorization)] = signer.headers(&url, now);
        assert_eq!(date, "20260101T000000Z");
        assert!(
            authorization
                .ends_with("Signature=4b050f9d7e0e0120c20df6b8395538b20dcc77eb92d21c1eefb17f9c193b9371"),
            "{authorization}"
        );
    }

    #[test]
    fn keys_become_paths_and_times_stamps() {
        assert_eq!(path("a b/ü+%2F.csv"), "a%20b/%C3%BC%2B%252F.csv");
        assert_eq!(stamp(SystemTime::UNIX_EPOCH), "19700101T000000Z");
    }
}
