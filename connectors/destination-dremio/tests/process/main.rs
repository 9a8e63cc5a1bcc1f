//! The built binary against a server that takes what Dremio documents: checks, modes, values, and faults.

mod check;
mod crowd;
mod faults;
mod harness;
mod modes;
mod staged;
mod trouble;
mod values;
