//! The contracts that connectors implement.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use protocol::{DestinationSyncMode, Stream, StreamDescriptor};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::changes::{ChangeEmitter, ChangeStream};
use crate::context::Context;
use crate::emitter::StreamEmitter;
use crate::error::{Error, Result};
use crate::intake::RecordBatch;
use crate::row::Row;
use crate::stream::{SelectedStream, Streams};

/// What sources and destinations have in common.
pub trait Connector: Sized + Send + Sync + 'static {
    /// The config. Its schema becomes the spec: field docs become descriptions, declaration
    /// order becomes `order`, [`crate::Secret`] becomes `airbyte_secret`, an internally
    /// tagged enum becomes a `oneOf` with a const discriminator.
    type Config: DeserializeOwned + JsonSchema + Send;

    /// Equals the crate and the binary, e.g. `source-faker`.
    const NAME: &'static str;
    /// `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;

    /// Rewrites a config of another form that users have, written for an older version or for the connector
    /// that this one mirrors, before it is checked against its schema. Secrets have to end up where the schema
    /// has them: only there are they known as such.
    fn adapt(config: &mut serde_json::Value) {
        let _ = config;
    }

    /// Builds the connector from a config that passed its schema. Checks what a schema
    /// cannot say; opens nothing that `spec` would not need.
    ///
    /// # Errors
    /// [`crate::Error::config`] naming the field.
    fn connect(config: Self::Config, ctx: &Context) -> impl Future<Output = Result<Self>> + Send;

    /// Proves that a sync with this config can work. An error of kind Config or Transient
    /// becomes a FAILED status with its message and exit code 0; a System one fails the command.
    ///
    /// # Errors
    /// With the sentence that tells the user what to mend.
    fn check(&self) -> impl Future<Output = Result<()>> + Send;
}

/// A connector that reads.
pub trait Source: Connector {
    /// How far a stream was read. Its JSON is the stream's state and must stay readable
    /// by all later versions.
    type Cursor: Serialize + DeserializeOwned + Clone + Send + Sync;

    /// All streams with their schemas.
    ///
    /// # Errors
    /// When the source cannot be listed.
    fn discover(&self) -> impl Future<Output = Result<Streams>> + Send;

    /// These streams as they are offered now, in the same order, and for each that is not, why. Asked
    /// once before a read. A source that may have very many streams looks only for those of the
    /// catalog; without this they are looked up in [`discover`](Self::discover).
    ///
    /// # Errors
    /// When the source cannot be asked. A stream's own error leaves the others alone.
    fn offered(
        &self,
        wanted: &[StreamDescriptor],
    ) -> impl Future<Output = Result<Vec<Result<Stream>>>> + Send {
        async { Ok(look_up(&self.discover().await?.collect::<Vec<_>>(), wanted)) }
    }

