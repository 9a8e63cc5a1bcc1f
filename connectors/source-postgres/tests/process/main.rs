//! The connector as a process, against servers that the tests start.

mod check;
mod check_changes;
mod discover;
mod harness;
mod spec;
mod tls;
