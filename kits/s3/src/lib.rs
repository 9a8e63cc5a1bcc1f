//! Object stores that speak S3: Amazon's, MinIO, and what else is reached by an endpoint of its own.
//!
//! What lives here: a client made from a connector's config ([`Store`]), paged listing
//! ([`Listing`]), reading that goes on where a connection was lost ([`Body`]), uploads in parts that
//! are completed or aborted ([`Upload`]), and errors that name the key of the config to mend
//! ([`Error`], [`Fault`]). What does not: formats of files, and what objects mean to a connector.
//!
//! Requests run on a thread of their own, so that sending goes on while the connector encodes, and a
//! connector may wait for them from code that is not async.

mod connect;
mod error;
mod list;
mod read;
mod settings;
mod upload;
mod write;

pub use bytes::Bytes;
pub use connect::Store;
pub use error::{Error, Fault, Result};
pub use list::{Listing, Object};
pub use read::{Body, Head};
pub use settings::{Credentials, Keys, Settings};
pub use upload::{Completion, MAX_PARTS, Part, Room, Upload, part_bytes};
pub use write::{Condition, Written};
