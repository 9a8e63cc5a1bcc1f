//! Writes one stream: its records as tuples into the lane that all share, its tables as planned.

use std::sync::Arc;

use connector_kit::{Outcome, RecordBatch, Result, SelectedStream, StreamWriter};
use tokio::sync::Mutex;

use crate::lane::{Lane, Wait};
use crate::plan::Plan;
use crate::raw::{RawPlan, RawRows};
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
    Raw(Box<Raw>),
    /// Nothing is written.
    Counting,
}

#[derive(Debug)]
struct Typed {
    plan: Plan,
    rows: RowWriter,
}

#[derive(Debug)]
struct Raw {
    plan: RawPlan,
    rows: RawRows,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Flush,
    Publish,
}

impl Load {
    /// Leaves the transaction as it was if the step fails, and takes it again if it failed for the locks of
    /// others.
    async fn settle(&mut self, lane: &mut Lane, step: Step) -> Result<()> {
        let mut wait = Wait::default();
        loop {
            lane.guard().await?;
            match self.step(lane, step).await {
                Ok(()) => return lane.release().await,
                Err(error) => match (lane.undo(error, &mut wait).await, step) {
                    (Ok(()), _) => {}
                    (Err(error), Step::Flush) if lane.is_open() => {
                        self.forget(lane).await?;
                        return Err(error);
                    }
                    (Err(error), _) => return Err(error),
                },
            }
        }
    }

    async fn step(&mut self, lane: &mut Lane, step: Step) -> Result<()> {
        match (self, step) {
            (Self::Typed(typed), Step::Flush) => typed.plan.flush(lane).await,
            (Self::Typed(typed), Step::Publish) => typed.plan.publish(lane).await,
            (Self::Raw(raw), Step::Publish) => raw.plan.publish(lane).await,
            (Self::Raw(_), Step::Flush) | (Self::Counting, _) => Ok(()),
        }
    }

    async fn forget(&mut self, lane: &mut Lane) -> Result<()> {
        match self {
            Self::Typed(typed) => typed.plan.forget(lane).await,
            Self::Raw(_) | Self::Counting => Ok(()),
        }
    }

    async fn abandon(&mut self, lane: &mut Lane) -> Result<()> {
        match self {
            Self::Typed(typed) => typed.plan.abandon(lane).await,
            Self::Raw(raw) => raw.plan.abandon(lane).await,
            Self::Counting => Ok(()),
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

    /// Into a raw table, and from there into normalized ones if they are planned.
    pub(crate) fn raw(shared: Arc<Mutex<Shared>>, stream: &SelectedStream, plan: RawPlan) -> Self {
        let rows = RawRows::new(stream, plan.form());
        Self { shared, load: Load::Raw(Box::new(Raw { plan, rows })) }
    }

    /// Of a stream whose rows are there already.
    pub(crate) fn counting(shared: Arc<Mutex<Shared>>) -> Self {
        Self { shared, load: Load::Counting }
    }
}

impl StreamWriter for PostgresWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let Shared { lane, tuples } = &mut *self.shared.lock().await;
        tuples.clear();
        match &mut self.load {
            Load::Typed(typed) => {
                typed.rows.write(batch, tuples)?;
                if let Some(plain) = typed.plan.plain() {
                    lane.copy(plain, &tuples.plain).await?;
                }
                lane.copy(typed.plan.full(), &tuples.full).await
            }
            Load::Raw(raw) => {
                raw.rows.write(batch, &mut tuples.full)?;
                lane.copy(raw.plan.target(), &tuples.full).await
            }
            Load::Counting => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        match &mut self.load {
            Load::Counting => Ok(()),
            load => load.settle(&mut self.shared.lock().await.lane, Step::Flush).await,
        }
    }

    async fn finish(mut self, outcome: Outcome) -> Result<()> {
        if let Load::Counting = self.load {
            return Ok(());
        }
        let lane = &mut self.shared.lock().await.lane;
        if let Load::Raw(raw) = &mut self.load {
            raw.plan.report(&mut raw.rows);
        }
        match outcome {
            Outcome::Complete => self.load.settle(lane, Step::Publish).await,
            Outcome::Incomplete => {
                lane.rollback().await?;
                self.load.abandon(lane).await
            }
        }
    }
}
