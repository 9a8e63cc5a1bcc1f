//! Writes PostgreSQL: typed tables, rows and the state that they belong to in one transaction.
//! A library so that benches reach its hot path; the program is `main.rs`.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod check;
mod column_type;
mod config;
mod lane;
mod merge;
mod names;
mod normalize;
mod plan;
mod raw;
mod rows;
mod swap;
mod table;
