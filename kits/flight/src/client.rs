//! A session with a Flight SQL server: calls, one after the other, and log-ins in between where the server wants them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightDescriptor, FlightInfo, HandshakeRequest, Ticket};
use arrow_schema::Schema;
use futures::{StreamExt, TryStreamExt};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::error::{Error, Fault, Result};
use crate::headers::Headers;
use crate::settings::{Login, Settings};
use crate::socket::Connector;
use crate::statement::Statement;
use crate::table::Table;
use crate::tls;

/// What statements of ours answer is counts and names. More is not kept.
const MOST_ROWS: usize = 100_000;
/// Dremio's errors repeat the statement, and errors travel in headers. One that did not fit would look like a lost answer.
const LONGEST_HEADERS: u32 = 8 << 20;
/// A message from the server.
const LARGEST_MESSAGE: usize = 16 << 20;

/// A session. Its connection is made anew when it is lost.
#[derive(Debug)]
pub struct Client {
    settings: Arc<Settings>,
    calls: FlightServiceClient<Channel>,
    headers: Mutex<Headers>,
}

impl Client {
    /// Connects and logs in.
    ///
    /// # Errors
    /// When the server is not there, is not whom we trust, or does not let us in.
    pub async fn connect(settings: Settings) -> Result<Self> {
        let settings = Arc::new(settings);
        let connector = Connector { settings: Arc::clone(&settings), tls: tls::config(&settings.tls)? };
        let scheme = if connector.tls.is_some() { "https" } else { "http" };
        let no_host = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(Fault::Login, format!("`host` {:?} is no name of a host.", settings.host))
                .with_source(e)
        };
        let origin =
            format!("{scheme}://{}", settings.address()).parse().map_err(|e| no_host(Box::new(e)))?;
        // Never https here: built with a TLS of its own, which it is when another crate asks for that, tonic
        // would refuse to let us do it.
        let endpoint = Endpoint::from_shared(format!("http://{}", settings.address()))
            .map_err(|e| no_host(e.into()))?
            .origin(origin)
            .http2_max_header_list_size(LONGEST_HEADERS);
        // Made at the first call: a failure then comes as any other call's, with its own words.
        let channel = endpoint.connect_with_connector_lazy(connector);
        let calls = FlightServiceClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
        let client = Self { settings, calls, headers: Mutex::default() };
        client.log_in().await?;
        Ok(client)
    }

    /// Runs a statement and returns what it answers. A session that has run out is renewed once.
    ///
    /// # Errors
    /// [`Fault::may_have_run`] says whether it may have had an effect.
    pub async fn run(&self, sql: impl Into<Statement>) -> Result<Table> {
        let sql = sql.into();
        match self.try_run(&sql).await {
            // Refused at the door, so it did not run.
            Err(error) if error.fault() == Fault::Login && self.can_renew() => {
                self.log_in().await?;
                self.try_run(&sql).await
            }
            answer => answer,
        }
    }

    /// The columns that a query would answer with. It is run only if the server does not say them beforehand.
    ///
    /// # Errors
    /// As [`Client::run`]'s.
    pub async fn columns(&self, sql: impl Into<Statement>) -> Result<Schema> {
        let sql = sql.into();
        let info = match self.info(&sql).await {
            Err(error) if error.fault() == Fault::Login && self.can_renew() => {
                self.log_in().await?;
                self.info(&sql).await?
            }
            info => info?,
        };
        match info.try_decode_schema() {
            Ok(schema) if !schema.fields().is_empty() => Ok(schema),
            // Some say it only with the rows.
            _ => self.run(&sql).await?.schema.map(|s| Schema::clone(&s)).ok_or_else(|| {
                let text = format!("{} does not say which columns it answers with.", self.settings.address());
                Error::new(Fault::Unsupported, text)
            }),
        }
    }

    fn can_renew(&self) -> bool {
        matches!(self.settings.login, Login::Password { .. })
    }

    fn headers(&self) -> MutexGuard<'_, Headers> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request<T>(&self, message: T, limit: Duration) -> Request<T> {
        let mut request = Request::new(message);
        self.headers().write(&self.settings, request.metadata_mut());
        request.set_timeout(limit);
        request
    }

    fn error(&self, status: Status) -> Error {
        Error::of(status, &self.settings.address())
    }

    /// A call that has its answer within the time, or is lost.
    async fn within<T>(&self, limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(
                Fault::Lost,
                format!("{} did not answer within {} s.", self.settings.address(), limit.as_secs()),
            )),
        }
    }

    async fn log_in(&self) -> Result<()> {
        let fresh = Headers::of(&self.settings.login).ok_or_else(|| {
            Error::new(Fault::Login, "The personal_access_token holds a line break or a control character; paste it whole and alone.")
        })?;
        *self.headers() = fresh;
        if !self.can_renew() {
            return Ok(());
        }
        // A password goes through the handshake, which answers with a token. A token is its own.
        let limit = self.settings.connect_timeout;
        let hello = futures::stream::iter([HandshakeRequest::default()]);
        let request = self.request(hello, limit);
        let mut calls = self.calls.clone();
        self.within(limit, async move {
            match calls.handshake(request).await {
                Ok(answer) => {
                    self.headers().read(answer.metadata());
                    let mut rest = answer.into_inner();
                    while rest.next().await.transpose().map_err(|e| self.error(e))?.is_some() {}
                    if let Ok(Some(trailers)) = rest.trailers().await {
                        self.headers().read(&trailers);
                    }
                    Ok(())
                }
                // Then the password goes along with every call.
                Err(status) if status.code() == Code::Unimplemented => Ok(()),
                Err(status) => Err(self.error(status)),
            }
        })
        .await
        .map_err(|error| self.at_the_door(error))
    }

    /// Whoever does not even answer a log-in may speak something else.
    fn at_the_door(&self, error: Error) -> Error {
        if error.fault() != Fault::Lost {
            return error;
        }
        let text = format!(
            "{} did not answer the log-in; check that `port` is that of Arrow Flight, and that `ssl` is as the server has it.",
            self.settings.address()
        );
        Error::new(Fault::NotSent, text).with_source(error)
    }

    async fn info(&self, sql: &Statement) -> Result<FlightInfo> {
        let descriptor = FlightDescriptor::new_cmd(sql.0.clone());
        let limit = self.settings.statement_timeout;
        let request = self.request(descriptor, limit);
        let mut calls = self.calls.clone();
        let answer = async move { calls.get_flight_info(request).await.map_err(|e| self.error(e)) };
        let answer = self.within(limit, answer).await?;
        self.headers().read(answer.metadata());
        Ok(answer.into_inner())
    }

    async fn try_run(&self, sql: &Statement) -> Result<Table> {
        let info = self.info(sql).await?;
        let limit = self.settings.statement_timeout;
        let mut table = Table::default();
        for endpoint in info.endpoint {
            let Some(ticket) = endpoint.ticket else { continue };
            self.within(limit, self.fetch(ticket, limit, &mut table)).await?;
        }
        Ok(table)
    }

    async fn fetch(&self, ticket: Ticket, limit: Duration, table: &mut Table) -> Result<()> {
        let request = self.request(ticket, limit);
        let mut calls = self.calls.clone();
        let answer = calls.do_get(request).await.map_err(|e| self.error(e))?;
        self.headers().read(answer.metadata());
        let messages = answer.into_inner().map_err(|e| FlightError::Tonic(Box::new(e)));
        let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
        while let Some(batch) = batches.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(FlightError::Tonic(status)) => return Err(self.error(*status)),
                Err(e) => return Err(self.unreadable(e)),
            };
            if table.rows() + batch.num_rows() <= MOST_ROWS {
                table.batches.push(batch);
            }
        }
        table.schema = batches.schema().cloned();
        Ok(())
    }

    fn unreadable(&self, e: FlightError) -> Error {
        let text = format!(
            "{} answered with what is no Arrow data; check that it is a Flight SQL server.",
            self.settings.address()
        );
        Error::new(Fault::Lost, text).with_source(e)
    }
}
