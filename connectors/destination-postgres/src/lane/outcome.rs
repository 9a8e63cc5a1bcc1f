//! A COMMIT whose answer was lost: whether the server carried it out.

use std::time::{Duration, Instant};

use connector_kit::{Error, Result, tracing};
use postgres_kit::server_error;

use super::Lane;

/// For how long to ask: a server that crashed is back within it, or an operator has to look.
const SEARCH: Duration = Duration::from_secs(90);

enum Outcome {
    Committed,
    RolledBack,
    /// The other session has not noticed yet that nobody listens.
    Open,
    Unknown,
}

impl Lane {
    /// Finds out how the transaction of that number ended. Returns with success, and a connection to go on with, if
    /// it was committed.
    pub(super) async fn clear_up(
        &mut self,
        number: Option<i64>,
        proof: Option<&str>,
        lost: Error,
    ) -> Result<()> {
        tracing::warn!("The connection was lost during COMMIT ({lost}); asking the server how it ended.");
        let until = Instant::now() + SEARCH;
        let mut pause = Duration::from_millis(50);
        let mut why = lost;
        loop {
            match self.ask(number, proof).await {
                Ok(Outcome::Committed) => {
                    tracing::info!("The transaction was committed.");
                    // If that fails, the next use of the lane says so; what is committed is committed.
                    if let Err(error) = self.restore_session().await {
                        tracing::warn!("{error}");
                        self.unusable = Some(error.message().to_owned());
                    }
                    return Ok(());
                }
                Ok(Outcome::RolledBack) => {
                    return Err(Error::transient(
                        "The connection to the server was lost during COMMIT, which the server has rolled back; the sync tries again.",
                    )
                    .with_source(why));
                }
                Ok(Outcome::Unknown) => break,
                Ok(Outcome::Open) => {}
                Err(error) => why = error,
            }
            if Instant::now() + pause > until {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
        Err(Error::transient(
            "The connection to the server was lost during COMMIT, and whether it was carried out could not be found out; the next run asks again.",
        )
        .with_source(why))
    }

    async fn ask(&mut self, number: Option<i64>, proof: Option<&str>) -> Result<Outcome> {
        if self.connection.is_lost() {
            self.reconnect().await?;
        }
        let seen = match proof {
            Some(_) => Some(self.proven(proof).await?),
            None => None,
        };
        if seen == Some(true) {
            return Ok(Outcome::Committed);
        }
        let (Some(number), true) = (number, self.server_version() >= 100_000) else {
            return Ok(Outcome::Unknown);
        };
        let status = match self.connection.query(&format!("SELECT txid_status({number})")).await {
            Ok(rows) => rows.first().and_then(|r| r.get(0)).unwrap_or_default().to_owned(),
            // The server crashed before its log held our number, and has not given it to another yet.
            Err(e) if server_error(&e).is_some_and(|e| e.code == "22023") => "aborted".to_owned(),
            Err(e) => return Err(e),
        };
        Ok(match (status.as_str(), seen) {
            ("in progress", _) => Outcome::Open,
            ("aborted", _) => Outcome::RolledBack,
            ("committed", None) => Outcome::Committed,
            // Committed after we looked for the proof, or a number that a server which crashed has given away
            // again: looking once more tells.
            ("committed", Some(_)) if self.proven(proof).await? => Outcome::Committed,
            ("committed", Some(_)) => Outcome::RolledBack,
            _ => Outcome::Unknown,
        })
    }

    async fn proven(&mut self, proof: Option<&str>) -> Result<bool> {
        match proof {
            Some(sql) => Ok(!self.connection.query(sql).await?.is_empty()),
            None => Ok(false),
        }
    }
}
