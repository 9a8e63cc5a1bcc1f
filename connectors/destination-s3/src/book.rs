//! A stream's list in the store: read once, changed only by the run that it names.

use connector_kit::protocol::StreamDescriptor;
use connector_kit::{Error, Result};
use s3_kit::Store;

use crate::document::Document;
use crate::manifest::{Manifest, Writer};

/// The list, and the version of it that we know.
#[derive(Debug)]
pub(crate) struct Book {
    document: Document<Manifest>,
    stream: StreamDescriptor,
    /// Nothing was written to the stream before.
    pub(crate) is_new: bool,
}

impl Book {
    /// Reads the list, and changes nothing.
    pub(crate) async fn look(
        store: &Store,
        key: String,
        stream: &StreamDescriptor,
        conditional: bool,
    ) -> Result<Self> {
        let mut document = Document::<Manifest>::read(store, key, "The list of objects", conditional).await?;
        let is_new = !document.exists();
        let manifest = &mut document.value;
        if is_new {
            let (stream, namespace) = (stream.name.clone(), stream.namespace.clone());
            *manifest = Manifest { version: 1, stream, namespace, ..Manifest::default() };
        } else if manifest.version != 1 {
            return Err(Error::config(format!(
                "The list of objects {} was written by a newer version; use that version or another s3_bucket_path.",
                document.url()
            )));
        } else if (&manifest.stream, &manifest.namespace) != (&stream.name, &stream.namespace) {
            return Err(Error::config(format!(
                "{} is the list of another stream, {:?}; choose another s3_bucket_path.",
                document.url(),
                document.value.stream
            )));
        }
        Ok(Self { document, stream: stream.clone(), is_new })
    }

    /// Makes `writer` the one who may change it.
    pub(crate) async fn take_over(&mut self, mut writer: Writer) -> Result<()> {
        let last = &mut self.document.value.writer;
        if writer.sync_id.is_some() && last.sync_id == writer.sync_id {
            writer.began = if self.is_new { writer.began } else { last.began };
        }
        *last = writer;
        self.save().await
    }

    pub(crate) fn stream(&self) -> &StreamDescriptor {
        &self.stream
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.document.value
    }

    pub(crate) fn manifest_mut(&mut self) -> &mut Manifest {
        &mut self.document.value
    }

    /// Stores the list as it is now.
    ///
    /// # Errors
    /// When another run has taken over, or the store fails.
    pub(crate) async fn save(&mut self) -> Result<()> {
        self.document.value.serial += 1;
        if self.document.save().await? {
            return Ok(());
        }
        Err(Error::config(format!(
            "Another sync has begun to write stream {} to {}; this one ends without having changed what that one writes. Run one of them at a time, or give them different values of s3_bucket_path.",
            self.stream,
            self.document.url()
        )))
    }
}
