//! Which streams there are, and how a read walks through them.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{SystemTime, UNIX_EPOCH};

use connector_kit::protocol::{Stream, SyncMode};
use connector_kit::{
    Connector, Context, Error, Result, SelectedStream, Source, StreamEmitter, Streams, write_timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::random::Random;
use crate::{products, purchases, users};

/// 2000-01-01, in microseconds since 1970: no invented row is older.
const EPOCH: i64 = 946_684_800_000_000;
/// Rows are spread over twenty years and updated within the next.
const SPREAD_SECS: u64 = 20 * 365 * 86_400;
const YEAR_SECS: u64 = 365 * 86_400;

/// The state: Airbyte's keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    seed: i64,
    /// The newest `updated_at` sent.
    updated_at: String,
    /// How many users (or products) were sent; a smaller number than `count` goes on there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loop_offset: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct SourceFaker {
    config: Config,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Users,
    Products,
    Purchases,
}

const STREAMS: [(&str, Kind); 3] =
    [("users", Kind::Users), ("products", Kind::Products), ("purchases", Kind::Purchases)];

impl Kind {
    fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Users => users::FIELDS,
            Self::Products => products::FIELDS,
            Self::Purchases => purchases::FIELDS,
        }
    }

    /// Bytes of one record's JSON, about; for the estimate.
    fn bytes(self) -> u64 {
        match self {
            Self::Users => 450,
            Self::Products => 180,
            Self::Purchases => 230,
        }
    }
}

fn property(kind: &str) -> Value {
    match kind {
        "date-time" => {
            json!({"type": ["null", "string"], "format": "date-time", "airbyte_type": "timestamp_with_timezone"})
        }
        "address" => users::address_schema(),
        plain => json!({"type": ["null", plain]}),
    }
}

fn stream(name: &str, kind: Kind) -> Stream {
    let properties: Map<_, _> =
        kind.fields().iter().map(|(name, t)| ((*name).to_owned(), property(t))).collect();
    let mut stream = Stream::new(name, json!({"type": "object", "properties": properties}));
    stream.supported_sync_modes = vec![SyncMode::FullRefresh, SyncMode::Incremental];
    stream.source_defined_cursor = Some(true);
    stream.default_cursor_field = vec!["updated_at".into()];
    stream.source_defined_primary_key = vec![vec!["id".into()]];
    stream.is_resumable = Some(true);
    stream
}

impl Connector for SourceFaker {
    type Config = Config;
    const NAME: &'static str = "source-faker";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    async fn connect(config: Config, _: &Context) -> Result<Self> {
        if i64::try_from(config.count).is_err() {
            return Err(Error::config("count is beyond 64-bit integers; choose a smaller one."));
        }
        Ok(Self { config })
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl Source for SourceFaker {
    type Cursor = Cursor;

    async fn discover(&self) -> Result<Streams> {
        Ok(Streams::new(STREAMS.iter().map(|(name, kind)| stream(name, *kind))))
    }

    async fn read(
        &self,
        selected: &SelectedStream,
        resume: Option<Cursor>,
        out: &mut StreamEmitter<Cursor>,
    ) -> Result<()> {
        let name = selected.descriptor.name.as_str();
        let Some((_, kind)) = STREAMS.iter().find(|(n, _)| *n == name) else {
            return Err(Error::config(format!(
                "There is no stream {name}; choose users, products or purchases."
            )));
        };
        Walk::new(&self.config, *kind, selected, resume.as_ref()).run(resume, out)
    }
}

/// One read of one stream.
struct Walk<'a> {
    config: &'a Config,
    kind: Kind,
    /// (field index, column index) of the selected fields, in catalog order.
    columns: Vec<(usize, usize)>,
    seed: i64,
    from: u64,
    to: u64,
    /// With a state every row is updated now; without one its time derives from the seed.
    updated: Option<i64>,
    newest: i64,
}