    /// Reads one stream: rows through [`StreamEmitter::row`], and
    /// [`StreamEmitter::checkpoint`] wherever the stream could resume. The kit decides which
    /// checkpoints become states, and says status, counts and the final state itself.
    ///
    /// `resume` is the cursor of the last state, for incremental streams and for
    /// full-refresh streams marked `is_resumable`. Rows after a checkpoint may be sent
    /// again after a crash; rows before a state that was said never need to be.
    /// Called once per stream, in catalog order.
    ///
    /// # Errors
    /// The stream ends INCOMPLETE, the others go on, and the exit code is not zero. Pass on
    /// errors from `out` unchanged: they may mean that the run was asked to stop.
    fn read(
        &self,
        stream: &SelectedStream,
        resume: Option<Self::Cursor>,
        out: &mut StreamEmitter<Self::Cursor>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Called once after the last stream, also when streams failed: the place to log what the
    /// run cost the system it read from.
    fn finish(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// A source whose streams can share one position, such as a place in a change log. Its main is
/// [`crate::change_source_main`].
pub trait ChangeSource: Source {
    /// How far all streams together were read. Its JSON is the shared part of GLOBAL states
    /// and must stay readable by all later versions.
    type Position: Serialize + DeserializeOwned + Clone + Send + Sync;

    /// Whether this config asks for it; if not, streams are read one by one through [`Source::read`].
    fn shares_position(&self) -> bool;

    /// Reads all streams of the run, those in full refresh too: a run has states of one kind only.
    ///
    /// `position` is that of the state this run goes on from, and each stream holds its own part.
    /// Rows go through [`ChangeEmitter::row`]; [`ChangeEmitter::checkpoint`] at least once, at the end.
    ///
    /// # Errors
    /// Every stream ends INCOMPLETE. For a fault of one stream use [`ChangeEmitter::fail`] and go on.
    fn read_changes(
        &self,
        streams: Vec<ChangeStream<Self::Cursor>>,
        position: Option<Self::Position>,
        out: &mut ChangeEmitter<Self::Position, Self::Cursor>,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// What code that reads one stream needs of an emitter, of either kind.
pub trait StreamOutput<C>: Send {
    /// Begins a record; see [`Row`].
    fn row(&mut self) -> Row<'_>;
    /// See [`StreamEmitter::checkpoint`].
    ///
    /// # Errors
    /// When the run was asked to stop. Pass it on.
    fn checkpoint(&mut self, cursor: &C) -> Result<()>;
    /// Sends what is buffered. Call it before waiting for more rows.
    ///
    /// # Errors
    /// When stdout is closed.
    fn flush(&mut self) -> Result<()>;
    /// Whether the run was asked to stop.
    fn stop_requested(&self) -> bool;
    /// Records sent so far.
    fn records(&self) -> u64;
}

impl<C: Serialize + Clone + Send> StreamOutput<C> for StreamEmitter<C> {
    #[inline]
    fn row(&mut self) -> Row<'_> {
        StreamEmitter::row(self)
    }
    fn checkpoint(&mut self, cursor: &C) -> Result<()> {
        StreamEmitter::checkpoint(self, cursor)
    }
    fn flush(&mut self) -> Result<()> {
        StreamEmitter::flush(self)
    }
    fn stop_requested(&self) -> bool {
        StreamEmitter::stop_requested(self)
    }
    fn records(&self) -> u64 {
        StreamEmitter::records(self)
    }
}

fn look_up(offered: &[Stream], wanted: &[StreamDescriptor]) -> Vec<Result<Stream>> {
    let streams: HashMap<_, _> = offered.iter().map(|s| (s.descriptor(), s)).collect();
    let look_up = |descriptor: &StreamDescriptor| {
        streams.get(descriptor).map(|s| (*s).clone()).ok_or_else(|| {
            let names: Vec<_> = offered.iter().take(20).map(|s| s.descriptor().to_string()).collect();
            Error::config(format!(
                "Stream {descriptor} is in the catalog but not in the source, which has: {}.",
                names.join(", ")
            ))
        })
    };
    wanted.iter().map(look_up).collect()
}

/// When the kit makes a destination's rows durable so that states can be echoed. Streams that are
/// held (see [`Destination::holds`]) are not flushed early: their states wait until `finish` has
/// published them.
#[derive(Clone, Copy, Debug)]
pub struct FlushPolicy {
    /// After this many bytes of record data in a stream.
    pub bytes: u64,
    /// When the oldest state waiting for an echo is this old.
    pub age: Duration,
}

impl Default for FlushPolicy {
    fn default() -> Self {
        Self { bytes: 256 << 20, age: Duration::from_secs(60) }
    }
}

/// A connector that writes.
pub trait Destination: Connector {
    /// Writes one stream.
    type Writer: StreamWriter;
    /// The modes that `spec` offers; others are refused by the kit.
    const SYNC_MODES: &'static [DestinationSyncMode];

    /// Called once before the first `open` with all streams of the catalog, in its order: the
    /// place to settle what depends on all of them, such as names that must stay apart.
    ///
    /// # Errors
    /// Ends the run before anything is written.
    fn prepare(&self, streams: &[SelectedStream]) -> impl Future<Output = Result<()>> + Send {
        let _ = streams;
        async { Ok(()) }
    }

    /// Whether the stream's rows are seen only once [`StreamWriter::finish`] has published them, and
    /// are dropped if that does not come. Such a stream is written anew after a failure, so none of
    /// its states is echoed before it is published.
    fn holds(&self, stream: &SelectedStream) -> bool {
        stream.destination_sync_mode == DestinationSyncMode::Overwrite
    }

    /// Prepares one stream for writing. Called once for every stream of the catalog
    /// before the first record, so that empty streams exist too. Must not disturb rows
    /// that readers see.
    ///
    /// # Errors
    /// Ends the run before anything is written.
    fn open(&self, stream: &SelectedStream) -> impl Future<Output = Result<Self::Writer>> + Send;

    /// How often to flush. Destinations that make one object per flush choose large bytes.
    fn flush_policy(&self) -> FlushPolicy {
        FlushPolicy::default()
    }
}

/// How a stream's input ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The source said that every row was sent: publish, and drop what is replaced.
    Complete,
    /// It did not. Keep what was flushed for the next attempt where the mode allows; rows
    /// that readers saw before stay visible, and nothing is replaced.
    Incomplete,
}

/// Writes one stream. Calls come one at a time, in order: any number of `write`, `flush`
/// and `ended`, then one `finish`.
pub trait StreamWriter: Send {
    /// Takes the rows. Promises nothing about durability.
    ///
    /// # Errors
    /// Ends the run; states not yet echoed never will be.
    fn write(&mut self, batch: &RecordBatch) -> impl Future<Output = Result<()>> + Send;

    /// Returns once every row taken so far would survive a crash. Without new rows it does nothing.
    ///
    /// # Errors
    /// Ends the run.
    fn flush(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// The source says that no more rows of the stream come in this run; it may have told an untruth. The place to give
    /// back memory that only more rows would need, where no `flush` follows soon.
    ///
    /// # Errors
    /// Ends the run.
    fn ended(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Publishes, or leaves the old rows visible; see [`Outcome`]. Always called after a
    /// `flush` that succeeded, except when the run failed; then with `Incomplete`.
    ///
    /// # Errors
    /// The stream's last states are not echoed.
    fn finish(self, outcome: Outcome) -> impl Future<Output = Result<()>> + Send;
}
