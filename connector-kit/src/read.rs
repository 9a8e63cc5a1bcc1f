//! The `read` command: streams one after another, status, states, errors.

use std::path::Path;
use std::sync::Arc;

use protocol::{
    ConfiguredCatalog, ConfiguredStream, Message, StateFile, StateScope, Stream, StreamStatusKind, SyncMode,
    Trace,
};

use crate::changes;
use crate::config::read_file;
use crate::context::Stop;
use crate::emitter::{Emitter, FULL_REFRESH_DONE, StreamEmitter};
use crate::error::{Error, ErrorKind, Result};
use crate::row::now_ms;
use crate::stream::SelectedStream;
use crate::traits::{ChangeSource, Source};

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

/// A stream of the catalog with its resume point, or why it cannot be read.
pub(crate) type Job<C> = Result<(Arc<SelectedStream>, Option<C>)>;

/// Checks every stream of the catalog before the first record. A stream that cannot be read
/// does not keep the others from it.
async fn prepare<S: Source>(
    source: &S,
    catalog: &Path,
    state: Option<&Path>,
) -> Result<(Vec<Job<S::Cursor>>, StateFile)> {
    let configured = load_catalog(catalog)?;
    let states = load_state(state)?;
    let wanted: Vec<_> = configured.streams.iter().map(|s| s.stream.descriptor()).collect();
    let offered = source.offered(&wanted).await?;
    if offered.len() != wanted.len() {
        return Err(Error::system("The source did not answer for every stream of the catalog."));
    }
    let mut jobs = Vec::new();
    for ((stream, descriptor), offered) in configured.streams.into_iter().zip(wanted).zip(offered) {
        jobs.push(match offered.map(|offered| select(&offered, stream)) {
            Ok(selected) => {
                // A state that cannot be read is the wrong file: nothing of it is to be trusted.
                let resume = resume::<S>(&selected, &states).map_err(|e| e.for_stream(&descriptor))?;
                Ok((Arc::new(selected), resume))
            }
            Err(error) => Err(error.for_stream(&descriptor)),
        });
    }
    Ok((jobs, states))
}

pub(crate) async fn read<S: Source>(
    source: &S,
    catalog: &Path,
    state: Option<&Path>,
    out: &Emitter,
    stop: &Stop,
) -> Result<()> {
    let (jobs, _) = prepare(source, catalog, state).await?;
    let mut errors = Vec::new();
    for job in jobs {
        if stop.requested() || out.is_closed() {
            return Err(Error::stopped());
        }
        let read = match job {
            Ok((selected, resume)) => read_stream(source, &selected, resume, out).await,
            Err(error) => {
                refuse(&error, out)?;
                Err(error)
            }
        };
        match read {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Stopped => return Err(error),
            Err(error) => errors.push(error),
        }
    }
    source.finish().await;
    report(errors, out)
}

/// As [`read`], for a source whose streams may share a position.
pub(crate) async fn read_changes<S: ChangeSource>(
    source: &S,
    catalog: &Path,
    state: Option<&Path>,
    out: &Emitter,
    stop: &Stop,
) -> Result<()> {
    if !source.shares_position() {
        return read(source, catalog, state, out, stop).await;
    }
    let (jobs, states) = prepare(source, catalog, state).await?;
    changes::read(source, jobs, &states, out).await
}

/// Says of a stream that could not even be started that it will not come.
pub(crate) fn refuse(error: &Error, out: &Emitter) -> Result<()> {
    let Some(stream) = error.stream() else { return Ok(()) };
    let status = Trace::status(now_ms(), stream.clone(), StreamStatusKind::Incomplete);
    out.message(&Message::Trace(status))
}

/// Each failure gets its own trace and status; the last is the run's one error.
pub(crate) fn report(mut errors: Vec<Error>, out: &Emitter) -> Result<()> {
    let Some(last) = errors.pop() else { return Ok(()) };
    for earlier in errors {
        out.message(&Message::Trace(Trace::error(now_ms(), earlier.to_trace())))?;
    }
    Err(last)
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

/// Fits a configured stream to what the source offers.
fn select(offered: &Stream, configured: ConfiguredStream) -> SelectedStream {
    let descriptor = configured.stream.descriptor();
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
    selected
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
