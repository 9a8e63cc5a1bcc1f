//! The replication connection, on a thread and runtime of its own: it goes on answering the
//! server while the reader is blocked by a slow stdout. Changes are handed over in big
//! buffers of whole messages; a queue item a message would cost more than decoding it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use connector_kit::{Error, Result};
use postgres_kit::{Connection, Endpoint, Lsn, Purpose, quote_identifier, quote_literal};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::pgoutput::{Envelope, status_update};

/// A buffer is handed over once it holds this much …
const BUFFER: usize = 256 << 10;
/// … or when this long nothing came.
const PAUSE: Duration = Duration::from_millis(2);
/// The server sends every message by itself. While they come thick, but little at a time, reading
/// them this much later costs a fraction of the system calls, and of the changes of thread.
const GATHER: Duration = Duration::from_millis(1);
/// What counts as little.
const LITTLE: usize = 32 << 10;
/// Buffers waiting for the reader. With the one being filled and the one being read they bound
/// the memory, except that a buffer may hold one larger message.
const QUEUED: usize = 3;
/// The server gives a silent client up after `wal_sender_timeout`, a minute unless set.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// What to read.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) slot: String,
    pub(crate) publication: String,
}

impl Subscription {
    fn command(&self, from: u64) -> String {
        format!(
            "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {}, messages 'true')",
            quote_identifier(&self.slot),
            Lsn(from),
            // A list of identifiers inside a literal.
            quote_literal(&quote_identifier(&self.publication)),
        )
    }
}

/// What the two threads share.
#[derive(Debug)]
struct Told {
    /// What the server may forget: never more than the reader said.
    flushed: AtomicU64,
    wake: Notify,
    ask: AtomicBool,
    spare: Mutex<Vec<Vec<u8>>>,
}

/// The stream of changes, as the reader has it.
#[derive(Debug)]
pub(crate) struct Wal {
    buffers: mpsc::Receiver<Result<Vec<u8>>>,
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Wal {
    /// Connects and begins to read at `from`. Errors come with the first buffer.
    pub(crate) fn open(
        endpoint: &Endpoint,
        subscription: &Subscription,
        from: u64,
        flushed: u64,
    ) -> Result<Self> {
        let (send, buffers) = mpsc::channel(QUEUED);
        let told = Arc::new(Told {
            flushed: AtomicU64::new(flushed),
            wake: Notify::new(),
            ask: AtomicBool::new(true),
            spare: Mutex::default(),
        });
        let (endpoint, command, theirs) = (endpoint.clone(), subscription.command(from), Arc::clone(&told));
        let thread = std::thread::Builder::new()
            .name("replication".into())
            .spawn(move || run(&endpoint, &command, from, &theirs, send))
            .map_err(|e| Error::system("Cannot start a thread.").with_source(e))?;
        Ok(Self { buffers, told, thread: Some(thread) })
    }

    /// The next buffer; `None` when there was none for that long.
    pub(crate) async fn next(&mut self, patience: Duration) -> Result<Option<Vec<u8>>> {
        match tokio::time::timeout(patience, self.buffers.recv()).await {
            Err(_) => Ok(None),
            Ok(Some(buffer)) => buffer.map(Some),
            Ok(None) => Err(Error::system("The thread that reads the log has ended; please report it.")),
        }
    }

    /// The next buffer, if it is there.
    pub(crate) fn next_now(&mut self) -> Result<Option<Vec<u8>>> {
        self.buffers.try_recv().ok().transpose()
    }

    /// Gives a buffer back to be filled again.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        // One that a large message blew up is not kept.
        if buffer.capacity() <= BUFFER * 2 {
            buffer.clear();
            self.told.spare.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }

    /// Asks the server how far it is.
    pub(crate) fn ask(&self) {
        self.told.ask.store(true, Ordering::Relaxed);
        self.told.wake.notify_one();
    }

    /// Lets the server forget what is before `lsn`: it is in a state that the run said, or began with.
    pub(crate) fn confirm(&self, lsn: u64) {
        if self.told.flushed.fetch_max(lsn, Ordering::Relaxed) < lsn {
            self.told.wake.notify_one();
        }
    }

    /// Tells the server the last confirmed place and frees the slot.
    pub(crate) async fn close(mut self) {
        self.buffers.close();
        let Some(thread) = self.thread.take() else { return };
        // The queue may be full of what nobody wants any more.
        while self.buffers.recv().await.is_some() {}
        // It ends within the bounds of the client's own waits.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

fn run(endpoint: &Endpoint, command: &str, from: u64, told: &Told, buffers: mpsc::Sender<Result<Vec<u8>>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            let error =
                Error::system("Cannot start a runtime for the replication connection.").with_source(e);
            let _ = buffers.blocking_send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let pump = Pump { told, buffers: &buffers, buffer: Vec::new(), written: from, status: [0; 34] };
        if let Err(error) = pump.run(endpoint, command).await {
            let _ = buffers.send(Err(error)).await;
        }
    });
}

struct Pump<'a> {
    told: &'a Told,
    buffers: &'a mpsc::Sender<Result<Vec<u8>>>,
    buffer: Vec<u8>,
    /// The farthest place that was received.
    written: u64,
    status: [u8; 34],
}

