//! A Flight SQL client for connectors. Lives here: connecting with or without TLS, logging in by password or token,
//! cookies and session properties, deadlines, statements and their few answers, and errors that say whether a statement
//! may have run. What the SQL says is the connector's business.
//!
//! Statements are sent as queries (`GetFlightInfo`, then `DoGet`), also those that change something: Dremio of any version
//! takes them so, while its update command came late and is not everywhere.

mod client;
mod error;
mod headers;
mod settings;
mod socket;
mod statement;
mod table;
mod tls;

pub use client::Client;
pub use error::{Error, Fault, Result};
pub use settings::{Login, Settings, Tls};
pub use statement::Statement;
pub use table::Table;
