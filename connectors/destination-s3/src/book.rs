//! A stream's list in the store: read once, changed only by the run that it names.

use connector_kit::protocol::StreamDescriptor;
use connector_kit::{Error, Result};
use s3_kit::{Condition, Fault, Store};

use crate::manifest::{Manifest, Writer};

/// A list of a million objects is smaller.
const MOST_BYTES: u64 = 512 << 20;

/// The list, and the version of it that we know.
#[derive(Debug)]
pub(crate) struct Book {
    store: Store,
    key: String,
    stream: StreamDescriptor,
    etag: Option<String>,
    /// Whether the store keeps to conditions. Where it does not, we look before and after.
    conditional: bool,
    pub(crate) manifest: Manifest,
}

impl Book {
    /// Reads the list, and makes `writer` the one who may change it.
    pub(crate) async fn open(
        store: &Store,
        key: String,
        stream: &StreamDescriptor,
        conditional: bool,
        mut writer: Writer,
    ) -> Result<Self> {
        let mut book = Self {
            store: store.clone(),
            key,
            stream: stream.clone(),
            etag: None,
            conditional,
            manifest: Manifest {
                version: 1,
                stream: stream.name.clone(),
                namespace: stream.namespace.clone(),
                ..Manifest::default()
            },
        };
        if let Some((manifest, etag)) = book.stored().await? {
            if (&manifest.stream, &manifest.namespace) != (&stream.name, &stream.namespace) {
                return Err(Error::config(format!(
                    "{} is the list of another stream, {:?}; choose another s3_bucket_path.",
                    store.url(&book.key),
                    manifest.stream
                )));
            }
            if writer.sync_id.is_some() && manifest.writer.sync_id == writer.sync_id {
                writer.began = manifest.writer.began;
            }
            (book.manifest, book.etag) = (manifest, Some(etag));
        }
        book.manifest.writer = writer;
        book.save().await?;
        Ok(book)
    }

    /// Stores the list as it is now.
    ///
    /// # Errors
    /// When another run has taken over, or the store fails.
    pub(crate) async fn save(&mut self) -> Result<()> {
        self.manifest.serial += 1;
        let bytes = serde_json::to_vec(&self.manifest)
            .map_err(|e| Error::system("The list of objects cannot be written.").with_source(e))?;
        let condition = match &self.etag {
            _ if !self.conditional => {
                self.unchanged().await?;
                Condition::Any
            }
            None => Condition::Absent,
            Some(etag) => Condition::Version(etag.clone()),
        };
        let put = self.store.put(&self.key, "application/json", bytes.into(), condition, &[]).await;
        let error = match put {
            Ok(written) if self.conditional => {
                self.etag = Some(written.etag);
                return Ok(());
            }
            Ok(_) => None,
            Err(error) => Some(error),
        };
        // The answer may be that of a second try, which met what the first one wrote.
        match self.stored().await {
            Ok(Some((stored, etag))) if stored == self.manifest => {
                self.etag = Some(etag);
                Ok(())
            }
            Ok(_) => Err(error
                .filter(|e| e.fault() != Fault::Changed)
                .map_or_else(|| self.taken_over(), Error::from)),
            Err(second) => Err(error.map_or(second, Error::from)),
        }
    }

    async fn unchanged(&self) -> Result<()> {
        let found = self.store.head(&self.key).await?.map(|head| head.etag);
        if found == self.etag { Ok(()) } else { Err(self.taken_over()) }
    }

    fn taken_over(&self) -> Error {
        Error::config(format!(
            "Another sync has begun to write stream {} to {}; this one ends without having changed what that one writes. Run one of them at a time, or give them different values of s3_bucket_path.",
            self.stream,
            self.store.url(&self.key)
        ))
    }

    async fn stored(&self) -> Result<Option<(Manifest, String)>> {
        let Some((bytes, etag)) = self.store.get(&self.key, MOST_BYTES).await? else { return Ok(None) };
        let url = self.store.url(&self.key);
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| {
            Error::config(format!(
                "The list of objects {url} is damaged; restore it, or remove it together with the stream's objects and sync anew."
            ))
            .with_source(e)
        })?;
        if manifest.version != 1 {
            return Err(Error::config(format!(
                "The list of objects {url} was written by a newer version; use that version or another s3_bucket_path."
            )));
        }
        Ok(Some((manifest, etag)))
    }
}
