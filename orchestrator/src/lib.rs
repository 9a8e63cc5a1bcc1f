//! Runs a source connector into a destination connector, keeps their states, and proves
//! that what was read has arrived.
//!
//! What lives here: the sync file, the processes, the pump, receipts, retries, the
//! database of jobs and states, and the `ferry` command line. What does not: the wire
//! (see `protocol`) and anything of a connector's inside. This crate runs any executable
//! that speaks the Airbyte protocol, so it must not know the framework ours are made with.
//!
//! A sync goes through these modules in this order: [`sync_file`] → [`job`] →
//! [`connector`] (spec, discover) → [`catalog`] → [`attempt`] (which holds a [`pump`] and
//! [`receipts`]) → [`store`] → [`report`].

pub mod attempt;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod committed;
pub mod connector;
pub mod ends;
pub mod error;
pub mod interrupt;
pub mod job;
pub mod job_log;
pub mod launch;
pub mod mapping;
pub mod masker;
pub mod process;
pub mod progress;
pub mod pump;
pub mod receipts;
pub mod report;
pub mod resources;
pub mod retry;
pub mod store;
pub mod suggest;
pub mod sync_file;
