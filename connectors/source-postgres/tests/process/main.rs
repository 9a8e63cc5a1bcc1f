//! The connector as a process, against servers that the tests start.

mod access;
mod changes;
mod changes_random;
mod changes_slot;
mod changes_tables;
mod check;
mod check_changes;
mod discover;
mod harness;
mod reading;
mod replay;
mod replica;
mod spec;
mod tls;
