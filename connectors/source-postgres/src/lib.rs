//! Reads PostgreSQL: every table, every type, every change. A library so that benches
//! reach its hot path; the program is `main.rs`.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod changes;
mod row;
mod types;
