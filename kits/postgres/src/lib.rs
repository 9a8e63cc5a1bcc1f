//! A small PostgreSQL client for connectors.

mod cancel;
mod certificate;
mod connection;
mod der;
mod endpoint;
mod error;
mod lsn;
mod params;
mod quote;
mod row;
mod ssl;
mod startup;
mod tls;
mod tunnel;
mod wire;

pub use cancel::CancelToken;
pub use connection::Connection;
pub use endpoint::{Endpoint, Purpose};
pub use error::{ServerError, server_error};
pub use lsn::{Lsn, ParseLsnError};
pub use params::Params;
pub use quote::{quote_identifier, quote_literal};
pub use row::Row;
pub use ssl::SslMode;
pub use tunnel::TunnelMethod;
