//! The `read` command: streams one after another, status, states, errors.

use std::path::Path;
use std::sync::Arc;

use protocol::{
    Catalog, ConfiguredCatalog, ConfiguredStream, Message, StateFile, StateScope, SyncMode, Trace,
};

use crate::config::read_file;
use crate::context::Stop;
use crate::emitter::{Emitter, FULL_REFRESH_DONE, StreamEmitter};
use crate::error::{Error, ErrorKind, Result};
use crate::row::now_ms;
use crate::stream::SelectedStream;
use crate::traits::Source;

pub(crate) fn load_catalog(path: &Path) -> Result<ConfiguredCatalog> {
    let bytes = read_file("--catalog", path)?;
    ConfiguredCatalog::parse(&bytes)
        .map_err(|e| Error::config(format!("The catalog {} cannot be used: {e}.", path.display())))
}

fn load_state(path: Option<&Path>) -> Result<StateFile> {
    let Some(path) = path else { return Ok(StateFile::default()) };
    let bytes = read_file("--state", path)?;
    StateFile::parse(&bytes).map_err(|e| {
        Error::config(format!(
            "The state file {} cannot be used: {e}. Pass the state of an earlier sync, or none.",
            path.display()
        ))
    })
}

pub(crate) async fn read<S: Source>(
    source: &S,
    catalog: &Path,
    state: Option<&Path>,
    out: &Emitter,
    stop: &Stop,
) -> Result<()> {
    let configured = load_catalog(catalog)?;
    let states = load_state(state)?;
    let discovered = source.discover().await?;
    // All of them are checked before the first record.
    let mut jobs = Vec::new();
    for stream in configured.streams {
        let descriptor = stream.stream.descriptor();
        let selected = Arc::new(select(&discovered, stream).map_err(|e| e.for_stream(&descriptor))?);
        let resume = resume::<S>(&selected, &states).map_err(|e| e.for_stream(&descriptor))?;
        jobs.push((selected, resume));
    }
    let mut failed: Option<Error> = None;
    for (selected, resume) in jobs {
        if stop.requested() || out.is_closed() {
            return Err(Error::stopped());
        }
        if let Err(error) = read_stream(source, &selected, resume, out).await {
            if error.kind() == ErrorKind::Stopped {
                return Err(error);
            }
            // Each earlier failure gets its own trace; the last is the run's one error.
            if let Some(earlier) = failed.replace(error) {
                out.message(&Message::Trace(Trace::error(now_ms(), earlier.to_trace())))?;
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn read_stream<S: Source>(
    source: &S,
    selected: &Arc<SelectedStream>,
    resume: Option<S::Cursor>,
    out: &Emitter,
) -> Result<()> {
    let mut emitter = StreamEmitter::new(Arc::clone(selected), out.clone());
    if selected.sync_mode == SyncMode::Incremental {
        // With nothing new there is no checkpoint; the state must then stay what it was.
        emitter.begin_at(resume.clone());
    }
    emitter.started()?;
    match source.read(selected, resume, &mut emitter).await {
        Ok(()) => {
            let records = emitter.complete()?;
            tracing::info!("Stream {}: {records} records read.", selected.descriptor);
            Ok(())
        }
        Err(error) => {
            // With stdout closed there is nobody to tell; the first error is the one that counts.
            let _ = emitter.incomplete();
            Err(error.for_stream(&selected.descriptor))
        }
    }
}

/// Checks a configured stream against what the source offers.
fn select(discovered: &Catalog, configured: ConfiguredStream) -> Result<SelectedStream> {
    let descriptor = configured.stream.descriptor();
    let Some(offered) = discovered.streams.iter().find(|s| s.descriptor() == descriptor) else {
        let names: Vec<_> = discovered.streams.iter().take(20).map(|s| s.descriptor().to_string()).collect();
        return Err(Error::config(format!(
            "Stream {descriptor} is in the catalog but not in the source, which has: {}.",
            names.join(", ")
        )));
    };
    let missing = offered
        .properties()
        .zip(configured.stream.properties())
        .and_then(|(have, want)| want.keys().find(|k| !have.contains_key(*k)));
    if let Some(field) = missing {
        tracing::warn!(
            "Stream {descriptor}: field {field:?} is in the catalog but no longer in the source; it will be null."
        );
    }
    let mut selected = SelectedStream::new(configured);
    if selected.primary_key.is_empty() {
        selected.primary_key.clone_from(&offered.source_defined_primary_key);
    }
    if selected.cursor_field.is_empty() {
        selected.cursor_field.clone_from(&offered.default_cursor_field);
    }
    // Some clients ask for incremental everywhere; a stream that cannot is read whole.
    if selected.sync_mode == SyncMode::Incremental
        && !offered.supported_sync_modes.contains(&SyncMode::Incremental)
    {
        tracing::info!("Stream {descriptor} has no incremental mode; it is read whole.");
        selected.sync_mode = SyncMode::FullRefresh;
    }
    Ok(selected)
}

fn resume<S: Source>(selected: &SelectedStream, states: &StateFile) -> Result<Option<S::Cursor>> {
    let name = S::NAME;
    let foreign = |detail: String| {
        let text = format!(
            "The state of stream {} was not written by {name}. Pass the right state, or none to start over.",
            selected.descriptor
        );
        Error::config(text).with_source(detail)
    };
    if states.states().iter().any(|s| matches!(s.scope, StateScope::Legacy(_))) {
        return Err(foreign("a state without a type".into()));
    }
    let resumable =
        selected.sync_mode == SyncMode::Incremental || selected.configured.stream.is_resumable == Some(true);
    match states.stream_state(&selected.descriptor) {
        Some(state)
            if resumable && !state.get().contains(FULL_REFRESH_DONE) && state.get().trim() != "{}" =>
        {
            serde_json::from_str(state.get()).map(Some).map_err(|e| foreign(e.to_string()))
        }
        _ => Ok(None),
    }
}
