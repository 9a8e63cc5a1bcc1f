//! The built binary against a real server.

mod check;
mod exactly_once;
mod harness;
mod modes;
mod normalize;
mod spec;
mod tables;
mod trouble;
mod values;