impl Pump<'_> {
    async fn run(mut self, endpoint: &Endpoint, command: &str) -> Result<()> {
        let mut connection = endpoint.connect(Purpose::Replication).await?;
        connection.start_replication(command).await?;
        let mut status = interval(STATUS_EVERY);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut came = 0;
            while let Some(message) = connection.next_copy_data()? {
                came += message.len();
                let reply_now = self.take(message)?;
                if self.buffer.len() >= BUFFER {
                    self.hand_over(&mut connection).await?;
                }
                if reply_now {
                    self.report(&mut connection).await?;
                }
            }
            if connection.copy_finished() {
                return Err(Error::transient(
                    "The server ended replication; the sync goes on from the last state.",
                ));
            }
            if (1..LITTLE).contains(&came) {
                // The thread sleeps, not the task: the runtime would be woken by every packet.
                std::thread::sleep(GATHER);
            }
            let silent = sleep_until(Instant::now() + PAUSE);
            tokio::select! {
                biased;
                () = self.buffers.closed() => break,
                () = self.told.wake.notified() => self.report(&mut connection).await?,
                _ = status.tick() => self.report(&mut connection).await?,
                filled = connection.fill() => filled?,
                () = silent, if !self.buffer.is_empty() => self.hand_over(&mut connection).await?,
            }
        }
        self.report(&mut connection).await?;
        connection.end_replication().await
    }

    /// Adds a message to the buffer; says whether the server wants an answer now.
    fn take(&mut self, message: &[u8]) -> Result<bool> {
        if self.buffer.capacity() == 0 {
            let spare = self.told.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
            self.buffer = spare.unwrap_or_else(|| Vec::with_capacity(BUFFER + BUFFER / 4));
        }
        let (place, reply_now) = match Envelope::parse(message)? {
            Envelope::Data { start, payload } => {
                write_entry(&mut self.buffer, start, payload);
                (start, false)
            }
            Envelope::KeepAlive { end, reply_now } => {
                write_keep_alive(&mut self.buffer, end);
                (end, reply_now)
            }
        };
        self.written = self.written.max(place);
        Ok(reply_now)
    }

    /// Waits for room in the queue, and keeps the server content meanwhile.
    async fn hand_over(&mut self, connection: &mut Connection) -> Result<()> {
        let mut status = interval(STATUS_EVERY);
        status.tick().await;
        loop {
            let permit = tokio::select! {
                biased;
                permit = self.buffers.reserve() => permit,
                () = self.told.wake.notified() => {
                    self.report(connection).await?;
                    continue;
                }
                _ = status.tick() => {
                    self.report(connection).await?;
                    continue;
                }
            };
            // Nobody reads any more: the loop above ends.
            if let Ok(permit) = permit {
                permit.send(Ok(std::mem::take(&mut self.buffer)));
            } else {
                self.buffer.clear();
            }
            return Ok(());
        }
    }

    async fn report(&mut self, connection: &mut Connection) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ask = self.told.ask.swap(false, Ordering::Relaxed);
        let flushed = self.told.flushed.load(Ordering::Relaxed);
        let micros = i64::try_from(now.as_micros()).unwrap_or(0);
        self.status = status_update(self.written.max(flushed), flushed, micros, ask);
        connection.send_copy_data(&self.status).await
    }
}

/// One message in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Message {
        start: u64,
        payload: &'a [u8],
    },
    /// The server has decoded, and sent us what concerns us of, everything before this.
    KeepAlive {
        end: u64,
    },
}

const KEEP_ALIVE: u32 = u32::MAX;

pub(crate) fn write_entry(buffer: &mut Vec<u8>, start: u64, payload: &[u8]) {
    buffer.extend_from_slice(&start.to_le_bytes());
    // The client takes no message of more than a GiB and a bit.
    buffer.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    buffer.extend_from_slice(payload);
}

pub(crate) fn write_keep_alive(buffer: &mut Vec<u8>, end: u64) {
    buffer.extend_from_slice(&end.to_le_bytes());
    buffer.extend_from_slice(&KEEP_ALIVE.to_le_bytes());
}

/// Takes the first entry off.
#[inline]
pub(crate) fn next_entry<'a>(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
    let (place, after) = rest.split_first_chunk::<8>()?;
    let (length, after) = after.split_first_chunk::<4>()?;
    let (place, length) = (u64::from_le_bytes(*place), u32::from_le_bytes(*length));
    if length == KEEP_ALIVE {
        *rest = after;
        return Some(Entry::KeepAlive { end: place });
    }
    let (payload, after) = after.split_at_checked(length as usize)?;
    *rest = after;
    Some(Entry::Message { start: place, payload })
}

#[cfg(test)]
mod tests {
    use super::{Entry, Subscription, next_entry, write_entry, write_keep_alive};

    #[test]
    fn a_buffer_gives_its_messages_back_in_order() {
        let mut buffer = Vec::new();
        write_entry(&mut buffer, 7, b"abc");
        write_keep_alive(&mut buffer, 9);
        write_entry(&mut buffer, 0, b"");
        let mut rest = buffer.as_slice();
        assert_eq!(next_entry(&mut rest), Some(Entry::Message { start: 7, payload: b"abc" }));
        assert_eq!(next_entry(&mut rest), Some(Entry::KeepAlive { end: 9 }));
        assert_eq!(next_entry(&mut rest), Some(Entry::Message { start: 0, payload: b"" }));
        assert_eq!(next_entry(&mut rest), None);
    }

    #[test]
    fn odd_names_are_quoted_twice_where_they_must_be() {
        let subscription = Subscription { slot: "s".into(), publication: "it's \"P\"".into() };
        assert_eq!(
            subscription.command(0x16_0000_00FF),
            r#"START_REPLICATION SLOT "s" LOGICAL 16/FF (proto_version '1', publication_names '"it''s ""P"""', messages 'true')"#
        );
    }
}
