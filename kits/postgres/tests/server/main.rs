//! The client against real servers, and against ones that lie.

mod channel;
mod copy;
mod login;
mod lying;
mod session;
mod tunnel;

use std::time::Duration;

use connector_kit::Secret;
use postgres_kit::{Endpoint, Params, SslMode, TunnelMethod};
use testkit::services::Postgres;

/// Runs a test's future; one that hangs fails.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(100), test).await.expect("it hangs") })
}

/// The server's superuser, without TLS.
fn endpoint(server: &Postgres) -> Endpoint {
    at(server.port)
}

fn at(port: u16) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port,
        database: "postgres".into(),
        user: Postgres::USER.into(),
        password: Some(Secret::from(Postgres::PASSWORD.to_owned())),
        ssl: SslMode::Disable,
        tunnel: TunnelMethod::NoTunnel,
        params: Params::default(),
    }
}

/// An error as anybody may get to see it; it must not show the password.
fn shown(error: &connector_kit::Error) -> String {
    let shown = format!("{error} <- {}", error.causes().unwrap_or_default());
    assert!(!shown.contains(Postgres::PASSWORD), "{shown}");
    shown
}
