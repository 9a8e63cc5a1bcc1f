//! Change data capture: rows from the server's log, over its replication protocol.

mod cells;
mod pgoutput;
mod position;
mod visibility;
