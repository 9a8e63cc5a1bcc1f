//! What a run that ended early has left: ended or taken back, before anything new is written.

use connector_kit::Result;
use connector_kit::tracing;
use s3_kit::{Fault, Store};

use crate::book::Book;
use crate::manifest::Pending;

/// Leaves the list without intents, uploads and removals. The list names us already: the run that was
/// here before cannot change it any more.
pub(crate) async fn recover(store: &Store, book: &mut Book) -> Result<()> {
    let clean = |book: &Book| {
        let m = &book.manifest;
        m.intent.is_none() && m.uploads.is_empty() && m.removing.is_empty()
    };
    if clean(book) {
        return Ok(());
    }
    for upload in std::mem::take(&mut book.manifest.uploads) {
        drop_upload(store, &upload.key, &upload.upload_id).await;
    }
    if let Some(intent) = book.manifest.intent.take() {
        if intent.forward {
            let count = intent.objects.len();
            tracing::info!("The last run ended while it published {count} objects; publishing them now.");
            if !complete_all(store, &intent.objects).await? {
                tracing::warn!(
                    "Their uploads are gone from the store; the rows from before stay, and these come again."
                );
                take_back(store, &intent.objects).await?;
                return book.save().await;
            }
            book.manifest.objects.retain(|o| !intent.replaces.contains(&o.key));
            book.manifest.objects.extend(intent.objects.into_iter().map(|p| p.object));
            book.manifest.removing.extend(intent.replaces);
            book.save().await?;
        } else {
            tracing::info!(
                "The last run ended while it wrote {} objects that nobody confirmed; taking them back.",
                intent.objects.len()
            );
            take_back(store, &intent.objects).await?;
        }
    }
    store.delete(&book.manifest.removing).await?;
    book.manifest.removing.clear();
    book.save().await
}

/// False when an upload is gone that never became an object: a rule of the bucket drops old ones.
async fn complete_all(store: &Store, objects: &[Pending]) -> Result<bool> {
    for pending in objects {
        match store.complete(&pending.completion()).await {
            Ok(_) => {}
            Err(error) if error.fault() == Fault::Missing => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Removes objects that were to be, whether or not they came to be.
pub(crate) async fn take_back(store: &Store, objects: &[Pending]) -> Result<()> {
    for pending in objects {
        let key = &pending.object.key;
        // First the upload: afterwards nobody can complete it any more, and what is there is all there ever will be.
        drop_upload(store, key, &pending.upload_id).await;
        if store.head(key).await?.is_some_and(|head| head.is_from(&pending.token)) {
            store.delete(std::slice::from_ref(key)).await?;
        }
    }
    Ok(())
}

/// An upload that cannot be dropped costs a little money and nothing else.
async fn drop_upload(store: &Store, key: &str, upload_id: &str) {
    if let Err(error) = store.abort(key, upload_id).await {
        tracing::debug!("{error}");
    }
}
