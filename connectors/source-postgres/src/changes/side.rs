//! The ordinary connection beside the replication connection, opened when first needed.

use connector_kit::{Result, tracing};
use postgres_kit::{Connection, Endpoint, Purpose};
use tokio::time::{Duration, Instant};

use crate::meter::{Meter, Opened};

/// How often the heartbeat query runs.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Side<'a> {
    endpoint: &'a Endpoint,
    meter: &'a Meter,
    connection: Option<(Connection, Opened<'a>)>,
    heartbeat: Option<&'a str>,
    next_heartbeat: Instant,
}

impl<'a> Side<'a> {
    pub(crate) fn new(endpoint: &'a Endpoint, meter: &'a Meter, heartbeat: Option<&'a str>) -> Self {
        Self { endpoint, meter, connection: None, heartbeat, next_heartbeat: Instant::now() }
    }

    pub(crate) async fn connection(&mut self) -> Result<&mut Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => (self.endpoint.connect(Purpose::Ordinary).await?, self.meter.opened()),
        };
        Ok(&mut self.connection.insert(connection).0)
    }

    /// After an error: the next user gets a new one.
    pub(crate) fn reset(&mut self) {
        self.connection = None;
    }

    /// Runs the user's heartbeat query when it is time. That it fails is no reason to stop reading.
    pub(crate) async fn beat(&mut self) {
        let Some(query) = self.heartbeat else { return };
        if Instant::now() < self.next_heartbeat {
            return;
        }
        self.next_heartbeat = Instant::now() + HEARTBEAT_EVERY;
        let outcome = match self.connection().await {
            Ok(connection) => connection.execute(query).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::warn!("The heartbeat_action_query failed: {error} Changes are read on without it.");
            self.reset();
        }
    }
}
