//! Framing: one input buffer that messages are read in, one output buffer, and the caps that keep a
//! lying server from making us allocate.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use connector_kit::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::{closed, violation};
use crate::tls;

/// What the buffer starts with and returns to. Reads fill it, so this is also the largest read. From
/// 32 KiB to 1 MiB all sizes cost the same where the server is the slower side; this one has room for
/// what comes while a row is decoded.
const INPUT: usize = 256 << 10;

/// A buffer that grew beyond this returns to its normal size once the giant message is consumed.
const KEPT: usize = 1 << 20;

/// Before log-in nobody needs long messages.
const STRANGER_CAP: usize = 64 << 10;

/// The cap of every message but those that hold rows.
const CAP: usize = 16 << 20;

/// The server's own limit of a row, 1 GiB, and some framing.
const ROW_CAP: usize = (1 << 30) + 64;

/// What a connection runs over: TCP, TLS, an SSH channel, TLS inside of one.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for T {}

/// A whole message in the input buffer; good until the next [`Wire::fill`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    start: usize,
    end: usize,
}

pub(crate) struct Wire {
    socket: Box<dyn Socket>,
    /// Names the server in errors, `host:port`.
    pub(crate) address: String,
    /// Initialized to its end; received and not consumed is `start..end`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Messages are appended whole, so that a send that was cancelled goes on where it stopped.
    pub(crate) output: BytesMut,
    /// The longest silence while something is awaited.
    pub(crate) silence: Option<Duration>,
    known: bool,
}

impl Wire {
    pub(crate) fn new(socket: Box<dyn Socket>, address: String, silence: Option<Duration>) -> Self {
        let input = vec![0; INPUT];
        Self { socket, address, input, start: 0, end: 0, output: BytesMut::new(), silence, known: false }
    }

    /// Lifts the cap that is for servers nobody has authenticated to.
    pub(crate) fn trust(&mut self) {
        self.known = true;
    }

    /// Takes the next message if it is a whole `CopyData`, which it nearly always is.
    #[inline]
    pub(crate) fn take_copy_data(&mut self) -> Option<Message> {
        let ahead = &self.input[self.start..self.end];
        let [b'd', length @ ..] = ahead.first_chunk::<5>()? else { return None };
        let end = 1 + u32::from_be_bytes(*length) as usize;
        if end < 5 || end > ahead.len() {
            return None;
        }
        let message = Message { tag: b'd', start: self.start + 5, end: self.start + end };
        self.start += end;
        Some(message)
    }

    /// The next message if all of it is here; checks what it announces before anything is awaited.
    pub(crate) fn next(&mut self) -> Result<Option<Message>> {
        let ahead = &self.input[self.start..self.end];
        let Some([tag, length @ ..]) = ahead.first_chunk::<5>() else {
            return match ahead.first() {
                Some(tag) if !is_known(*tag) => Err(self.unknown(*tag)),
                _ => Ok(None),
            };
        };
        let length = u32::from_be_bytes(*length) as usize;
        if !is_known(*tag) {
            return Err(self.unknown(*tag));
        }
        let cap = match tag {
            b'd' | b'D' if self.known => ROW_CAP,
            _ if self.known => CAP,
            _ => STRANGER_CAP,
        };
        if length < 4 || length > cap {
            return Err(self.violation(format!("message {:?} of length {length}", char::from(*tag))));
        }
        if ahead.len() < 1 + length {
            return Ok(None);
        }
        let message = Message { tag: *tag, start: self.start + 5, end: self.start + 1 + length };
        self.start = message.end;
        Ok(Some(message))
    }

    #[inline]
    pub(crate) fn body(&self, message: Message) -> &[u8] {
        &self.input[message.start..message.end]
    }

