//! The built binary against real stores: modes, formats, names, faults and kills.

mod exactly_once;
mod faults;
mod formats;
mod harness;
mod kills;
mod modes;
mod spec;
