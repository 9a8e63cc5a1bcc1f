//! Change data capture: rows from the server's log, over its replication protocol.
//!
//! `wal.rs` brings the log, `pgoutput.rs` reads its messages, `learn.rs` and `relation.rs` say
//! where their columns go, `read.rs` turns them into records and states. `followed.rs` and
//! `visibility.rs` join the log to the tables' snapshots; `reread.rs` brings what the log does not.

mod cells;
mod followed;
mod learn;
mod pgoutput;
mod position;
mod read;
mod relation;
mod reread;
mod side;
mod start;
mod sync;

mod visibility;
mod wal;

pub(crate) use position::Position;
pub(crate) use sync::read_changes;
