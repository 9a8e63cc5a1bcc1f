//! Planning and running on threads that may wait.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use tonic::Status;

use crate::desk::Desk;
use crate::engine::Rows;
use crate::faults::Faults;
use crate::metadata::blocking;

#[derive(Clone, Debug)]
pub(crate) struct Statements {
    pub(crate) desk: Arc<Desk>,
    pub(crate) faults: Arc<Faults>,
}

impl Statements {
    pub(crate) async fn plan(&self, sql: &str, context: Vec<String>) -> Result<SchemaRef, Status> {
        let (desk, sql) = (Arc::clone(&self.desk), sql.to_owned());
        blocking(move || desk.plan(&sql, &context).map_err(|refusal| refusal.status(&sql, desk.repeated)))
            .await
    }

    pub(crate) async fn run(&self, sql: String, context: Vec<String>) -> Result<Rows, Status> {
        self.run_once(sql, context, || {}).await
    }

    /// Runs it once something else is done, whether its client still waits or not. It is
    /// known as running meanwhile.
    pub(crate) async fn run_once(
        &self,
        sql: String,
        context: Vec<String>,
        first: impl FnOnce() + Send + 'static,
    ) -> Result<Rows, Status> {
        let desk = Arc::clone(&self.desk);
        let job = desk.begin(&sql);
        blocking(move || {
            first();
            desk.run(job, &sql, &context).map_err(|refusal| refusal.status(&sql, desk.repeated))
        })
        .await
    }
}
