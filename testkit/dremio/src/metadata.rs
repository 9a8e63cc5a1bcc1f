//! What Flight SQL tells of the server, its schemas and tables.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, SqlInfo};
use serde_json::Value;
use tonic::Status;

use crate::desk::Desk;
use crate::engine::Rows;

/// Runs what waits for the engine.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Status::internal(format!("a worker ended badly: {error}"))))
}

/// Nothing about bulk ingestion: it is not offered.
pub(crate) fn sql_info() -> Result<SqlInfoData, Status> {
    let mut builder = SqlInfoDataBuilder::new();
    builder.append(SqlInfo::FlightSqlServerName, "Dremio Server");
    builder.append(SqlInfo::FlightSqlServerVersion, "26.0.0");
    builder.append(SqlInfo::FlightSqlServerArrowVersion, "18.0.0");
    builder.append(SqlInfo::FlightSqlServerReadOnly, false);
    builder.append(SqlInfo::SqlDdlCatalog, false);
    builder.append(SqlInfo::SqlDdlTable, true);
    builder.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    builder.build().map_err(|error| Status::internal(error.to_string()))
}

pub(crate) fn rows(batch: Result<RecordBatch, FlightError>) -> Result<Rows, Status> {
    let batch = batch.map_err(Status::from)?;
    Ok(Rows { schema: batch.schema(), batches: vec![batch] })
}

pub(crate) fn schemas(desk: &Desk, query: CommandGetDbSchemas) -> Result<Rows, Status> {
    let sql = "SELECT \"SCHEMA_NAME\" FROM \"_information\".\"SCHEMATA\" ORDER BY 1";
    let mut builder = query.into_builder();
    for row in desk.engine.rows(sql).map_err(|refusal| refusal.status(sql, desk.repeated))? {
        builder.append("", text(&row[0]));
    }
    rows(builder.build())
}

pub(crate) fn tables(desk: &Desk, query: CommandGetTables) -> Result<Rows, Status> {
    let sql = "SELECT \"TABLE_SCHEMA\", \"TABLE_NAME\", \"TABLE_TYPE\" FROM \"_information\".\"TABLES\" ORDER BY 1, 2";
    let mut builder = query.into_builder();
    for row in desk.engine.rows(sql).map_err(|refusal| refusal.status(sql, desk.repeated))? {
        let (schema, name) = (text(&row[0]), text(&row[1]));
        let select = format!("SELECT * FROM {}.{}", crate::sql::quoted(&schema), crate::sql::quoted(&name));
        let columns = desk.engine.shape(&select).map_err(|refusal| refusal.status(&select, desk.repeated))?;
        builder.append("", schema, name, text(&row[2]), &columns).map_err(Status::from)?;
    }
    rows(builder.build())
}

/// The number of rows that an update's answer says.
pub(crate) fn count(rows: &Rows) -> i64 {
    rows.batches
        .first()
        .filter(|batch| batch.num_rows() > 0)
        .and_then(|batch| batch.column(0).as_primitive_opt::<Int64Type>().map(|column| column.value(0)))
        .unwrap_or(0)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
