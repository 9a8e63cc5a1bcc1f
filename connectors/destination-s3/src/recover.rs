//! What a run that ended early has left: ended or taken back, before anything new is written.

use connector_kit::protocol::StreamDescriptor;
use connector_kit::{Error, Result, tracing};
use s3_kit::{Fault, Store};

use crate::book::Book;
use crate::commits::{Commits, was_reached};
use crate::destination::Shared;
use crate::keys::{manifest_key, token};
use crate::manifest::{Intent, Pending, Writer};

/// Leaves the list without intents, uploads and removals. The list names us already: the run that was
/// here before cannot change it any more.
pub(crate) async fn recover(
    shared: &Shared,
    stream: &StreamDescriptor,
    book: &mut Book,
    commits: Option<&Commits>,
) -> Result<()> {
    let store = &shared.store;
    let m = book.manifest();
    if m.intent.is_none() && m.uploads.is_empty() && m.removing.is_empty() {
        return Ok(());
    }
    for upload in std::mem::take(&mut book.manifest_mut().uploads) {
        drop_upload(store, &upload.key, &upload.upload_id).await;
    }
    // Kept in the list until it is settled: whatever fails meanwhile, the next run finds it again.
    if let Some(intent) = book.manifest().intent.clone() {
        let (forward, ours) = fate(shared, &intent, commits).await?;
        let count = intent.objects.len();
        let mut ended = false;
        if forward {
            tracing::info!("The last run ended while it published {count} objects; publishing them now.");
            ended = complete_all(store, &intent.objects).await?;
            if !ended && ours {
                return Err(Error::config(format!(
                    "Stream {stream}: rows that an earlier sync has committed are gone from the store before they could be seen, because a rule of the bucket drops uploads too early. Run \"ferry state reset\" for this stream so that all of it is read again, and let the rule spare uploads that are younger than a week."
                )));
            }
            if !ended {
                tracing::warn!(
                    "Their uploads are gone from the store; the rows from before stay, and these come again."
                );
            }
        } else {
            tracing::info!(
                "The last run ended while it wrote {count} objects that nobody confirmed; taking them back."
            );
        }
        let manifest = book.manifest_mut();
        manifest.intent = None;
        if ended {
            manifest.objects.retain(|o| !intent.replaces.contains(&o.key));
            manifest.objects.extend(intent.objects.into_iter().map(|p| p.object));
            manifest.removing.extend(intent.replaces);
            book.save().await?;
        } else {
            take_back(store, &intent.objects).await?;
        }
    }
    store.delete(&book.manifest().removing).await?;
    book.manifest_mut().removing.clear();
    book.save().await
}

/// Whether what was announced is to be ended, and whether a state of our own connection covers it.
async fn fate(shared: &Shared, intent: &Intent, commits: Option<&Commits>) -> Result<(bool, bool)> {
    let Some(commit) = &intent.commit else { return Ok((intent.forward, false)) };
    if let Some(reached) = commits.and_then(|ours| ours.reached(commit)) {
        return Ok((reached, true));
    }
    let conditional = shared.conditional().await?;
    Ok((was_reached(&shared.store, &shared.root, conditional, commit).await?, false))
}

/// Ends or takes back what earlier processes of the connection have left of streams that are no longer written: the number
/// of a commit that was not reached is used again.
pub(crate) async fn settle(
    shared: &Shared,
    commits: &mut Commits,
    streams: &[StreamDescriptor],
) -> Result<()> {
    let conditional = shared.conditional().await?;
    for stream in commits.left(streams) {
        let key = manifest_key(&shared.root, &stream);
        let mut book = Book::look(&shared.store, key, &stream, conditional).await?;
        let commit = book.manifest().intent.as_ref().and_then(|intent| intent.commit.as_ref());
        // Another connection may write it by now.
        if commit.and_then(|commit| commits.reached(commit)).is_some() {
            let writer = Writer { token: token(), sync_id: None, began: shared.began };
            book.take_over(writer).await?;
            recover(shared, &stream, &mut book, Some(commits)).await?;
        }
    }
    commits.settled(streams);
    Ok(())
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
async fn take_back(store: &Store, objects: &[Pending]) -> Result<()> {
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
