//! The `write` command of a destination whose writers share one transaction: commits at state
//! boundaries, each with its states; what belongs to none is rolled back. And `committed`.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Instant;

use protocol::{Message, State, StreamDescriptor, StreamStatusKind, edit};
use tokio::sync::mpsc;

use crate::context::Stop;
use crate::emitter::Emitter;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::{End, Event, RecordBatch, recycle};
use crate::ledger::{Durable, Ledger};
use crate::stream::SelectedStream;
use crate::traits::{FlushPolicy, Outcome, StreamWriter};
use crate::transactional::{Checkpoint, Committed, MarkPolicy, TransactionalDestination};
use crate::write::{Prepared, Statuses, abandon, next, prepare, select};

/// Streams that never stand at a boundary together are committed all the same after this many times
/// what the policy says.
const PATIENCE: u32 = 4;

pub(crate) async fn write<D: TransactionalDestination>(
    destination: &D,
    catalog: &Path,
    stdin: File,
    out: &Emitter,
    stop: &Stop,
) -> Result<()> {
    let Prepared { streams, writers, ledger, inbox, spare } =
        prepare(destination, catalog, stdin, stop).await?;
    let mut driver = Driver {
        destination,
        policy: destination.flush_policy(),
        mark_policy: destination.mark_policy(),
        statuses: Statuses::of(streams.len()),
        failed: vec![false; streams.len()],
        marks: Marks::none(),
        said_interleaved: false,
        streams,
        writers,
        ledger,
        out,
    };
    match driver.drive(inbox, &spare, stop).await {
        Ok(end) => driver.finish(end).await,
        Err(error) => {
            driver.salvage().await;
            Err(error)
        }
    }
}

/// The `committed` command: the last checkpoints as STATE lines, each with who wrote it.
pub(crate) async fn committed<D: TransactionalDestination>(
    destination: &D,
    catalog: &Path,
    out: &Emitter,
) -> Result<()> {
    let streams: Vec<_> = select::<D>(catalog)?.into_iter().map(|s| s.descriptor).collect();
    for committed in destination.committed(&streams).await? {
        out.send(line(&committed)?)?;
    }
    Ok(())
}

fn line(committed: &Committed) -> Result<Vec<u8>> {
    let unreadable = |e| Error::system("A committed state cannot be read.").with_source(e);
    let number = |n: Option<i64>| n.map_or_else(|| "null".to_owned(), |n| n.to_string());
    let by = format!(r#"{{"job":{},"attempt":{}}}"#, number(committed.job), number(committed.attempt));
    let echo = State::echo(&committed.line, &committed.stats).map_err(unreadable)?;
    let mut line =
        edit::set_members(&echo, &["state"], &[("ferrybyte", Some(by.as_bytes()))]).map_err(unreadable)?;
    line.push(b'\n');
    Ok(line)
}

/// The marks of the open transaction.
#[derive(Debug)]
struct Marks {
    made: u32,
    /// Since the last one, or the transaction's begin.
    bytes: u64,
    since: Instant,
}

impl Marks {
    fn none() -> Self {
        Self { made: 0, bytes: 0, since: Instant::now() }
    }

    fn due(&self, policy: &MarkPolicy, completion: bool) -> bool {
        let large = self.bytes >= policy.bytes || self.since.elapsed() >= policy.age;
        self.made < policy.early || (self.made < policy.most && large) || (completion && policy.completions)
    }

    fn made(&mut self) {
        *self = Self { made: self.made + 1, ..Self::none() };
    }
}

struct Driver<'a, D: TransactionalDestination> {
    destination: &'a D,
    streams: Vec<SelectedStream>,
    writers: Vec<Option<D::Writer>>,
    /// A flush failed: the stream's rows are not to be counted on.
    failed: Vec<bool>,
    ledger: Ledger,
    policy: FlushPolicy,
    mark_policy: MarkPolicy,
    statuses: Statuses,
    marks: Marks,
    said_interleaved: bool,
    out: &'a Emitter,
}

