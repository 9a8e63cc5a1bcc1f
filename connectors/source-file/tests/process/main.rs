//! The connector as a process: what goes in by its files, what comes out on stdout.

mod bad_input;
mod harness;
mod json_files;
mod parquet_files;
mod remote_files;
mod text_files;
mod web_files;
