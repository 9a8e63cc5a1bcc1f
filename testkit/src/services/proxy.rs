//! A way to a server that breaks where a test wants it to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
}

#[derive(Debug, Default)]
struct Shared {
    rule: Mutex<Option<Rule>>,
    cuts: AtomicUsize,
    ended: AtomicBool,
}

impl Shared {
    fn rule(&self) -> MutexGuard<'_, Option<Rule>> {
        self.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a chunk that a client sends meets the rule, which then is used up.
    fn met(&self, chunk: &[u8]) -> Option<Cut> {
        let mut rule = self.rule();
        let open = rule.as_mut()?;
        if !chunk.windows(open.text.len()).any(|w| w == open.text) {
            return None;
        }
        if open.pass > 0 {
            open.pass -= 1;
            return None;
        }
        rule.take().map(|rule| rule.cut)
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
        *self.shared.rule() = Some(Rule { text: text.as_bytes().to_vec(), cut, pass });
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

fn connect(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) {
    let both = |a: &TcpStream, b: &TcpStream| Some((a.try_clone().ok()?, b.try_clone().ok()?));
    let (Some((from_client, to_server)), Some((to_client, from_server))) =
        (both(&client, &server), both(&client, &server))
    else {
        return;
    };
    let swallow = Arc::new(AtomicBool::new(false));
    let (shared, their_swallow) = (Arc::clone(shared), Arc::clone(&swallow));
    std::thread::spawn(move || forth(from_client, to_server, &shared, &their_swallow));
    std::thread::spawn(move || back(from_server, to_client, &swallow));
}

fn forth(mut client: TcpStream, mut server: TcpStream, shared: &Shared, swallow: &AtomicBool) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(length @ 1..) = client.read(&mut chunk) {
        let cut = shared.met(&chunk[..length]);
        if cut.is_some() {
            shared.cuts.fetch_add(1, Ordering::Relaxed);
        }
        if cut == Some(Cut::Before) {
            break;
        }
        if cut == Some(Cut::After) {
            swallow.store(true, Ordering::SeqCst);
        }
        if server.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    end(&client, &server);
}

fn back(mut server: TcpStream, mut client: TcpStream, swallow: &AtomicBool) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(length @ 1..) = server.read(&mut chunk) {
        if swallow.load(Ordering::SeqCst) || client.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    end(&client, &server);
}

fn end(client: &TcpStream, server: &TcpStream) {
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
