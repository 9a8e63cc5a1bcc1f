//! Writes PostgreSQL: typed tables, rows and the state that they belong to in one transaction.
//! A library so that benches reach its hot path; the program is `main.rs`.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod column_type;
mod config;
mod lane;
mod names;
mod normalize;
mod rows;
