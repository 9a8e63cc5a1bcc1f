//! A small PostgreSQL client for connectors: simple queries, COPY both ways, logical replication; TLS and
//! SSH tunnels; errors that say who has to act and which key of the config to mend.
//!
//! ```no_run
//! # async fn example(endpoint: postgres_kit::Endpoint) -> connector_kit::Result<()> {
//! let mut connection = endpoint.connect(postgres_kit::Purpose::Ordinary).await?;
//! connection.copy_out("COPY (SELECT * FROM orders) TO STDOUT (FORMAT binary)").await?;
//! while !connection.copy_finished() {
//!     while let Some(data) = connection.next_copy_data()? {
//!         // A slice of the receive buffer: decode it here.
//!         # let _ = data;
//!     }
//!     if !connection.copy_finished() {
//!         connection.fill().await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Why not `tokio-postgres`
//!
//! It has no CopyBoth, so logical replication would need a second way to connect, log in and encrypt
//! beside it. Here there is one, over `postgres-protocol` (messages, SCRAM, MD5), and a row of a COPY is a
//! slice of the one buffer that it was received in: no task in between, no channel, no allocation per row.
//!
//! # What a server can make us do
//!
//! Whatever it sends ends in rows or in an error. A message is at most 64 KiB before the log-in, 16 MiB
//! after, and 1 GiB (the server's own limit) if it is a row. Nothing is reserved for what is only announced:
//! the buffer of 256 KiB doubles each time that it is full of one message, and is small again after it. A
//! query brings 256 MiB at most. A command is answered by 100,000 notices at most.
//!
//! Only the simple query protocol is spoken, so a pooler in transaction mode can be in between (not for
//! replication). Nothing is prepared.
//!
//! # Log-in
//!
//! SCRAM-SHA-256, bound to the TLS connection where the server offers it; MD5; trust; client certificates.
//! A password goes **in clear text** only over TLS, through a tunnel, to this very machine, or with
//! `ssl_mode` disable (then with a warning): a server, or somebody in between, that says it has no TLS and
//! asks for the password in clear text does not get it. A server that skips its half of SCRAM is refused.
//!
//! # Encryption
//!
//! The six modes are libpq's: `allow` and `prefer` fall back only if the server's rules turn the user away
//! (or, with `prefer`, if it has no TLS or TLS fails); a wrong password is not sent twice. `require`
//! verifies no certificate. `verify-ca` and `verify-full` never fall back, use only the authorities of the
//! config, and take the subject's common name where a certificate has no names, as libpq does; a
//! certificate that is itself given as the authority is accepted. TLS is 1.2 or 1.3. Keys of clients are
//! PKCS#8, PKCS#1 or SEC1 as PEM, or PKCS#8 encrypted by PBES2; OpenSSL's older encrypted form
//! (`Proc-Type: 4,ENCRYPTED`) and PBES1 are not read, and the error says how to convert them.
//!
//! # Tunnels
//!
//! SSH with a key (OpenSSH's form or PEM, without a passphrase) or a password. The server's key is compared
//! with the fingerprint in `tunnel_host_key`; where that is absent, any key is accepted with a warning that
//! names its fingerprint, because configs made for other tools have no place for one.
//!
//! # What it costs
//!
//! Reading and dropping 2 million rows of 213 bytes takes a quarter of a CPU second, four fifths of it the
//! kernel's, and 4 MB: see `examples/count_copy.rs`.

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
