//! The `write` command: batches to writers, flushes by policy, states echoed when durable.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use protocol::{DestinationSyncMode, StreamStatusKind};
use tokio::sync::mpsc;

use crate::context::Stop;
use crate::emitter::Emitter;
use crate::error::{Error, Result};
use crate::intake::{End, Event, Intake, QUEUED_BATCHES, RecordBatch, recycle};
use crate::ledger::Ledger;
use crate::read::load_catalog;
use crate::stream::SelectedStream;
use crate::traits::{Destination, FlushPolicy, Outcome, StreamWriter};

/// What a run works on: the streams of the catalog, a writer for each, and what comes on stdin.
pub(crate) struct Prepared<W> {
    pub(crate) streams: Vec<SelectedStream>,
    pub(crate) writers: Vec<Option<W>>,
    pub(crate) ledger: Ledger,
    pub(crate) inbox: mpsc::Receiver<Event>,
    pub(crate) spare: Sender<RecordBatch>,
}

/// The streams of a catalog, each checked by itself.
pub(crate) fn select<D: Destination>(catalog: &Path) -> Result<Vec<SelectedStream>> {
    let mut streams = Vec::new();
    for stream in load_catalog(catalog)?.streams {
        let selected = SelectedStream::new(stream);
        check_mode::<D>(&selected).map_err(|e| e.for_stream(&selected.descriptor))?;
        streams.push(selected);
    }
    Ok(streams)
}

/// Opens every stream and starts to read stdin.
pub(crate) async fn prepare<D: Destination>(
    destination: &D,
    catalog: &Path,
    stdin: File,
    stop: &Stop,
) -> Result<Prepared<D::Writer>> {
    let streams = select::<D>(catalog)?;
    destination.prepare(&streams).await?;
    let mut writers = Vec::with_capacity(streams.len());
    for stream in &streams {
        match destination.open(stream).await {
            Ok(writer) => writers.push(Some(writer)),
            Err(error) => {
                abandon(writers).await;
                return Err(error.for_stream(&stream.descriptor));
            }
        }
    }
    let (events, inbox) = mpsc::channel(QUEUED_BATCHES);
    let (give_back, spare) = channel();
    let intake = Intake::new(stdin, streams.iter().map(|s| &s.descriptor), events, spare);
    let their_stop = stop.clone();
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || tracing::dispatcher::with_default(&dispatch, || intake.run(&their_stop)))
        .map_err(|e| Error::system("Cannot start a thread.").with_source(e))?;
    let ledger = Ledger::new(streams.iter().map(|s| destination.holds(s)));
    Ok(Prepared { streams, writers, ledger, inbox, spare: give_back })
}

pub(crate) async fn write<D: Destination>(
    destination: &D,
    catalog: &Path,
    stdin: File,
    out: &Emitter,
    stop: &Stop,
) -> Result<()> {
    let Prepared { streams, writers, ledger, inbox, spare } =
        prepare(destination, catalog, stdin, stop).await?;
    let mut driver = Driver {
        ledger,
        policy: destination.flush_policy(),
        statuses: Statuses::of(streams.len()),
        streams,
        writers,
        out,
    };
    match driver.drive(inbox, &spare, stop).await {
        Ok(end) => driver.finish(end).await,
        Err(error) => {
            driver.salvage(&error).await;
            Err(error)
        }
    }
}

/// How often to look whether a flush is due while nothing comes.
const TICK: Duration = Duration::from_millis(250);

/// The next event; `None` when it is time to look at the clock.
pub(crate) async fn next(inbox: &mut mpsc::Receiver<Event>, stop: &Stop) -> Result<Option<Event>> {
    match tokio::time::timeout(TICK, inbox.recv()).await {
        Ok(Some(event)) => Ok(Some(event)),
        Ok(None) => Err(Error::system("The stdin thread ended without saying why.")),
        // The intake may sit in a read that never returns; a stop must not wait for it.
        Err(_) if stop.requested() => Ok(Some(Event::End(Ok(End::Stopped)))),
        Err(_) => Ok(None),
    }
}

/// The last status seen for each stream.
pub(crate) struct Statuses(Vec<Option<StreamStatusKind>>);

impl Statuses {
    pub(crate) fn of(streams: usize) -> Self {
        Self(vec![None; streams])
    }

    pub(crate) fn seen(&mut self, stream: usize, status: StreamStatusKind) {
        self.0[stream] = Some(status);
    }

    /// How each stream ended. Platforms that send statuses send COMPLETE for each finished
    /// stream; those that do not know statuses send none at all, and the end of input is all there is.
    pub(crate) fn outcome(&self, stream: usize, end: End) -> Outcome {
        let in_use = self.0.iter().any(Option::is_some);
        let complete = match self.0[stream] {
            Some(status) => status == StreamStatusKind::Complete,
            None => !in_use,
        };
        if end == End::Eof && complete { Outcome::Complete } else { Outcome::Incomplete }
    }
}

