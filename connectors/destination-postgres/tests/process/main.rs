//! The built binary against a real server.

mod exactly_once;
mod harness;
mod modes;
mod normalize;
mod values;
