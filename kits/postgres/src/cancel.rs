//! Ending a running command from elsewhere.

use std::sync::Arc;

use bytes::BytesMut;
use connector_kit::{Error, Result};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::endpoint::{Channel, Endpoint};

/// Ends the running command of one connection, over a connection of its own.
#[derive(Clone)]
pub struct CancelToken {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) channel: Channel,
    pub(crate) pid: i32,
    pub(crate) key: i32,
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelToken").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl CancelToken {
    /// Asks the server to end the command that runs, if one does; the command then fails by itself.
    /// The server does not say whether there was one.
    pub async fn cancel(&self) -> Result<()> {
        let asked = tokio::time::timeout(self.endpoint.params.connect_timeout, self.ask()).await;
        asked.unwrap_or_else(|_| {
            Err(Error::transient(format!(
                "{} did not take a request to cancel in time.",
                self.endpoint.address()
            )))
        })
    }

    async fn ask(&self) -> Result<()> {
        let opened = self.endpoint.open(self.channel).await?;
        let mut socket = opened.socket;
        let mut request = BytesMut::new();
        frontend::cancel_request(self.pid, self.key, &mut request);
        let lost = |e| {
            Error::transient(format!("The connection to {} was lost.", self.endpoint.address()))
                .with_source(e)
        };
        socket.write_all(&request).await.map_err(lost)?;
        socket.flush().await.map_err(lost)?;
        // The server hangs up once it has acted; how it does does not matter.
        let _ = socket.read(&mut [0; 1]).await;
        Ok(())
    }
}
