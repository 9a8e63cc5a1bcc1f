//! All streams of a run as one transaction, of which readers see the appended rows early: marks, what is taken back, and the commit.

use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};

use connector_kit::{Checkpoint, Error, Result};
use tokio::sync::Mutex;

use crate::commits::{Commits, Rows};
use crate::names::Place;
use crate::session::Session;
use crate::write::Member;

/// How far the rows of a stream have come that are added to its table.
#[derive(Clone, Debug)]
struct Track {
    table: Place,
    prefix: String,
    /// None of its rows counts before it is complete.
    held: bool,
    /// The log says that there may be rows.
    listed: bool,
    /// Rows were taken that the next commit would not cover.
    taken: bool,
    /// Rows were taken back, and a statement whose answer was lost may bring some again: the next run is to look.
    suspect: bool,
    /// The last id that is committed, that the next commit covers, and that outlives a rollback.
    committed: Option<String>,
    ready: Option<String>,
    marked: Option<String>,
}

impl Track {
    fn rows(&self, upto: Option<&String>) -> Rows {
        Rows::new(&self.table, &self.prefix, upto.map(String::as_str))
    }
}

/// The transaction of a run.
#[derive(Debug)]
pub(crate) struct Together {
    commits: Mutex<Commits>,
    tracks: Lock<Vec<Track>>,
    members: Lock<Vec<Arc<Mutex<Member>>>>,
}

impl Together {
    pub(crate) fn new(commits: Commits) -> Self {
        Self { commits: Mutex::new(commits), tracks: Lock::default(), members: Lock::default() }
    }

    pub(crate) fn commits(&self) -> &Mutex<Commits> {
        &self.commits
    }

    pub(crate) fn join(&self, member: &Arc<Mutex<Member>>) {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(member));
    }

    fn tracks(&self) -> MutexGuard<'_, Vec<Track>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream whose rows are added to a table, with ids of this prefix; its number.
    pub(crate) fn track(&self, table: &Place, prefix: String, held: bool) -> usize {
        let mut tracks = self.tracks();
        let (listed, taken, suspect) = (false, false, false);
        let (committed, ready, marked) = (None, None, None);
        tracks.push(Track {
            table: table.clone(),
            prefix,
            held,
            listed,
            taken,
            suspect,
            committed,
            ready,
            marked,
        });
        tracks.len() - 1
    }

    /// Call it before rows of a stream are taken: says in the log which ids they have, if it does not say so yet.
    pub(crate) async fn takes(&self, session: &Session, at: usize) -> Result<()> {
        let open = {
            let mut tracks = self.tracks();
            tracks[at].taken = true;
            if tracks[at].listed {
                return Ok(());
            }
            // One entry for all: others are soon to follow.
            tracks.iter().map(|track| track.rows(track.committed.as_ref())).collect()
        };
        self.commits.lock().await.commit(session, &[], open).await?;
        self.tracks().iter_mut().for_each(|track| track.listed = true);
        Ok(())
    }

    /// All rows of a stream so far, up to this id, are in its table; the next commit is to cover them.
    pub(crate) fn ready(&self, at: usize, last: Option<String>) {
        let track = &mut self.tracks()[at];
        track.ready = last.or_else(|| track.marked.clone());
        track.taken = false;
    }

    pub(crate) fn is_held(&self, at: usize) -> bool {
        self.tracks()[at].held
    }

    /// Sends what waits: what is in a table can be told from what comes later.
    pub(crate) async fn mark(&self) -> Result<()> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for member in members {
            let mut member = member.lock().await;
            if let Some(at) = member.track.filter(|at| !self.is_held(*at)) {
                let last = member.sent().await?;
                let track = &mut self.tracks()[at];
                track.marked = last.or_else(|| track.marked.clone());
            }
        }
        Ok(())
    }

    /// Drops what came since.
    pub(crate) async fn rollback(&self, session: &Session) -> Result<()> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for member in members {
            let mut member = member.lock().await;
            if let Some(at) = member.track.filter(|at| !self.is_held(*at)) {
                member.forget().await;
                self.take_back(session, at).await?;
            }
        }
        Ok(())
    }

    /// Removes the rows of a stream that came since the last mark.
    pub(crate) async fn take_back(&self, session: &Session, at: usize) -> Result<()> {
        if self.commits.lock().await.is_broken() {
            // They may be committed. The next run finds out.
            return Err(Error::system("Nothing more can be committed by this run."));
        }
        let track = self.tracks()[at].clone();
        if track.taken {
            track.rows(track.marked.as_ref()).take_back(session).await?;
            let track = &mut self.tracks()[at];
            track.taken = track.marked != track.ready;
            track.suspect = true;
        }
        Ok(())
    }

    /// Commits what is ready, and these states.
    pub(crate) async fn commit(&self, session: &Session, checkpoints: &[Checkpoint<'_>]) -> Result<()> {
        let open: Vec<Rows> = {
            let tracks = self.tracks();
            if checkpoints.is_empty() && tracks.iter().all(|track| track.ready == track.committed) {
                return Ok(());
            }
            let open = tracks.iter().filter(|track| track.taken || track.suspect);
            open.map(|track| track.rows(track.ready.as_ref())).collect()
        };
        self.commits.lock().await.commit(session, checkpoints, open).await?;
        for track in &mut *self.tracks() {
            track.committed.clone_from(&track.ready);
            track.marked.clone_from(&track.ready);
            track.listed = track.taken || track.suspect;
        }
        Ok(())
    }
}
