//! What is in a bucket, page by page.

use aws_sdk_s3::types::EncodingType;

use crate::connect::Store;
use crate::error::{self, Result};

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub size: u64,
    /// What tells this version from another, quotes included.
    pub etag: String,
    /// When it was written: microseconds since 1970.
    pub modified: i64,
    /// `GLACIER` and the like, where the store says so.
    pub storage_class: Option<String>,
}

/// A listing on its way. A page holds up to 1,000 objects, in the order of their keys' bytes.
#[derive(Debug)]
pub struct Listing {
    store: Store,
    prefix: String,
    after: Option<String>,
    token: Option<String>,
    done: bool,
}

impl Store {
    /// Lists the objects whose keys begin with `prefix`, from the one after `after` on.
    #[must_use]
    pub fn list(&self, prefix: &str, after: Option<&str>) -> Listing {
        Listing {
            store: self.clone(),
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            token: None,
            done: false,
        }
    }
}

impl Listing {
    /// The next page; `None` after the last. After an error the same page can be asked for again.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Object>>> {
        if self.done {
            return Ok(None);
        }
        let (store, prefix) = (self.store.clone(), self.prefix.clone());
        let (after, token) = (self.after.clone(), self.token.clone());
        let page = self.store.run(async move {
            let request = store.client().await.list_objects_v2();
            let request = request
                .bucket(store.bucket())
                .prefix(&prefix)
                .encoding_type(EncodingType::Url)
                .set_continuation_token(token.clone())
                // Once there is a token, it knows where to go on.
                .set_start_after(if token.is_none() { after } else { None });
            let doing = format!("list {}", store.url(&prefix));
            request.send().await.map_err(|e| error::of(store.settings(), &doing, e))
        });
        let page = page.await?;
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let objects = page.contents().iter().filter_map(|object| {
            let key = object.key()?;
            Some(Object {
                key: if encoded { decode(key) } else { key.to_owned() },
                size: object.size().and_then(|s| u64::try_from(s).ok()).unwrap_or(0),
                etag: object.e_tag().unwrap_or_default().to_owned(),
                modified: object.last_modified().map_or(0, micros),
                storage_class: object.storage_class().map(|c| c.as_str().to_owned()),
            })
        });
        let objects: Vec<Object> = objects.collect();
        let next = page.next_continuation_token().map(str::to_owned);
        // A store that always gives the same token would have us list for ever.
        self.done = next.is_none() || page.is_truncated() == Some(false) || next == self.token;
        self.token = next;
        Ok(Some(objects))
    }
}

pub(crate) fn micros(time: &aws_sdk_s3::primitives::DateTime) -> i64 {
    i64::try_from(time.as_nanos() / 1_000).unwrap_or(i64::MAX)
}

/// Keys come percent-encoded, because XML cannot hold every character that a key can.
fn decode(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match (first, hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (other, _) => {
                bytes.push(*other);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn keys_come_back_as_they_were_named() {
        for (encoded, key) in [
            ("a/b.csv", "a/b.csv"),
            ("a+b%2Bc%252F.csv", "a b+c%2F.csv"),
            ("%F0%9F%A6%80", "🦀"),
            ("%0A", "\n"),
            ("100%", "100%"),
            ("%zz", "%zz"),
        ] {
            assert_eq!(decode(encoded), key);
        }
    }
}
