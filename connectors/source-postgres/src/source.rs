//! The connector: wiring only.

use connector_kit::protocol::Catalog;
use connector_kit::tracing::info;
use connector_kit::{
    ChangeEmitter, ChangeSource, ChangeStream, Connector, Context, Error, Result, SelectedStream, Source,
    StreamEmitter,
};
use postgres_kit::{Endpoint, Purpose};
use tokio::sync::OnceCell;

use crate::changes::{self, Position};
use crate::check;
use crate::config::{self, Config};
use crate::discover;
use crate::meter::Meter;
use crate::read::{Method, Run, read_stream};
use crate::state::Named;
use crate::tables::{self, Table};

/// See `README.md`.
#[derive(Debug)]
pub(crate) struct SourcePostgres {
    config: Config,
    endpoint: Endpoint,
    meter: Meter,
    /// What the catalogs said when they were first asked.
    tables: OnceCell<Vec<Table>>,
}

impl SourcePostgres {
    /// A table of this run.
    fn run(&self) -> Run<'_> {
        Run {
            endpoint: &self.endpoint,
            meter: &self.meter,
            connections: self.config.max_db_connections.unwrap_or(1),
            method: if self.config.is_xmin() { Method::Xmin } else { Method::Standard },
        }
    }

    async fn tables(&self) -> Result<&[Table]> {
        let ask = async {
            let mut connection = self.endpoint.connect(Purpose::Ordinary).await?;
            let _open = self.meter.opened();
            let publication = self.config.cdc().map(|cdc| cdc.publication.as_str());
            tables::tables(&mut connection, &self.config.schemas(), publication).await
        };
        self.tables.get_or_try_init(|| ask).await.map(Vec::as_slice)
    }
}

impl Connector for SourcePostgres {
    type Config = Config;
    const NAME: &'static str = "source-postgres";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn adapt(config: &mut serde_json::Value) {
        config::adapt(config);
    }

    async fn connect(config: Config, _: &Context) -> Result<Self> {
        config.validate()?;
        let endpoint = config.endpoint()?;
        Ok(Self { config, endpoint, meter: Meter::default(), tables: OnceCell::new() })
    }

    async fn check(&self) -> Result<()> {
        check::check(&self.endpoint, &self.config).await
    }
}

impl Source for SourcePostgres {
    type Cursor = Named;

    async fn discover(&self) -> Result<Catalog> {
        let mut connection = self.endpoint.connect(Purpose::Ordinary).await?;
        let _open = self.meter.opened();
        discover::discover(&mut connection, &self.config).await
    }

    async fn read(
        &self,
        stream: &SelectedStream,
        resume: Option<Named>,
        out: &mut StreamEmitter<Named>,
    ) -> Result<()> {
        let of_stream = |t: &&Table| t.descriptor() == stream.descriptor;
        let table = self.tables().await?.iter().find(of_stream).ok_or_else(|| {
            Error::config(format!("Table {} is gone; refresh the catalog.", stream.descriptor))
        })?;
        if table.rows > 0.0 {
            // As of the last ANALYZE: exact counts would cost a scan.
            let (rows, pages) = (table.rows as i64, i64::try_from(table.pages).unwrap_or(i64::MAX));
            out.estimate(Some(rows), Some(pages.saturating_mul(8192)))?;
        }
        read_stream(&self.run(), table, stream, resume, out).await
    }

    async fn finish(&self) {
        let (opened, most, busy) = self.meter.read();
        info!(
            "DO NO HARM: queries ran for {:.1} s in all; {opened} connections were opened, at most {most} at a time.",
            busy.as_secs_f64()
        );
    }
}

impl ChangeSource for SourcePostgres {
    type Position = Position;

    fn shares_position(&self) -> bool {
        self.config.cdc().is_some()
    }

    async fn read_changes(
        &self,
        streams: Vec<ChangeStream<Named>>,
        position: Option<Position>,
        out: &mut ChangeEmitter<Position, Named>,
    ) -> Result<()> {
        let cdc = self
            .config
            .cdc()
            .ok_or_else(|| Error::system("There is no CDC in the config; please report it."))?;
        changes::read_changes(&self.run(), cdc, self.tables().await?, streams, position, out).await
    }
}
