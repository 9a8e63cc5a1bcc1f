//! Makes uploads objects, and removes what they replace: noted first, done next, and noted again.

use connector_kit::{ErrorKind, Result};

use crate::manifest::{Intent, Object, Pending};
use crate::write::S3Writer;

impl S3Writer {
    /// Publishes what is finished. With the stream complete, also removes what is replaced: all there was before
    /// when it is overwritten, and rows of generations that are over.
    pub(crate) async fn publish(&mut self, complete: bool) -> Result<()> {
        let mut pending = Vec::with_capacity(self.finished.len());
        for finished in &mut self.finished {
            let done = finished.upload.finish().await?;
            pending.push(Pending::new(finished.object.clone(), done));
        }
        let (minimum, overwrite) = (self.minimum, self.overwrite);
        let outdated = |object: &&Object| complete && (overwrite || object.generation < minimum);
        let replaces: Vec<String> =
            self.book.manifest.objects.iter().filter(outdated).map(|o| o.key.clone()).collect();
        if pending.is_empty() && replaces.is_empty() {
            return Ok(());
        }
        // An overwrite that the source has finished is ended by the next run if we cannot. Rows to be added are taken
        // back: their state is not confirmed, so they come again.
        let intent = Intent { forward: overwrite, objects: pending, replaces };
        let before = self.book.manifest.clone();
        self.book.manifest.intent = Some(intent.clone());
        self.book.manifest.uploads.clear();
        if let Err(error) = self.book.save().await {
            self.book.manifest.intent = before.intent;
            if error.kind() != ErrorKind::Config {
                // The store may have it although it did not say so; then the next run needs these uploads.
                self.finished.clear();
            }
            return Err(error);
        }
        self.finished.clear();
        for pending in &intent.objects {
            self.shared.store.complete(&pending.completion()).await?;
        }
        let manifest = &mut self.book.manifest;
        manifest.intent = None;
        manifest.objects.retain(|o| !intent.replaces.contains(&o.key));
        manifest.objects.extend(intent.objects.into_iter().map(|p| p.object));
        manifest.removing.extend(intent.replaces);
        self.book.save().await?;
        if !self.book.manifest.removing.is_empty() {
            self.shared.store.delete(&self.book.manifest.removing).await?;
            self.book.manifest.removing.clear();
            self.book.save().await?;
        }
        Ok(())
    }
}
