//! The connector: wiring only.

use connector_kit::protocol::{Stream, StreamDescriptor};
use connector_kit::tracing::info;
use connector_kit::{
    ChangeEmitter, ChangeSource, ChangeStream, Connector, Context, Error, Result, SelectedStream, Source,
    StreamEmitter, Streams,
};
use postgres_kit::{Endpoint, Purpose};
use tokio::sync::OnceCell;

use crate::changes::{self, Position};
use crate::check;
use crate::config::{self, Config};
use crate::discover;
use crate::meter::Meter;
use crate::read::{Method, Run, read_stream};
use crate::slots;
use crate::state::Named;
use crate::tables::Table;

/// See `README.md`.
#[derive(Debug)]
pub(crate) struct SourcePostgres {
    config: Config,
    endpoint: Endpoint,
    meter: Meter,
    /// The tables of the streams that are read.
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

    /// What the server keeps of its log for the slot, as a sentence; nothing without one.
    async fn retained(&self) -> String {
        let Some(cdc) = self.config.cdc() else { return String::new() };
        let asked = async {
            let mut connection = self.endpoint.connect(Purpose::Ordinary).await?;
            let _open = self.meter.opened();
            let _running = self.meter.query();
            slots::slot(&mut connection, &cdc.replication_slot).await
        };
        // The run is over; that this cannot be asked is no fault of it.
        let slot = asked.await.ok().flatten();
        slot.and_then(|slot| slot.retained).map_or_else(String::new, |bytes| {
            format!(" The slot {:?} makes the server keep {} MiB of log.", cdc.replication_slot, bytes >> 20)
        })
    }

    /// The tables of the run's streams.
    fn tables(&self) -> Result<&[Table]> {
        let unasked = || Error::system("Nobody asked for the tables before the read; please report it.");
        self.tables.get().map(Vec::as_slice).ok_or_else(unasked)
    }

    /// The table of a stream, of which the user may read the columns.
    fn table(&self, stream: &SelectedStream) -> Result<&Table> {
        let of_stream = |t: &&Table| t.descriptor() == stream.descriptor;
        let gone =
            || Error::system(format!("There is no table for {}; please report it.", stream.descriptor));
        let table = self.tables()?.iter().find(of_stream).ok_or_else(gone)?;
        let columns = stream.columns.iter().map(|c| c.name.as_str());
        table.refusal(columns, &self.config.username).map_or(Ok(table), Err)
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

    async fn discover(&self) -> Result<Streams> {
        let mut connection = self.endpoint.connect(Purpose::Ordinary).await?;
        let _open = self.meter.opened();
        discover::discover(&mut connection, &self.config).await
    }

    async fn offered(&self, wanted: &[StreamDescriptor]) -> Result<Vec<Result<Stream>>> {
        let mut connection = self.endpoint.connect(Purpose::Ordinary).await?;
        let _open = self.meter.opened();
        let (tables, streams) = discover::offered(&mut connection, &self.config, wanted).await?;
        // A second read in one process would see the same.
        let _ = self.tables.set(tables);
        Ok(streams)
    }

    async fn read(
        &self,
        stream: &SelectedStream,
        resume: Option<Named>,
        out: &mut StreamEmitter<Named>,
    ) -> Result<()> {
        let table = self.table(stream)?;
        if table.rows > 0.0 {
            // As of the last ANALYZE: exact counts would cost a scan.
            let (rows, pages) = (table.rows as i64, i64::try_from(table.pages).unwrap_or(i64::MAX));
            out.estimate(Some(rows), Some(pages.saturating_mul(8192)))?;
        }
        read_stream(&self.run(), table, stream, resume, out).await
    }

    async fn finish(&self) {
        let kept = self.retained().await;
        let (opened, most, busy) = self.meter.read();
        info!(
            "DO NO HARM: queries ran for {:.1} s in all; {opened} connections were opened, at most {most} at a time.{kept}",
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
        changes::read_changes(&self.run(), cdc, self.tables()?, streams, position, out).await
    }
}
