//! What the driver holds of a stream: writes it by itself, or as a part of what all streams commit together.

use std::sync::Arc;

use connector_kit::{Outcome, RecordBatch, Result, StreamWriter};
use tokio::sync::Mutex;

use crate::write::Work;

/// A stream's work as the transaction sees it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) work: Work,
    /// The stream is complete: what it replaces may go.
    pub(crate) complete: bool,
    /// Its rows are part of the next commit.
    pub(crate) joins: bool,
}

/// Writes one stream.
#[derive(Debug)]
pub(crate) enum S3Writer {
    /// Each flush is published by itself.
    Alone(Box<Work>),
    /// Published by the next commit.
    Together(Arc<Mutex<Member>>),
    /// Everything was written by an earlier attempt.
    Counting,
}

impl StreamWriter for S3Writer {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Alone(work) => work.write(batch).await,
            Self::Together(member) => member.lock().await.work.write(batch).await,
            Self::Counting => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        match self {
            Self::Alone(work) => {
                work.arrive().await?;
                if work.held { Ok(()) } else { publish(work, false).await }
            }
            Self::Together(member) => {
                let member = &mut *member.lock().await;
                let arrived = member.work.arrive().await;
                if arrived.is_err() {
                    member.work.give_up().await;
                }
                member.joins = arrived.is_ok() && !member.work.held;
                arrived
            }
            Self::Counting => Ok(()),
        }
    }

    /// The object is ended, for the commit may be far away; a flush ends it otherwise.
    async fn ended(&mut self) -> Result<()> {
        match self {
            Self::Together(member) => member.lock().await.work.close_object().await,
            Self::Alone(_) | Self::Counting => Ok(()),
        }
    }

    async fn finish(self, outcome: Outcome) -> Result<()> {
        match (self, outcome) {
            (Self::Alone(mut work), Outcome::Complete) => {
                let done = async {
                    work.end_rows().await?;
                    publish(&mut work, true).await
                };
                let done = done.await;
                work.give_up().await;
                done
            }
            (Self::Alone(mut work), Outcome::Incomplete) => {
                work.give_up().await;
                Ok(())
            }
            (Self::Together(member), Outcome::Complete) => {
                let member = &mut *member.lock().await;
                let ended = member.work.end_rows().await;
                if ended.is_err() {
                    member.work.give_up().await;
                }
                (member.complete, member.joins) = (ended.is_ok(), ended.is_ok());
                ended
            }
            (Self::Together(member), Outcome::Incomplete) => {
                member.lock().await.work.give_up().await;
                Ok(())
            }
            (Self::Counting, _) => Ok(()),
        }
    }
}

async fn publish(work: &mut Work, complete: bool) -> Result<()> {
    let Some(intent) = work.plan(complete)? else { return Ok(()) };
    work.announce(&intent, None).await?;
    work.carry_out(intent).await
}
