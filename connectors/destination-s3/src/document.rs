//! A JSON document in the store that one run at a time may change: every change names the version it replaces.

use connector_kit::{Error, Result};
use s3_kit::{Condition, Fault, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A list of a million objects is smaller.
const MOST_BYTES: u64 = 512 << 20;

/// The document, and the version of it that we know.
#[derive(Debug)]
pub(crate) struct Document<T> {
    store: Store,
    key: String,
    /// What it is, for errors.
    what: &'static str,
    etag: Option<String>,
    /// Whether the store keeps to conditions. Where it does not, we look before and after.
    conditional: bool,
    pub(crate) value: T,
}

impl<T: Serialize + DeserializeOwned + PartialEq + Default> Document<T> {
    /// Reads it; where there is none, it is the default and nothing is written.
    pub(crate) async fn read(
        store: &Store,
        key: String,
        what: &'static str,
        conditional: bool,
    ) -> Result<Self> {
        let mut document =
            Self { store: store.clone(), key, what, etag: None, conditional, value: T::default() };
        document.read_again().await?;
        Ok(document)
    }

    /// Takes what is stored for what it is.
    pub(crate) async fn read_again(&mut self) -> Result<()> {
        (self.value, self.etag) = match self.stored().await? {
            Some((value, etag)) => (value, Some(etag)),
            None => (T::default(), None),
        };
        Ok(())
    }

    /// Whether it was there when it was read or written last.
    pub(crate) fn exists(&self) -> bool {
        self.etag.is_some()
    }

    pub(crate) fn url(&self) -> String {
        self.store.url(&self.key)
    }

    /// Stores it as it is now. False when somebody else has changed it: then it is not stored, and never will be.
    /// The value must differ from every one that was stored before.
    ///
    /// # Errors
    /// When the store fails; it may have the value all the same.
    pub(crate) async fn save(&mut self) -> Result<bool> {
        let bytes = serde_json::to_vec(&self.value)
            .map_err(|e| Error::system(format!("{} cannot be written.", self.what)).with_source(e))?;
        let condition = match &self.etag {
            _ if !self.conditional => {
                let found = self.store.head(&self.key).await?.map(|head| head.etag);
                if found != self.etag {
                    return Ok(false);
                }
                Condition::Any
            }
            None => Condition::Absent,
            Some(etag) => Condition::Version(etag.clone()),
        };
        let put = self.store.put(&self.key, "application/json", bytes.into(), condition, &[]).await;
        let error = match put {
            Ok(written) if self.conditional => {
                self.etag = Some(written.etag);
                return Ok(true);
            }
            Ok(_) => None,
            Err(error) => Some(error),
        };
        // The answer may be that of a second try, which met what the first one wrote.
        match self.stored().await {
            Ok(Some((stored, etag))) if stored == self.value => {
                self.etag = Some(etag);
                Ok(true)
            }
            Ok(_) => match error {
                Some(error) if error.fault() != Fault::Changed => Err(error.into()),
                _ => Ok(false),
            },
            Err(second) => Err(error.map_or(second, Error::from)),
        }
    }

    async fn stored(&self) -> Result<Option<(T, String)>> {
        let Some((bytes, etag)) = self.store.get(&self.key, MOST_BYTES).await? else { return Ok(None) };
        let value = serde_json::from_slice(&bytes).map_err(|e| {
            Error::config(format!(
                "{} {} is damaged; restore it, or remove it together with the stream's objects and sync anew.",
                self.what,
                self.url()
            ))
            .with_source(e)
        })?;
        Ok(Some((value, etag)))
    }
}
