//! Writes one stream: its records as tuples into the lane that all share, its tables as planned.

use std::sync::Arc;

use connector_kit::{Outcome, RecordBatch, Result, SelectedStream, StreamWriter};
use tokio::sync::Mutex;

use crate::lane::{Lane, Wait};
use crate::plan::Plan;
use crate::rows::{Constants, RowWriter, Tuples};

/// What the writers of a run have in common. None of them keeps rows of its own when a call is over, so
/// memory does not grow with the number of streams, and what was taken is in the transaction.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) lane: Lane,
    tuples: Tuples,
}

impl Shared {
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, tuples: Tuples::default() }
    }
}

/// Writes one stream.
#[derive(Debug)]
pub(crate) struct PostgresWriter {
    shared: Arc<Mutex<Shared>>,
    load: Load,
}

#[derive(Debug)]
enum Load {
    Typed(Box<Typed>),
    /// Nothing is written.
    Counting,
}

#[derive(Debug)]
struct Typed {
    plan: Plan,
    rows: RowWriter,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Flush,
    Publish,
}

impl Typed {
    /// Leaves the transaction as it was if the step fails, and takes it again if it failed for the locks of
    /// others.
    async fn settle(&mut self, lane: &mut Lane, step: Step) -> Result<()> {
        let mut wait = Wait::default();
        loop {
            lane.guard().await?;
            let settled = match step {
                Step::Flush => self.plan.flush(lane).await,
                Step::Publish => self.plan.publish(lane).await,
            };
            match settled {
                Ok(()) => return lane.release().await,
                Err(error) => match (lane.undo(error, &mut wait).await, step) {
                    (Ok(()), _) => {}
                    (Err(error), Step::Flush) if lane.is_open() => {
                        self.plan.forget(lane).await?;
                        return Err(error);
                    }
                    (Err(error), _) => return Err(error),
                },
            }
        }
    }
}

impl PostgresWriter {
    /// Into a typed table.
    pub(crate) fn typed(shared: Arc<Mutex<Shared>>, stream: &SelectedStream, plan: Plan) -> Result<Self> {
        let constants = if plan.plain().is_some() { Constants::Defaults } else { Constants::Sent };
        let rows = RowWriter::new(stream, constants)?;
        Ok(Self { shared, load: Load::Typed(Box::new(Typed { plan, rows })) })
    }

    /// Of a stream whose rows are there already.
    pub(crate) fn counting(shared: Arc<Mutex<Shared>>) -> Self {
        Self { shared, load: Load::Counting }
    }
}

impl StreamWriter for PostgresWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let Load::Typed(typed) = &mut self.load else { return Ok(()) };
        let Shared { lane, tuples } = &mut *self.shared.lock().await;
        tuples.clear();
        typed.rows.write(batch, tuples)?;
        if let Some(plain) = typed.plan.plain() {
            lane.copy(plain, &tuples.plain).await?;
        }
        lane.copy(typed.plan.full(), &tuples.full).await
    }

    async fn flush(&mut self) -> Result<()> {
        let Load::Typed(typed) = &mut self.load else { return Ok(()) };
        typed.settle(&mut self.shared.lock().await.lane, Step::Flush).await
    }

    async fn finish(self, outcome: Outcome) -> Result<()> {
        let Load::Typed(mut typed) = self.load else { return Ok(()) };
        let mut shared = self.shared.lock().await;
        match outcome {
            Outcome::Complete => typed.settle(&mut shared.lane, Step::Publish).await,
            Outcome::Incomplete => {
                shared.lane.rollback().await?;
                typed.plan.abandon(&mut shared.lane).await
            }
        }
    }
}
