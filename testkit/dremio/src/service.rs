//! Flight SQL as Dremio answers it.

use std::sync::Arc;

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo,
    CommandGetTableTypes, CommandGetTables, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult,
    ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage,
    SchemaAsIpc, Ticket,
};
use arrow_schema::{Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::engine::Rows;
use crate::faults::{Fault, Faults, Stage, answer};
use crate::metadata;
use crate::people::Pass;
use crate::statements::Statements;
use crate::wire::Switch;

/// How much of a statement that cannot be read is said.
const UNREADABLE: &str = "<not text>";

/// Cheap to copy.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) statements: Statements,
    /// Whether `CommandStatementUpdate` is taken; Dremio's open-source releases refuse it.
    pub(crate) updates: bool,
    /// Whether a handshake is answered with no message, only with headers.
    pub(crate) silent: bool,
}

type Stream<S> = Response<<S as FlightService>::DoGetStream>;

impl Service {
    fn faults(&self) -> &Arc<Faults> {
        &self.statements.faults
    }

    /// Plans a statement, unless a fault waits for it.
    async fn plan<T>(&self, sql: &str, request: &Request<T>) -> Result<SchemaRef, Status> {
        match self.faults().meet(sql, Stage::Planned) {
            Some(Fault::Answer(code, text)) => return Err(answer(code, &text)),
            Some(Fault::Wakes(time)) => tokio::time::sleep(time).await,
            Some(Fault::Hold | Fault::HoldThenRun) => self.stand().await?,
            Some(_) => return Err(cut(request)),
            None => {}
        }
        self.statements.plan(sql, pass(request).context).await
    }

    async fn stand(&self) -> Result<(), Status> {
        let faults = Arc::clone(self.faults());
        let released = tokio::task::spawn_blocking(move || faults.stand()).await;
        if released.is_ok_and(|released| released) { Ok(()) } else { Err(Status::internal("never released")) }
    }

    async fn run<T>(&self, sql: String, request: &Request<T>) -> Result<Rows, Status> {
        let context = pass(request).context;
        let statements = &self.statements;
        match self.faults().meet(&sql, Stage::Run) {
            None => statements.run(sql, context).await,
            Some(Fault::Answer(code, text)) => Err(answer(code, &text)),
            Some(Fault::Wakes(time)) => {
                tokio::time::sleep(time).await;
                statements.run(sql, context).await
            }
            Some(Fault::Hold) => {
                self.stand().await?;
                statements.run(sql, context).await
            }
            Some(Fault::HoldThenRun) => {
                let faults = Arc::clone(self.faults());
                statements
                    .run_once(sql, context, move || {
                        let _ = faults.stand();
                    })
                    .await
            }
            Some(Fault::CutBefore) => Err(cut(request)),
            Some(Fault::CutAfter) => {
                let _ = statements.run(sql, context).await;
                Err(cut(request))
            }
            Some(Fault::CutThenRun(time)) => {
                let statements = statements.clone();
                tokio::spawn(async move {
                    statements.run_once(sql, context, move || std::thread::sleep(time)).await.map(drop)
                });
                Err(cut(request))
            }
        }
    }
}

/// Cuts the connection on which a request came.
fn cut<T>(request: &Request<T>) -> Status {
    if let Some(switch) = Switch::of(request.extensions()) {
        switch.cut();
    }
    Status::unavailable("cut by a test")
}

fn pass<T>(request: &Request<T>) -> Pass {
    request.extensions().get::<Pass>().cloned().unwrap_or_default()
}

fn info(
    schema: &Schema,
    ticket: Vec<u8>,
    request: Request<FlightDescriptor>,
) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Status::internal(error.to_string()))?
        .with_endpoint(endpoint)
        .with_descriptor(request.into_inner());
    Ok(Response::new(info))
}

fn stream_of(rows: Rows) -> Stream<Service> {
    let batches = stream::iter(rows.batches.into_iter().map(Ok));
    let encoded = FlightDataEncoderBuilder::new().with_schema(rows.schema).build(batches);
    Response::new(encoded.map_err(Status::from).boxed())
}

