//! Real servers for tests: each is started in a folder of its own, on a free port of
//! loopback, and stopped when dropped. What a server needs is installed by `cargo xtask test`;
//! one that is missing fails the test.

mod containers;
mod nginx;
mod postgres;
mod proxy;
mod s3;
mod sshd;
mod tls;

pub use containers::{Containers, Registry};
pub use nginx::Nginx;
pub use postgres::{Options, Postgres, Session, Version};
pub use proxy::{Cut, Proxy};
pub use s3::{Action, Asked, FaultyStore, ObjectStore, StoreKind};
pub use sshd::Sshd;
pub use tls::Authority;

use std::net::TcpListener;
use std::process::Command;

/// A port that nobody listens on.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Runs a program to its end and returns its standard output.
///
/// # Panics
/// When it is not installed or fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?} cannot be run ({e}); `cargo xtask test` installs it"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
