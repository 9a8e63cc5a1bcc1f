//! For tests only: runs any executable that speaks the protocol, bounded in time, and the
//! conformance suite that every connector of this project passes as a process.
//!
//! What lives here: [`Connector`] and what a run of it gives back, a [`Descendant`] that it has started, the [`Folder`] for its
//! files, the [`services`] that tests start, and [`conformance`]. What does not: tests of one connector (beside the
//! connector) and of pairs (`integration_tests/`). Everything here panics when a test
//! should fail; the text says what was expected and shows what the connector said.

pub mod conformance;
mod descendant;
mod folder;
mod output;
mod process;
pub mod services;
mod workspace;

pub use descendant::Descendant;
pub use folder::Folder;
pub use output::{Exit, Line, Output};
pub use process::{Connector, Invocation, Running, Signal};
pub use workspace::{binary, python};