fn text(bytes: &[u8]) -> Result<String, Status> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Status::invalid_argument(format!("Invalid handle {UNREADABLE}")))
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    /// The header has been looked at and is answered at the gate.
    async fn do_handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<<Self as FlightService>::HandshakeStream>, Status> {
        let messages = if self.silent { vec![] } else { vec![Ok(HandshakeResponse::default())] };
        Ok(Response::new(stream::iter(messages).boxed()))
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = self.plan(&query.query, &request).await?;
        // A handle is the statement itself: planning it keeps nothing here, and it runs with DoGet.
        let ticket = TicketStatementQuery { statement_handle: query.query.into() };
        info(&schema, ticket.as_any().encode_to_vec(), request)
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Stream<Self>, Status> {
        self.run(text(&ticket.statement_handle)?, &request).await.map(stream_of)
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<arrow_flight::Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let schema = self.plan(&query.query, &request).await?;
        let bytes = |schema: &Schema| -> Result<prost::bytes::Bytes, Status> {
            let options = arrow_ipc::writer::IpcWriteOptions::default();
            let message: IpcMessage = SchemaAsIpc::new(schema, &options)
                .try_into()
                .map_err(|error: arrow_schema::ArrowError| Status::internal(error.to_string()))?;
            Ok(message.0)
        };
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: query.query.into(),
            dataset_schema: bytes(&schema)?,
            parameter_schema: bytes(&Schema::empty())?,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<arrow_flight::Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let sql = text(&query.prepared_statement_handle)?;
        let schema = self.plan(&sql, &request).await?;
        info(&schema, query.as_any().encode_to_vec(), request)
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Stream<Self>, Status> {
        self.run(text(&query.prepared_statement_handle)?, &request).await.map(stream_of)
    }

    async fn do_put_statement_update(
        &self,
        update: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        if !self.updates {
            return Err(Status::unimplemented("Statement not supported."));
        }
        self.plan(&update.query, &request).await?;
        Ok(metadata::count(&self.run(update.query, &request).await?))
    }

    async fn do_put_statement_ingest(
        &self,
        _ingest: CommandStatementIngest,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented("acceptPut is not implemented."))
    }

    async fn do_put_prepared_statement_query(
        &self,
        _query: CommandPreparedStatementQuery,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        Err(Status::unimplemented("PreparedStatement with parameter binding not supported."))
    }

    async fn do_put_prepared_statement_update(
        &self,
        _query: CommandPreparedStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented("PreparedStatement with parameter binding not supported."))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        let data = metadata::sql_info()?;
        info(&query.into_builder(&data).schema(), ticket, request)
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        _request: Request<Ticket>,
    ) -> Result<Stream<Self>, Status> {
        let data = metadata::sql_info()?;
        metadata::rows(query.into_builder(&data).build()).map(stream_of)
    }

    /// There are none.
    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        info(&query.into_builder().schema(), ticket, request)
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        _request: Request<Ticket>,
    ) -> Result<Stream<Self>, Status> {
        metadata::rows(query.into_builder().build()).map(stream_of)
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        info(&query.into_builder().schema(), ticket, request)
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        _request: Request<Ticket>,
    ) -> Result<Stream<Self>, Status> {
        let desk = Arc::clone(&self.statements.desk);
        metadata::blocking(move || metadata::schemas(&desk, query)).await.map(stream_of)
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        info(&query.into_builder().schema(), ticket, request)
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        _request: Request<Ticket>,
    ) -> Result<Stream<Self>, Status> {
        let desk = Arc::clone(&self.statements.desk);
        metadata::blocking(move || metadata::tables(&desk, query)).await.map(stream_of)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        info(&query.into_builder().schema(), ticket, request)
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        _request: Request<Ticket>,
    ) -> Result<Stream<Self>, Status> {
        let mut builder = query.into_builder();
        for kind in ["TABLE", "SYSTEM_TABLE", "VIEW"] {
            builder.append(kind);
        }
        metadata::rows(builder.build()).map(stream_of)
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
