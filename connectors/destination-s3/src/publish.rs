//! Makes uploads objects, and removes what they replace: noted first, done next, and noted again.

use connector_kit::{Error, ErrorKind, Result};

use crate::manifest::{CommitOf, Intent, Object, Pending};
use crate::write::Work;

impl Work {
    /// What is to become visible, and to go, if anything is. With the stream complete, what is replaced goes: all there
    /// was before when it is overwritten, and rows of generations that are over.
    pub(crate) fn plan(&self, complete: bool) -> Result<Option<Intent>> {
        let (minimum, overwrite) = (self.minimum, self.overwrite);
        let outdated = |object: &&Object| complete && (overwrite || object.generation < minimum);
        let replaces: Vec<String> =
            self.book.manifest().objects.iter().filter(outdated).map(|o| o.key.clone()).collect();
        let mut objects = Vec::with_capacity(self.finished.len());
        for finished in &self.finished {
            let Some(done) = finished.done.clone() else {
                return Err(Error::system("An object was to be seen before all of it had arrived."));
            };
            objects.push(Pending::new(finished.object.clone(), done));
        }
        // An overwrite that the source has finished is ended by the next run if we cannot. Rows to be added are taken
        // back: their state is not confirmed, so they come again.
        let intent = Intent { forward: overwrite, commit: None, objects, replaces };
        Ok((!intent.objects.is_empty() || !intent.replaces.is_empty()).then_some(intent))
    }

    /// Notes what is to become visible; with this commit, where one is said.
    pub(crate) async fn announce(&mut self, intent: &Intent, commit: Option<CommitOf>) -> Result<()> {
        let manifest = self.book.manifest_mut();
        let uploads = std::mem::take(&mut manifest.uploads);
        manifest.intent = Some(Intent { commit, ..intent.clone() });
        let saved = self.book.save().await;
        match &saved {
            // Another run has the stream; it knows nothing of these uploads.
            Err(error) if error.kind() == ErrorKind::Config => {
                let manifest = self.book.manifest_mut();
                (manifest.intent, manifest.uploads) = (None, uploads);
            }
            // Where the store may have it although it did not say so, the next run needs them.
            _ => {
                self.finished.clear();
                self.marked = 0;
            }
        }
        saved
    }

    /// Does what was announced.
    pub(crate) async fn carry_out(&mut self, intent: Intent) -> Result<()> {
        for pending in &intent.objects {
            self.shared.store.complete(&pending.completion()).await?;
        }
        let manifest = self.book.manifest_mut();
        manifest.intent = None;
        manifest.objects.retain(|o| !intent.replaces.contains(&o.key));
        manifest.objects.extend(intent.objects.into_iter().map(|p| p.object));
        manifest.removing.extend(intent.replaces);
        self.book.save().await?;
        if !self.book.manifest().removing.is_empty() {
            self.shared.store.delete(&self.book.manifest().removing).await?;
            self.book.manifest_mut().removing.clear();
            self.book.save().await?;
        }
        Ok(())
    }
}