impl<D: TransactionalDestination> Driver<'_, D> {
    async fn drive(
        &mut self,
        mut inbox: mpsc::Receiver<Event>,
        spare: &Sender<RecordBatch>,
        stop: &Stop,
    ) -> Result<End> {
        loop {
            let Some(event) = next(&mut inbox, stop).await? else {
                self.commit_due().await?;
                continue;
            };
            match event {
                Event::Batch(index, batch) => {
                    self.write(index, &batch).await?;
                    recycle(spare, batch);
                }
                Event::State(line, stream) => {
                    self.ledger.state(stream, line);
                    self.boundary(false).await?;
                }
                Event::Status(index, status) => {
                    self.statuses.seen(index, status);
                    if status == StreamStatusKind::Complete {
                        self.ended(index).await?;
                        // No more rows of it come, so none comes twice.
                        self.ledger.boundary(index);
                        self.boundary(true).await?;
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
        self.marks.bytes += batch.bytes() as u64;
        Ok(())
    }

    async fn ended(&mut self, index: usize) -> Result<()> {
        let Some(writer) = &mut self.writers[index] else { return Ok(()) };
        writer.ended().await.map_err(|e| e.for_stream(&self.streams[index].descriptor))
    }

    /// A stream has come to where a later run would go on.
    async fn boundary(&mut self, completion: bool) -> Result<()> {
        let due = self.marks.due(&self.mark_policy, completion);
        if !self.commit_due().await? && due && self.ledger.aligned() {
            self.destination.mark().await?;
            self.marks.made();
            self.ledger.mark();
        }
        Ok(())
    }

    /// Commits if it is time to and no stream has rows that would come again.
    async fn commit_due(&mut self) -> Result<bool> {
        if !self.ledger.all_due(&self.policy, 1) {
            return Ok(false);
        }
        if !self.ledger.aligned() {
            if !self.ledger.all_due(&self.policy, PATIENCE) {
                return Ok(false);
            }
            self.say_interleaved();
        }
        self.flush_all(|_| false).await.map_or(Ok(()), Err)?;
        self.commit(&[]).await?;
        Ok(true)
    }

    fn say_interleaved(&mut self) {
        if !std::mem::replace(&mut self.said_interleaved, true) {
            tracing::warn!(
                "The source mixes its streams so that there is no moment at which all of them stand at a state; after a failure, rows sent after the last state may be written twice where nothing deduplicates them (said once)."
            );
        }
    }

    /// Flushes the streams that are not held, and of those that are the `wanted` ones. Returns the first error
    /// after trying all.
    async fn flush_all(&mut self, wanted: impl Fn(usize) -> bool) -> Option<Error> {
        let mut first = None;
        for index in 0..self.streams.len() {
            let skip = self.ledger.is_held(index) && !wanted(index);
            if skip || self.failed[index] || !self.ledger.has_unflushed(index) {
                continue;
            }
            let Some(writer) = &mut self.writers[index] else { continue };
            match writer.flush().await {
                Ok(()) => self.ledger.flushed(index),
                Err(error) => {
                    self.failed[index] = true;
                    self.ledger.lost(index);
                    keep_first(&mut first, error.for_stream(&self.streams[index].descriptor));
                }
            }
        }
        first
    }

    /// Commits what was flushed with the states that it allows, then echoes these. `outcomes` is empty
    /// while the run goes on.
    async fn commit(&mut self, outcomes: &[Outcome]) -> Result<()> {
        let durable = self.ledger.take_durable();
        let checkpoints: Vec<_> =
            durable.iter().filter_map(|state| self.checkpoint(state, outcomes)).collect();
        self.destination.commit(&checkpoints).await?;
        self.marks = Marks::none();
        self.ledger.mark();
        durable.iter().try_for_each(|state| self.out.send(state.echo()?))
    }

    fn checkpoint<'s>(&'s self, state: &'s Durable, outcomes: &[Outcome]) -> Option<Checkpoint<'s>> {
        let stream: Option<&StreamDescriptor> = state.stream.map(|index| &self.streams[index].descriptor);
        if stream.is_none() {
            // A state of a stream that is not in the catalog waits for all, but is not everybody's.
            match protocol::parse_message(&state.line) {
                Ok(Message::State(parsed)) if parsed.descriptor().is_none() => {}
                _ => return None,
            }
        }
        let complete = match state.stream {
            Some(index) => outcomes.get(index) == Some(&Outcome::Complete),
            None => !outcomes.is_empty() && outcomes.iter().all(|o| *o == Outcome::Complete),
        };
        Some(Checkpoint { stream, line: &state.line, stats: &state.stats, complete })
    }

    async fn finish(&mut self, end: End) -> Result<()> {
        let outcomes: Vec<_> = (0..self.streams.len()).map(|i| self.statuses.outcome(i, end)).collect();
        if let Err(error) = self.settle(&outcomes).await {
            abandon(std::mem::take(&mut self.writers)).await;
            return Err(error);
        }
        let mut first = self.flush_all(|index| outcomes[index] == Outcome::Complete).await;
        let mut committed = self.commit(&outcomes).await;
        for (index, outcome) in outcomes.iter().copied().enumerate() {
            let Some(writer) = self.writers[index].take() else { continue };
            if committed.is_err() || self.failed[index] {
                abandon(vec![Some(writer)]).await;
                continue;
            }
            let descriptor = self.streams[index].descriptor.clone();
            if outcome == Outcome::Incomplete {
                tracing::warn!("Stream {descriptor}: the source did not finish it; nothing was replaced.");
            }
            // One stream's failure is not another's: each is published by itself.
            match writer.finish(outcome).await {
                Ok(()) if outcome == Outcome::Complete => self.ledger.published(index),
                Ok(()) => {}
                Err(error) => {
                    self.ledger.lost(index);
                    keep_first(&mut first, error.for_stream(&descriptor));
                }
            }
            committed = self.commit(&outcomes).await;
        }
        if let Err(error) = committed {
            keep_first(&mut first, error);
        }
        match (first, end) {
            (Some(error), _) => Err(error),
            (None, End::Stopped) => Err(Error::stopped()),
            (None, End::Eof) => Ok(()),
        }
    }

    /// Drops the rows that the next run is going to send again.
    async fn settle(&mut self, outcomes: &[Outcome]) -> Result<()> {
        let complete = |index: &usize| outcomes[*index] == Outcome::Complete;
        let all = 0..self.streams.len();
        // The end of input is the boundary of a stream that is complete.
        all.clone().filter(complete).for_each(|index| self.ledger.boundary(index));
        if self.ledger.aligned() {
            return Ok(());
        }
        if all.clone().filter(complete).any(|index| self.ledger.is_unmarked(index)) {
            // Rows of a stream that never come again would go as well.
            self.say_interleaved();
            return Ok(());
        }
        self.back_to_mark().await
    }

    async fn back_to_mark(&mut self) -> Result<()> {
        self.destination.rollback().await?;
        self.ledger.back_to_mark();
        Ok(())
    }

    /// After an error: what was taken up to the last boundary is made durable and echoed; no stream is
    /// published.
    async fn salvage(&mut self) {
        let kept = async {
            self.back_to_mark().await?;
            // Streams that fail here as well keep their states to themselves.
            if let Some(error) = self.flush_all(|_| false).await {
                tracing::debug!("{error}");
            }
            self.commit(&[]).await
        };
        if let Err(error) = kept.await
            && error.kind() != ErrorKind::Stopped
        {
            tracing::warn!("What came since the last commit is not kept: {error}");
        }
        abandon(std::mem::take(&mut self.writers)).await;
    }
}

fn keep_first(first: &mut Option<Error>, error: Error) {
    match first {
        None => *first = Some(error),
        Some(_) => tracing::error!("{error}"),
    }
}
