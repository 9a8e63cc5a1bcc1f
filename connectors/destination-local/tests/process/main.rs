//! The connector as a process: what it leaves in the directory, and what it says.

mod dedup;
mod faults;
mod formats;
mod harness;
mod kills;
mod modes;
mod names;
mod power;
mod spec;