    /// Waits for the next message. Cancel-safe.
    pub(crate) async fn receive(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = self.next()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// Reads once more. Cancel-safe: what was read is kept, what was not is still in the socket.
    pub(crate) async fn fill(&mut self) -> Result<()> {
        if !self.make_room() {
            return Ok(());
        }
        let read = self.socket.read(&mut self.input[self.end..]);
        let read = match self.silence {
            None => read.await,
            Some(limit) => tokio::time::timeout(limit, read).await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "socketTimeout of `jdbc_url_params` went by"))
            }),
        };
        match read {
            Ok(0) => Err(closed(&self.address)),
            Ok(n) => {
                self.end += n;
                Ok(())
            }
            Err(e) => Err(self.lost(e)),
        }
    }

    /// Room to read into; `false` when the buffer is full of messages that wait to be consumed.
    fn make_room(&mut self) -> bool {
        let waiting = self.end - self.start;
        if self.input.len() > KEPT && waiting < INPUT / 2 {
            let mut normal = vec![0; INPUT];
            normal[..waiting].copy_from_slice(&self.input[self.start..self.end]);
            self.input = normal;
            (self.start, self.end) = (0, waiting);
        } else if waiting < INPUT / 4 || self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, waiting);
        }
        if self.end < self.input.len() {
            return true;
        }
        // Full from its first byte on. Only a message that announced more makes it grow, and only
        // twofold each time that much has really come.
        let announced = match self.input.first_chunk::<5>() {
            Some([_, length @ ..]) => u32::from_be_bytes(*length) as usize + 1,
            None => 0,
        };
        if announced <= self.input.len() {
            return false;
        }
        let size = announced.min(self.input.len() * 2);
        self.input.reserve_exact(size - self.input.len());
        self.input.resize(size, 0);
        true
    }

    /// Sends what is in the output buffer. Cancel-safe: the rest goes with the next flush.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        while self.output.has_remaining() {
            match self.socket.write(&self.output).await {
                Ok(0) => return Err(closed(&self.address)),
                Ok(n) => self.output.advance(n),
                Err(e) => return Err(self.lost(e)),
            }
        }
        let flushed = self.socket.flush().await;
        flushed.map_err(|e| self.lost(e))
    }

    /// Sends what an earlier flush did not, if anything.
    pub(crate) async fn flush_rest(&mut self) -> Result<()> {
        if self.output.is_empty() { Ok(()) } else { self.flush().await }
    }

    pub(crate) fn violation(&self, what: impl Into<String>) -> Error {
        violation(&self.address, what)
    }

    fn unknown(&self, tag: u8) -> Error {
        self.violation(format!("message of unknown type {:?}", char::from(tag)))
    }

    fn lost(&self, e: io::Error) -> Error {
        // TLS 1.3 servers refuse a client's certificate only after the handshake.
        tls::refusal(&e, &self.address)
            .unwrap_or_else(|| {
                Error::transient(format!(
                    "The connection to {} was lost; the sync tries again.",
                    self.address
                ))
            })
            .with_source(e)
    }
}

/// Every message a server may send.
fn is_known(tag: u8) -> bool {
    b"RKSNAEZCDTdcHGWI123nstVv".contains(&tag)
}

#[cfg(test)]
mod tests {
    use super::{INPUT, KEPT, ROW_CAP, Wire};
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    fn pair() -> (DuplexStream, Wire) {
        let (server, client) = duplex(64 << 10);
        let mut wire = Wire::new(Box::new(client), "server:1".into(), None);
        wire.trust();
        (server, wire)
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    #[test]
    fn the_buffer_grows_by_what_has_come_and_not_by_what_is_announced() {
        run(async {
            let (mut server, mut wire) = pair();
            server.write_all(b"d").await.unwrap();
            server.write_all(&(ROW_CAP as u32).to_be_bytes()).await.unwrap();
            let mut received = 5;
            while received < 3 << 20 {
                server.write_all(&[0; 32 << 10]).await.unwrap();
                wire.fill().await.unwrap();
                assert!(wire.take_copy_data().is_none() && wire.next().unwrap().is_none());
                received += 32 << 10;
                assert!(wire.input.len() <= INPUT.max(2 * received));
            }
            drop(server);
            while wire.fill().await.is_ok() {}
            assert!(wire.input.len() <= 8 << 20);
        });
    }

    #[test]
    fn the_buffer_shrinks_after_a_giant_and_nothing_around_it_is_lost() {
        run(async {
            let (mut server, mut wire) = pair();
            let message =
                |n: usize, byte: u8| [&b"d"[..], &(n as u32 + 4).to_be_bytes(), &vec![byte; n]].concat();
            let sizes = [3, 0, 5 << 20, 1, 300_000, 70_000, 2, 2 << 20, 9, 262_139, 262_140, 4];
            let words: Vec<u8> = sizes.iter().zip(1_u8..).flat_map(|(n, byte)| message(*n, byte)).collect();
            let talk = async {
                server.write_all(&words).await.unwrap();
                // As long as this is open the client waits.
                server
            };
            let listen = async {
                let (mut largest, mut got) = (0, 0);
                while got < sizes.len() {
                    let Some(data) = wire.take_copy_data() else {
                        assert!(wire.next().unwrap().is_none());
                        wire.fill().await.unwrap();
                        largest = largest.max(wire.input.len());
                        continue;
                    };
                    let data = wire.body(data);
                    assert!(data.len() == sizes[got] && data.iter().all(|b| usize::from(*b) == got + 1));
                    got += 1;
                }
                assert!(largest > 5 << 20);
                assert!(wire.input.len() <= KEPT);
            };
            tokio::join!(talk, listen);
        });
    }

    #[test]
    fn a_buffer_full_of_messages_waits_to_be_emptied() {
        run(async {
            let (server, mut wire) = pair();
            let feed = async {
                let mut server = server;
                // More than there is room for; it ends when the client does.
                let _ = server.write_all(&b"d\0\0\0\x09hello".repeat(100_000)).await;
            };
            let look = async {
                for _ in 0..1000 {
                    wire.fill().await.unwrap();
                }
                assert_eq!((wire.start, wire.end, wire.input.len()), (0, INPUT, INPUT));
                assert!(wire.take_copy_data().is_some());
                drop(wire);
            };
            tokio::join!(feed, look);
        });
    }
}