impl<'a> Walk<'a> {
    fn new(config: &'a Config, kind: Kind, selected: &SelectedStream, resume: Option<&Cursor>) -> Self {
        let field = |name: &str| kind.fields().iter().position(|(n, _)| *n == name);
        let columns =
            selected.columns.iter().enumerate().filter_map(|(i, c)| Some((field(&c.name)?, i))).collect();
        let to = if kind == Kind::Products { config.count.min(products::COUNT) } else { config.count };
        let offset = resume.and_then(|r| r.loop_offset).unwrap_or(if resume.is_some() { to } else { 0 });
        let unfinished = offset < to;
        let from = if unfinished {
            offset
        } else if config.always_updated {
            0
        } else {
            to
        };
        let seed = match (config.seed, resume) {
            (-1, Some(cursor)) => cursor.seed,
            (-1, None) => (RandomState::new().hash_one(SystemTime::now()) >> 1).cast_signed(),
            (seed, _) => seed,
        };
        let updated = (resume.is_some() && !unfinished).then(now_micros);
        Self { config, kind, columns, seed, from, to, updated, newest: i64::MIN }
    }

    fn run(mut self, resume: Option<Cursor>, out: &mut StreamEmitter<Cursor>) -> Result<()> {
        let rows = self.to - self.from;
        out.estimate(Some(rows.cast_signed()), Some((rows * self.kind.bytes()).cast_signed()))?;
        if rows == 0 {
            return resume.map_or(Ok(()), |cursor| out.checkpoint(&cursor));
        }
        let mut at = self.from;
        while at < self.to {
            let slice_end = at.saturating_add(self.config.records_per_slice).min(self.to);
            for index in at..slice_end {
                self.write(index, out)?;
            }
            at = slice_end;
            // A state at each slice would cost more than the rows; the kit picks among them.
            out.checkpoint(&self.cursor(at, resume.as_ref()))?;
        }
        Ok(())
    }

    fn cursor(&self, at: u64, resume: Option<&Cursor>) -> Cursor {
        let mut text = Vec::new();
        // The cursor never goes back, even when no row of this run was newer.
        write_timestamp(&mut text, self.newest, false);
        text.extend_from_slice(b"+00:00");
        let mut updated_at = String::from_utf8(text).unwrap_or_default();
        if let Some(earlier) = resume
            && earlier.updated_at > updated_at
        {
            updated_at.clone_from(&earlier.updated_at);
        }
        Cursor { seed: self.seed, updated_at, loop_offset: Some(at) }
    }

    fn write(&mut self, index: u64, out: &mut StreamEmitter<Cursor>) -> Result<()> {
        match self.kind {
            Kind::Users => {
                let (created, updated, random) = self.times(1, index);
                let mut row = out.row();
                users::write(&mut row, &self.columns, index + 1, created, updated, random);
                row.end()
            }
            Kind::Products => {
                let (created, updated, _) = self.times(2, index);
                let mut row = out.row();
                products::write(&mut row, &self.columns, index + 1, created, updated);
                row.end()
            }
            Kind::Purchases => purchases::ids_of(index).try_for_each(|id| {
                let (created, updated, random) = self.times(3, id);
                let mut row = out.row();
                purchases::write(&mut row, &self.columns, id, index, created, updated, random);
                row.end()
            }),
        }
    }

    fn times(&mut self, salt: u64, row: u64) -> (i64, i64, Random) {
        let mut random = Random::of_row(self.seed, salt, row);
        let created = EPOCH + random.below(SPREAD_SECS).cast_signed() * 1_000_000;
        let later = random.below(YEAR_SECS).cast_signed() * 1_000_000;
        let updated = self.updated.unwrap_or(created + later);
        self.newest = self.newest.max(updated);
        (created, updated, random)
    }
}

/// Whole seconds, as the invented times.
fn now_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(EPOCH, |d| d.as_secs().cast_signed() * 1_000_000)
}
