//! A session: commands, rows, COPY both ways, replication.

use bytes::BufMut;
use connector_kit::{Error, Result, tracing};
use postgres_protocol::message::frontend;

use crate::cancel::CancelToken;
use crate::error::ServerError;
use crate::row::Row;
use crate::startup::Session;
use crate::wire::{Message, Wire};

/// The most that one query may bring.
const QUERY_CAP: usize = 256 << 20;

/// How many notices may come in answer to one command.
const NOTICES: u32 = 100_000;

/// How much of an outgoing copy is gathered before it is sent.
const OUTGOING: usize = 128 << 10;

/// How long the server may take to end replication.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(30);

/// What may come next on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server waits for a command.
    Ready,
    /// A command runs that hands out no rows by itself.
    Running,
    /// Rows come.
    CopyOut,
    /// Changes come, and feedback goes.
    CopyBoth,
    /// Rows go.
    CopyIn,
    /// All data has come; the server's last word has not.
    CopyEnding,
    /// An error was handed out; the server's readiness is still to come.
    Failed,
    /// The connection is of no use any more.
    Broken,
}

/// A session with a server; made by [`Endpoint::connect`](crate::Endpoint::connect).
pub struct Connection {
    wire: Wire,
    session: Session,
    cancel: CancelToken,
    state: State,
    notices: u32,
    /// It has replicated before.
    streamed: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.wire.address)
            .field("pid", &self.session.pid)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(wire: Wire, session: Session, cancel: CancelToken) -> Self {
        Self { wire, session, cancel, state: State::Ready, notices: 0, streamed: false }
    }

    /// The version as a number, 150018 for 15.18; 0 if the server does not tell.
    #[must_use]
    pub fn server_version(&self) -> u32 {
        self.parameter("server_version").map_or(0, version_number)
    }

    /// The number by which the server's views list this connection.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.session.pid
    }

    /// A parameter that the server reports by itself, such as `in_hot_standby`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.session.parameters.get(name).map(String::as_str)
    }

    /// Whether it is of no use any more: the server hung up, or cannot be understood.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.state == State::Broken
    }

    /// What ends the running command from elsewhere.
    #[must_use]
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Runs statements whose rows, if there are any, nobody wants.
    pub async fn execute(&mut self, sql: &str) -> Result<()> {
        self.begin(sql).await?;
        while let Some(message) = self.answer().await? {
            match message.tag {
                b'T' | b'D' | b'C' | b'I' => {}
                _ => return Err(self.out_of_turn(message)),
            }
        }
        Ok(())
    }

    /// Runs statements and returns their rows, 256 MiB at most.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.begin(sql).await?;
        let mut rows = Vec::new();
        let mut size = 0;
        while let Some(message) = self.answer().await? {
            match message.tag {
                b'D' => {
                    let row = Row::parse(self.wire.body(message)).map_err(|what| self.broken(what))?;
                    size += row.size();
                    rows.push(row);
                    if size > QUERY_CAP {
                        self.state = State::Broken;
                        return Err(Error::system(
                            "The answer to one of our queries is larger than 256 MiB; please report it.",
                        ));
                    }
                }
                b'T' | b'C' | b'I' => {}
                _ => return Err(self.out_of_turn(message)),
            }
        }
        Ok(rows)
    }

    /// Starts `COPY … TO STDOUT`; the rows come by [`next_copy_data`](Self::next_copy_data).
    pub async fn copy_out(&mut self, sql: &str) -> Result<()> {
        self.begin(sql).await?;
        self.enter(b'H', State::CopyOut).await
    }

    /// Starts `START_REPLICATION`, on a connection for replication. Messages come by
    /// [`next_copy_data`](Self::next_copy_data) and go by [`send_copy_data`](Self::send_copy_data). A
    /// connection replicates once.
    pub async fn start_replication(&mut self, sql: &str) -> Result<()> {
        // The server remembers that its side was ended, and ends a second stream at once, silently.
        if self.streamed {
            return Err(Error::system("Replication was started twice on one connection; please report it."));
        }
        self.begin(sql).await?;
        self.enter(b'W', State::CopyBoth).await?;
        self.streamed = true;
        Ok(())
    }

    /// Starts `COPY … FROM STDIN`; the rows go by [`send_copy_data`](Self::send_copy_data), and are
    /// there once [`finish_copy_in`](Self::finish_copy_in) has said so.
    pub async fn copy_in(&mut self, sql: &str) -> Result<()> {
        self.begin(sql).await?;
        self.enter(b'G', State::CopyIn).await
    }

    /// What one `CopyData` holds, as a slice of the receive buffer. `None`: no whole one is here;
    /// either the copy is [finished](Self::copy_finished), or [`fill`](Self::fill) brings more.
    #[inline]
    pub fn next_copy_data(&mut self) -> Result<Option<&[u8]>> {
        let usual = match self.state {
            State::CopyOut | State::CopyBoth => self.wire.take_copy_data(),
            _ => None,
        };
        let message = match usual {
            Some(message) => Some(message),
            None => self.next_copy_event()?,
        };
        Ok(message.map(|message| self.wire.body(message)))
    }

    /// Whether the copy or the replication is over. A copy without an error is complete then.
    #[must_use]
    pub fn copy_finished(&self) -> bool {
        !matches!(self.state, State::CopyOut | State::CopyBoth | State::CopyEnding)
    }

    /// Waits for the server and reads once, 256 KiB at most. Nothing is lost when it is cancelled.
    pub async fn fill(&mut self) -> Result<()> {
        if self.copy_finished() {
            return Err(Error::system("Nothing is being copied on this connection; please report it."));
        }
        let flushed = self.wire.flush_rest().await;
        self.noted(flushed)?;
        let filled = self.wire.fill().await;
        self.noted(filled)
    }

    /// Takes one row, or part of one, for a copy to the server; or one message for replication, which
    /// goes at once. Nothing is lost or sent twice when it is cancelled, but `data` may be on its way.
    pub async fn send_copy_data(&mut self, data: &[u8]) -> Result<()> {
        let Some(length) =
            u32::try_from(data.len()).ok().and_then(|n| n.checked_add(4)).filter(|n| *n < 1 << 30)
        else {
            return Err(Error::system("A row to be copied is larger than the 1 GiB that PostgreSQL takes."));
        };
        let at_once = match self.state {
            State::CopyBoth => true,
            State::CopyIn => false,
            _ => return Err(Error::system("Nothing is being copied on this connection; please report it.")),
        };
        self.wire.output.reserve(data.len() + 5);
        self.wire.output.put_u8(b'd');
        self.wire.output.put_u32(length);
        self.wire.output.put_slice(data);
        if at_once || self.wire.output.len() >= OUTGOING {
            let flushed = self.wire.flush().await;
            return self.noted(flushed);
        }
        Ok(())
    }

    /// Ends a copy to the server; returns how many rows it took.
    pub async fn finish_copy_in(&mut self) -> Result<u64> {
        self.leave_copy_in(|wire| {
            frontend::copy_done(&mut wire.output);
            Ok(())
        })
        .await
    }

    /// Gives a copy to the server up; nothing of it stays.
    pub async fn abandon_copy_in(&mut self, reason: &str) -> Result<()> {
        let reason = reason.replace('\0', " ");
        match self.leave_copy_in(|wire| frontend::copy_fail(&reason, &mut wire.output)).await {
            // query_canceled is how the server says that it did as asked.
            Err(e) if crate::server_error(&e).is_some_and(|e| e.code == "57014") => Ok(()),
            Err(e) => Err(e),
            Ok(_) => Err(self.broken("a copy that was given up and succeeded")),
        }
    }

    /// Ends replication; the connection then takes commands again.
    pub async fn end_replication(&mut self) -> Result<()> {
        if self.state == State::CopyBoth {
            frontend::copy_done(&mut self.wire.output);
            let ended = tokio::time::timeout(GOODBYE, self.drain()).await;
            return ended.unwrap_or_else(|_| {
                self.state = State::Broken;
                Err(Error::transient(format!("{} did not end replication in time.", self.wire.address)))
            });
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        let flushed = self.wire.flush().await;
        self.noted(flushed)?;
        while let Some(message) = self.answer().await? {
            // Changes and keep-alives that were on their way.
            if !matches!(message.tag, b'd' | b'c' | b'C' | b'T' | b'D') {
                return Err(self.out_of_turn(message));
            }
        }
        Ok(())
    }

    async fn leave_copy_in(&mut self, last: impl FnOnce(&mut Wire) -> std::io::Result<()>) -> Result<u64> {
        if self.state != State::CopyIn {
            return Err(Error::system("Nothing is being copied on this connection; please report it."));
        }
        last(&mut self.wire).map_err(|e| Error::system("A copy could not be ended.").with_source(e))?;
        self.state = State::Running;
        let flushed = self.wire.flush().await;
        self.noted(flushed)?;
        let mut rows = 0;
        while let Some(message) = self.answer().await? {
            match message.tag {
                b'C' => rows = tagged_rows(self.wire.body(message)),
                _ => return Err(self.out_of_turn(message)),
            }
        }
        Ok(rows)
    }

    /// Sends a command, once the connection is free for it.
    async fn begin(&mut self, sql: &str) -> Result<()> {
        match self.state {
            State::Ready => {}
            // What is left of a command that failed.
            State::Failed => {
                self.state = State::Running;
                while self.answer().await?.is_some() {}
            }
            State::Broken => {
                return Err(Error::transient(format!(
                    "The connection to {} was lost; the sync tries again.",
                    self.wire.address
                )));
            }
            _ => {
                return Err(Error::system(
                    "A command is still running on this connection; please report it.",
                ));
            }
        }
        let before = self.wire.output.len();
        if let Err(e) = frontend::query(sql, &mut self.wire.output) {
            // It begins to write before it looks.
            self.wire.output.truncate(before);
            let text = "A name or value in the config holds a NUL character, which no SQL can; remove it.";
            return Err(Error::config(text).with_source(e));
        }
        self.notices = 0;
        self.state = State::Running;
        let flushed = self.wire.flush().await;
        self.noted(flushed)
    }

    /// Waits until the server says that a copy of the wanted kind begins.
    async fn enter(&mut self, wanted: u8, state: State) -> Result<()> {
        match self.answer().await? {
            Some(message) if message.tag == wanted => {
                self.state = state;
                Ok(())
            }
            Some(message) => Err(self.out_of_turn(message)),
            None => Err(Error::system("The server ran a copy command without copying; please report it.")),
        }
    }

    /// The next message that means something to the command; `None` once the server is ready again.
    /// An error is returned when the server is ready after it, or has hung up.
    async fn answer(&mut self) -> Result<Option<Message>> {
        let mut failed: Option<ServerError> = None;
        loop {
            let message = match self.wire.receive().await {
                Ok(message) => message,
                Err(e) => {
                    self.state = State::Broken;
                    // The reason that the server gave is better than that it hung up.
                    return Err(failed.map_or(e, ServerError::classify));
                }
            };
            match message.tag {
                b'N' | b'S' | b'A' => self.aside(message)?,
                b'E' => {
                    let Some(error) = ServerError::parse(self.wire.body(message)) else {
                        return Err(self.broken("malformed error"));
                    };
                    if error.is_fatal() {
                        self.state = State::Broken;
                        return Err(error.classify());
                    }
                    failed.get_or_insert(error);
                }
                b'Z' => {
                    self.state = State::Ready;
                    return failed.map_or(Ok(None), |error| Err(error.classify()));
                }
                _ if failed.is_none() => return Ok(Some(message)),
                b'd' | b'D' | b'T' | b'C' | b'c' => {}
                _ => return Err(self.out_of_turn(message)),
            }
        }
    }

    /// Consumes what is not a row, in the middle of a copy from the server, up to the next row.
    #[cold]
    fn next_copy_event(&mut self) -> Result<Option<Message>> {
        while !self.copy_finished() {
            let next = self.wire.next();
            let Some(message) = self.noted(next)? else { return Ok(None) };
            match (message.tag, self.state) {
                (b'd', State::CopyOut | State::CopyBoth) => return Ok(Some(message)),
                (b'N' | b'S' | b'A', _) => self.aside(message)?,
                (b'c', State::CopyOut) => self.state = State::CopyEnding,
                // The server ends replication by itself; it then waits for our end of it.
                (b'c', State::CopyBoth) => {
                    frontend::copy_done(&mut self.wire.output);
                    self.state = State::CopyEnding;
                }
                (b'C', State::CopyBoth | State::CopyEnding) => self.state = State::CopyEnding,
                (b'Z', State::CopyEnding) => self.state = State::Ready,
                (b'E', _) => {
                    let Some(error) = ServerError::parse(self.wire.body(message)) else {
                        return Err(self.broken("malformed error"));
                    };
                    self.state = if error.is_fatal() { State::Broken } else { State::Failed };
                    return Err(error.classify());
                }
                _ => return Err(self.out_of_turn(message)),
            }
        }
        Ok(None)
    }

    /// Notices, parameters and notifications come at any time.
    fn aside(&mut self, message: Message) -> Result<()> {
        let body = self.wire.body(message);
        if message.tag == b'S' && self.session.take_parameter(body).is_none() {
            return Err(self.broken("malformed parameter status"));
        }
        if message.tag == b'N' {
            // Its text may hold values of a row.
            let code = ServerError::parse(body).map(|notice| notice.code);
            tracing::debug!("The server sent a notice, SQLSTATE {}.", code.as_deref().unwrap_or("unknown"));
        }
        self.notices += 1;
        if self.notices > NOTICES {
            return Err(self.broken("notices without end"));
        }
        Ok(())
    }

    /// A connection that failed once is of no use any more.
    fn noted<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.state = State::Broken;
        }
        result
    }

    #[cold]
    fn broken(&mut self, what: &str) -> Error {
        self.state = State::Broken;
        self.wire.violation(what)
    }

    #[cold]
    fn out_of_turn(&mut self, message: Message) -> Error {
        let what = format!("message {:?} out of turn", char::from(message.tag));
        self.broken(&what)
    }
}

