//! All streams of a run as one transaction: marks, what is dropped, and the commit.

use std::sync::Arc;

use connector_kit::{Checkpoint, Result};
use tokio::sync::Mutex;

use crate::commits::Commits;
use crate::writer::Member;

/// The transaction of a run.
#[derive(Debug)]
pub(crate) struct Together {
    commits: Mutex<Commits>,
    members: Mutex<Vec<Arc<Mutex<Member>>>>,
}

impl Together {
    pub(crate) fn new(commits: Commits) -> Self {
        Self { commits: Mutex::new(commits), members: Mutex::default() }
    }

    pub(crate) fn commits(&self) -> &Mutex<Commits> {
        &self.commits
    }

    pub(crate) async fn join(&self, member: Member) -> Arc<Mutex<Member>> {
        let member = Arc::new(Mutex::new(member));
        self.members.lock().await.push(Arc::clone(&member));
        member
    }

    /// Objects that are open are ended: what is in one cannot be dropped in part. Held streams begin anew anyway.
    pub(crate) async fn mark(&self) -> Result<()> {
        for member in &*self.members.lock().await {
            let work = &mut member.lock().await.work;
            if !work.held {
                work.mark().await?;
            }
        }
        Ok(())
    }

    /// Drops what came since.
    pub(crate) async fn rollback(&self) -> Result<()> {
        // After a commit that failed nothing can be committed, so nothing has to be dropped.
        self.commits.lock().await.next()?;
        for member in &*self.members.lock().await {
            let work = &mut member.lock().await.work;
            if !work.held {
                work.back_to_mark().await;
            }
        }
        Ok(())
    }

    /// Commits what has arrived, and these states.
    pub(crate) async fn commit(&self, checkpoints: &[Checkpoint<'_>]) -> Result<()> {
        let commits = &mut *self.commits.lock().await;
        let next = commits.next()?;
        let members = self.members.lock().await;
        let mut planned = Vec::new();
        for member in &*members {
            let mut member = member.clone().lock_owned().await;
            if !std::mem::take(&mut member.joins) {
                continue;
            }
            if let Some(intent) = member.work.plan(member.complete)? {
                planned.push((member, intent));
            }
        }
        if planned.is_empty() && checkpoints.is_empty() {
            return Ok(());
        }
        let done = async {
            for (member, intent) in &mut planned {
                member.work.announce(intent, Some(next.clone())).await?;
            }
            commits.commit(checkpoints).await?;
            for (member, intent) in planned {
                let mut member = member;
                member.work.carry_out(intent).await?;
            }
            Ok(())
        };
        let done = done.await;
        if done.is_err() {
            commits.fail();
        }
        done
    }
}
