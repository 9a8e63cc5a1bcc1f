//! Small objects: written at once, removed in batches.

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::Bytes;
use connector_kit::Error as KitError;

use crate::connect::Store;
use crate::error::{self, Error, Fault, Result};

/// How many objects one request removes.
const DELETED_AT_ONCE: usize = 1_000;

/// When an object may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Any,
    /// Only where there is none.
    Absent,
    /// Only over this version.
    Version(String),
}

/// A version that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its ETag, quotes included.
    pub etag: String,
}

impl Store {
    /// Writes a small object whole or not at all. Some stores ignore conditions.
    ///
    /// # Errors
    /// [`Fault::Changed`] when the condition does not hold. When an answer was lost, the repeated request finds its
    /// own object and says the same: look whose it is.
    pub async fn put(
        &self,
        key: &str,
        content_type: &str,
        bytes: Bytes,
        condition: Condition,
        metadata: &[(String, String)],
    ) -> Result<Written> {
        let (store, key, content_type) = (self.clone(), key.to_owned(), content_type.to_owned());
        let metadata = metadata.to_vec();
        self.run(async move {
            let doing = format!("write {}", store.url(&key));
            let mut request = store.client().await.put_object().bucket(store.bucket()).key(&key);
            for (name, value) in metadata {
                request = request.metadata(name, value);
            }
            request = match condition {
                Condition::Any => request,
                Condition::Absent => request.if_none_match("*"),
                Condition::Version(etag) => request.if_match(etag),
            };
            let request = request.content_type(content_type).body(bytes.into());
            let answer = request.send().await.map_err(|e| {
                let error = error::of(store.settings(), &doing, e);
                // If-Match on an object that is gone.
                if error.fault() == Fault::Missing { gone(&doing) } else { error }
            })?;
            Ok(Written { etag: answer.e_tag().unwrap_or_default().to_owned() })
        })
        .await
    }

    /// Removes objects; those that are gone already are no error.
    ///
    /// # Errors
    /// When one of them cannot be removed.
    pub async fn delete(&self, keys: &[String]) -> Result<()> {
        for some in keys.chunks(DELETED_AT_ONCE) {
            let (store, some) = (self.clone(), some.to_vec());
            self.run(async move { delete(&store, some).await }).await?;
        }
        Ok(())
    }
}

fn gone(doing: &str) -> Error {
    error::fault(
        Fault::Changed,
        KitError::transient(format!("Cannot {doing}: somebody else removed it meanwhile; try again.")),
    )
}

async fn delete(store: &Store, keys: Vec<String>) -> Result<()> {
    let Some(first) = keys.first() else { return Ok(()) };
    let doing = match keys.len() {
        1 => format!("remove {}", store.url(first)),
        n => format!("remove {} and {} more", store.url(first), n - 1),
    };
    let invalid = |e| error::plain(KitError::system(format!("Cannot {doing}.")).with_source(e));
    let mut batch = Delete::builder().quiet(true);
    for key in &keys {
        batch = batch.objects(ObjectIdentifier::builder().key(key).build().map_err(invalid)?);
    }
    let request = store.client().await.delete_objects().bucket(store.bucket());
    let answer = request.delete(batch.build().map_err(invalid)?).send().await;
    let answer = answer.map_err(|e| error::of(store.settings(), &doing, e))?;
    match answer.errors().iter().find(|e| e.code() != Some("NoSuchKey")) {
        None => Ok(()),
        Some(failed) => {
            let (key, code) = (failed.key().unwrap_or_default(), failed.code().unwrap_or_default());
            Err(error::plain(KitError::config(format!(
                "Cannot remove {}: the store answers {code}; let the owner of the credentials remove objects in the bucket {}.",
                store.url(key),
                store.bucket()
            ))))
        }
    }
}
