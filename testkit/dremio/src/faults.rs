//! What goes wrong, when a test wants it to: rules that wait for a statement.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tonic::{Code, Status};

use crate::error::message;

/// Longer than anything of a test takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where in a statement's life a fault waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// When it is planned (`GetFlightInfo`, `CreatePreparedStatement`): it has certainly not run.
    Planned,
    /// When it is run (`DoGet`).
    Run,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection is cut; the statement is never run.
    CutBefore,
    /// The statement is run, then the connection is cut without an answer.
    CutAfter,
    /// The connection is cut, and the statement is run this much later all the same.
    CutThenRun(Duration),
    /// The statement is run only after [`Dremio::release`](crate::Dremio::release), and not
    /// when its client is gone by then.
    Hold,
    /// As [`Hold`](Self::Hold), but it is run on release even when its client is gone.
    HoldThenRun,
    /// An answer instead of running it: a code and Dremio's text.
    Answer(Code, String),
    /// The engine starts for this long, then runs it.
    Wakes(Duration),
}

impl Fault {
    /// gRPC's own word for a server that is not there now.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::Answer(
            Code::Unavailable,
            "RESOURCE ERROR: The coordinator is not ready to serve requests.".into(),
        )
    }

    /// Somebody else has committed to the same table in between.
    #[must_use]
    pub fn conflict() -> Self {
        let text = "Concurrent DML operation has updated the table, please retry.";
        Self::Answer(Code::Unavailable, message("CONCURRENT_MODIFICATION", text, ""))
    }

    /// The engine did not start in time.
    #[must_use]
    pub fn asleep() -> Self {
        let text = "Query cancelled by Workload Manager. Query enqueued time of 300.00 seconds exceeded for queue 'SMALL'.";
        Self::Answer(Code::Unavailable, message("RESOURCE", text, ""))
    }

    /// The account's engines are all in use.
    #[must_use]
    pub fn quota() -> Self {
        Self::Answer(Code::ResourceExhausted, message("RESOURCE", "Too many concurrent jobs.", ""))
    }

    /// The user may not.
    #[must_use]
    pub fn denied(privilege: &str, dataset: &str) -> Self {
        let text = format!("User does not have privilege [{privilege}] on [{dataset}].");
        Self::Answer(Code::PermissionDenied, message("PERMISSION", &text, ""))
    }
}

#[derive(Debug)]
struct Rule {
    text: String,
    stage: Stage,
    fault: Fault,
    skip: usize,
    times: usize,
}

#[derive(Debug, Default)]
struct State {
    rules: VecDeque<Rule>,
    held: usize,
    released: usize,
    met: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    state: Mutex<State>,
    moved: Condvar,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, text: &str, stage: Stage, fault: Fault, skip: usize, times: usize) {
        let text = text.to_ascii_uppercase();
        self.state().rules.push_back(Rule { text, stage, fault, skip, times });
    }

    pub(crate) fn clear(&self) {
        self.state().rules.clear();
    }

    pub(crate) fn met(&self) -> usize {
        self.state().met
    }

    /// The fault that a statement meets now.
    pub(crate) fn meet(&self, sql: &str, stage: Stage) -> Option<Fault> {
        let sql = sql.to_ascii_uppercase();
        let mut state = self.state();
        let at = state.rules.iter().position(|rule| rule.stage == stage && sql.contains(&rule.text))?;
        let rule = &mut state.rules[at];
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        let fault = rule.fault.clone();
        rule.times -= 1;
        if rule.times == 0 {
            state.rules.remove(at);
        }
        state.met += 1;
        Some(fault)
    }

    /// Stands still until released; false when nobody ever does.
    pub(crate) fn stand(&self) -> bool {
        let mut state = self.state();
        state.held += 1;
        let turn = state.held;
        self.moved.notify_all();
        self.wait(state, |state| state.released >= turn)
    }

    pub(crate) fn release(&self) {
        let mut state = self.state();
        state.released = state.held;
        self.moved.notify_all();
    }

    /// Waits until a statement stands still that nobody has released.
    pub(crate) fn wait_held(&self) -> bool {
        let state = self.state();
        self.wait(state, |state| state.held > state.released)
    }

    fn wait(&self, mut state: MutexGuard<'_, State>, done: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        while !done(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

pub(crate) fn answer(code: Code, text: &str) -> Status {
    Status::new(code, text)
}