/// `15.18 (Debian 15.18-0+deb12u1)` and `16beta1` as numbers of the server's own kind.
fn version_number(text: &str) -> u32 {
    let mut parts = text
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next()
        .unwrap_or("")
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0).min(9999));
    let mut part = || parts.next().unwrap_or(0);
    match part() {
        major @ 0..=9 => major * 10_000 + part().min(99) * 100 + part().min(99),
        major => major * 10_000 + part(),
    }
}

/// How many rows a command tag such as `COPY 12` counts.
fn tagged_rows(tag: &[u8]) -> u64 {
    let tag = tag.strip_suffix(&[0]).unwrap_or(tag);
    let count = std::str::from_utf8(tag).ok().and_then(|tag| tag.rsplit(' ').next()?.parse().ok());
    count.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{tagged_rows, version_number};

    #[test]
    fn reads_versions_of_every_form() {
        for (text, number) in [
            ("15.18 (Debian 15.18-0+deb12u1)", 150_018),
            ("18.0", 180_000),
            ("16beta1", 160_000),
            ("9.6.24", 90_624),
            ("8.0.2", 80_002),
            ("", 0),
            ("x", 0),
            ("99999999999.1", 100),
        ] {
            assert_eq!(version_number(text), number, "{text}");
        }
    }

    #[test]
    fn counts_the_rows_of_a_tag() {
        assert_eq!(tagged_rows(b"COPY 12\0"), 12);
        assert_eq!(tagged_rows(b"COPY\0"), 0);
        assert_eq!(tagged_rows(b"\xff"), 0);
    }
}