fn check_mode<D: Destination>(stream: &SelectedStream) -> Result<()> {
    let mode = stream.destination_sync_mode;
    if !D::SYNC_MODES.contains(&mode) {
        let offered: Vec<_> =
            D::SYNC_MODES.iter().map(|m| serde_json::to_string(m).unwrap_or_default()).collect();
        let asked = serde_json::to_string(&mode).unwrap_or_default();
        return Err(Error::config(format!(
            "Stream {} asks for {asked}; this destination has {}.",
            stream.descriptor,
            offered.join(", ")
        )));
    }
    if mode == DestinationSyncMode::AppendDedup && stream.primary_key.iter().all(Vec::is_empty) {
        return Err(Error::config(format!(
            "Stream {}: append_dedup needs a primary_key; name one or choose append.",
            stream.descriptor
        )));
    }
    if let Some(path) =
        stream.primary_key.iter().chain(std::iter::once(&stream.cursor_field)).find(|p| p.len() > 1)
    {
        return Err(Error::config(format!(
            "Stream {}: {} is not a top-level field; keys and cursors must be.",
            stream.descriptor,
            path.join(".")
        )));
    }
    match stream.generation {
        Some(g) if g.minimum != 0 && g.minimum != g.id => Err(Error::config(format!(
            "Stream {}: minimum_generation_id {} is neither 0 nor generation_id {}; such a refresh is not supported.",
            stream.descriptor, g.minimum, g.id
        ))),
        _ => Ok(()),
    }
}

pub(crate) async fn abandon<W: StreamWriter>(writers: Vec<Option<W>>) {
    for writer in writers.into_iter().flatten() {
        if let Err(error) = writer.finish(Outcome::Incomplete).await {
            tracing::warn!("{error}");
        }
    }
}

struct Driver<'a, W> {
    streams: Vec<SelectedStream>,
    writers: Vec<Option<W>>,
    ledger: Ledger,
    policy: FlushPolicy,
    statuses: Statuses,
    out: &'a Emitter,
}

impl<W: StreamWriter> Driver<'_, W> {
    async fn drive(
        &mut self,
        mut inbox: mpsc::Receiver<Event>,
        spare: &Sender<RecordBatch>,
        stop: &Stop,
    ) -> Result<End> {
        loop {
            let Some(event) = next(&mut inbox, stop).await? else {
                self.flush_due().await?;
                continue;
            };
            match event {
                Event::Batch(index, batch) => {
                    self.write(index, &batch).await?;
                    recycle(spare, batch);
                }
                Event::State(line, stream) => {
                    self.ledger.state(stream, line);
                    self.flush_due().await?;
                    self.echo()?;
                }
                Event::Status(index, status) => {
                    self.statuses.seen(index, status);
                    if status == StreamStatusKind::Complete {
                        // Nothing more comes for it: free its memory.
                        self.flush(index).await?;
                        self.echo()?;
                    }
                }
                Event::End(end) => return end,
            }
        }
    }

    async fn write(&mut self, index: usize, batch: &RecordBatch) -> Result<()> {
        let stream = &self.streams[index].descriptor;
        if let Some(writer) = &mut self.writers[index] {
            writer.write(batch).await.map_err(|e| e.for_stream(stream))?;
        }
        self.ledger.took(index, batch.digest(), batch.bytes());
        Ok(())
    }

    async fn flush(&mut self, index: usize) -> Result<()> {
        if self.ledger.has_unflushed(index) {
            let stream = &self.streams[index].descriptor;
            if let Some(writer) = &mut self.writers[index] {
                writer.flush().await.map_err(|e| e.for_stream(stream))?;
            }
            self.ledger.flushed(index);
        }
        Ok(())
    }

    async fn flush_due(&mut self) -> Result<()> {
        for index in self.ledger.due(&self.policy) {
            self.flush(index).await?;
            self.echo()?;
        }
        Ok(())
    }

    fn echo(&mut self) -> Result<()> {
        self.ledger.take_durable().iter().try_for_each(|state| self.out.send(state.echo()?))
    }

    async fn finish(&mut self, end: End) -> Result<()> {
        let mut first_error = None;
        let outcomes: Vec<_> = (0..self.streams.len()).map(|i| self.statuses.outcome(i, end)).collect();
        for (index, outcome) in outcomes.into_iter().enumerate() {
            // One stream's failure is not another's: each is flushed and published by itself.
            if let Err(error) = self.finish_stream(index, outcome).await {
                self.ledger.lost(index);
                match &first_error {
                    None => first_error = Some(error),
                    Some(_) => tracing::error!("Stream {}: {error}", self.streams[index].descriptor),
                }
            }
        }
        self.echo()?;
        match (first_error, end) {
            (Some(error), _) => Err(error),
            (None, End::Stopped) => Err(Error::stopped()),
            (None, End::Eof) => Ok(()),
        }
    }

    async fn finish_stream(&mut self, index: usize, outcome: Outcome) -> Result<()> {
        let flushed = self.flush(index).await;
        let descriptor = self.streams[index].descriptor.clone();
        let Some(writer) = self.writers[index].take() else { return flushed };
        if let Err(error) = flushed {
            abandon(vec![Some(writer)]).await;
            return Err(error);
        }
        if outcome == Outcome::Incomplete {
            tracing::warn!("Stream {descriptor}: the source did not finish it; nothing was replaced.");
        }
        writer.finish(outcome).await.map_err(|e| e.for_stream(&descriptor))?;
        if outcome == Outcome::Complete {
            self.ledger.published(index);
        }
        Ok(())
    }

    /// After an error: what the healthy streams have taken is made durable and echoed; no
    /// stream is published.
    async fn salvage(&mut self, error: &Error) {
        for index in 0..self.streams.len() {
            let descriptor = self.streams[index].descriptor.clone();
            if error.stream() != Some(&descriptor) && self.flush(index).await.is_err() {
                tracing::warn!("Stream {descriptor}: its last rows could not be made durable either.");
            }
        }
        let _ = self.echo();
        abandon(std::mem::take(&mut self.writers)).await;
    }
}
