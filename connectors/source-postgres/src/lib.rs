//! Reads PostgreSQL: every table, every type, every change. A library so that benches
//! reach its hot path; the program is `main.rs`.

mod changes;
mod row;
mod types;
