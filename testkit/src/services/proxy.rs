//! A way to a server that breaks where a test wants it to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longer than anything of a test takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// When to cut a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server does not get what the client sent.
    Before,
    /// The server gets it and answers; the client does not get the answer.
    After,
}

#[derive(Debug)]
struct Rule {
    text: Vec<u8>,
    cut: Cut,
    /// How many more times the text may pass.
    pass: usize,
    /// The connection is held before it is cut.
    hold: bool,
}

/// Where a connection that is held stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Open,
    Held,
    Released,
}

#[derive(Debug, Default)]
struct Shared {
    rule: Mutex<Option<Rule>>,
    gate: Mutex<Gate>,
    moved: Condvar,
    cuts: AtomicUsize,
    ended: AtomicBool,
}

impl Shared {
    fn rule(&self) -> MutexGuard<'_, Option<Rule>> {
        self.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the gate is such.
    fn until(&self, wanted: Gate) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut gate = self.gate();
        while *gate != wanted {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            gate = self.moved.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn set(&self, state: Gate) {
        *self.gate() = state;
        self.moved.notify_all();
    }

    /// Whether a chunk that a client sends meets the rule, which then is used up.
    fn met(&self, chunk: &[u8]) -> Option<(Cut, bool)> {
        let mut rule = self.rule();
        let open = rule.as_mut()?;
        if !chunk.windows(open.text.len()).any(|w| w == open.text) {
            return None;
        }
        if open.pass > 0 {
            open.pass -= 1;
            return None;
        }
        rule.take().map(|rule| (rule.cut, rule.hold))
    }
}

/// Listens on a port of loopback and passes everything on, both ways, until it meets its rule. What it looks
/// for must not be encrypted.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A way to a port of loopback.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if theirs.ended.load(Ordering::Relaxed) {
                    return;
                }
                // A server that is down refuses; so do we.
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                connect(client, server, &theirs);
            }
        });
        Self { port, shared }
    }

    /// Cuts, once, the connection whose client sends this text after it has passed `pass` times.
    pub fn cut(&self, text: &str, cut: Cut, pass: usize) {
        *self.shared.rule() = Some(Rule { text: text.as_bytes().to_vec(), cut, pass, hold: false });
    }

    /// As [`cut`](Self::cut), but the connection stands still until [`release`](Self::release).
    pub fn hold(&self, text: &str, cut: Cut, pass: usize) {
        *self.shared.gate() = Gate::Open;
        *self.shared.rule() = Some(Rule { text: text.as_bytes().to_vec(), cut, pass, hold: true });
    }

    /// Waits until a connection stands still.
    ///
    /// # Panics
    /// When none does.
    pub fn wait_held(&self) {
        assert!(self.shared.until(Gate::Held), "no client has sent what to wait for");
    }

    /// Cuts the connection that stands still.
    pub fn release(&self) {
        self.shared.set(Gate::Released);
    }

    /// How many connections were cut.
    #[must_use]
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// What becomes of what the server sends.
const PASS: u8 = 0;
const CUT: u8 = 1;
const HOLD: u8 = 2;

fn connect(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) {
    let both = |a: &TcpStream, b: &TcpStream| Some((a.try_clone().ok()?, b.try_clone().ok()?));
    let (Some((from_client, to_server)), Some((to_client, from_server))) =
        (both(&client, &server), both(&client, &server))
    else {
        return;
    };
    let answers = Arc::new(AtomicU8::new(PASS));
    let (shared, their_answers) = (Arc::clone(shared), Arc::clone(&answers));
    let gate = Arc::clone(&shared);
    std::thread::spawn(move || forth(from_client, to_server, &shared, &their_answers));
    std::thread::spawn(move || back(from_server, to_client, &gate, &answers));
}

fn forth(mut client: TcpStream, mut server: TcpStream, shared: &Shared, answers: &AtomicU8) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(length @ 1..) = client.read(&mut chunk) {
        let met = shared.met(&chunk[..length]);
        if met.is_some() {
            shared.cuts.fetch_add(1, Ordering::Relaxed);
        }
        if !matches!(met, Some((Cut::Before, _))) {
            if let Some((_, hold)) = met {
                answers.store(if hold { HOLD } else { CUT }, Ordering::SeqCst);
            }
            if server.write_all(&chunk[..length]).is_err() {
                break;
            }
        }
        match met {
            Some((cut, true)) => {
                if cut == Cut::Before {
                    shared.set(Gate::Held);
                }
                let _ = shared.until(Gate::Released);
                break;
            }
            Some((Cut::Before, false)) => break,
            // The other direction goes on once the server has answered.
            Some((Cut::After, false)) | None => {}
        }
    }
    end(&client, &server);
}

fn back(mut server: TcpStream, mut client: TcpStream, shared: &Shared, answers: &AtomicU8) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(length @ 1..) = server.read(&mut chunk) {
        match answers.load(Ordering::SeqCst) {
            PASS if client.write_all(&chunk[..length]).is_ok() => {}
            HOLD => {
                if *shared.gate() == Gate::Open {
                    shared.set(Gate::Held);
                }
            }
            _ => break,
        }
    }
    end(&client, &server);
}

fn end(client: &TcpStream, server: &TcpStream) {
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
