//! The connector: wiring only.

use connector_kit::protocol::Catalog;
use connector_kit::{Connector, Context, Error, Result, SelectedStream, Source, StreamEmitter};
use postgres_kit::{Endpoint, Purpose};

use crate::check;
use crate::config::{self, Config};
use crate::discover;

/// See `README.md`.
#[derive(Debug)]
pub(crate) struct SourcePostgres {
    config: Config,
    endpoint: Endpoint,
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
        Ok(Self { config, endpoint })
    }

    async fn check(&self) -> Result<()> {
        check::check(&self.endpoint, &self.config).await
    }
}

impl Source for SourcePostgres {
    type Cursor = serde_json::Value;

    async fn discover(&self) -> Result<Catalog> {
        let mut connection = self.endpoint.connect(Purpose::Ordinary).await?;
        discover::discover(&mut connection, &self.config).await
    }

    async fn read(
        &self,
        _: &SelectedStream,
        _: Option<serde_json::Value>,
        _: &mut StreamEmitter<serde_json::Value>,
    ) -> Result<()> {
        Err(Error::system("Reading is not built yet."))
    }
}
