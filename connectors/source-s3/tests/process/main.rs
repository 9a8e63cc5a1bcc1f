//! The binary against real stores.

mod archives;
mod bad_input;
mod faults;
mod formats;
mod harness;
mod incremental;
mod keys;
mod spec;
