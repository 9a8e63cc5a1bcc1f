//! What goes wrong between a client and a store, as a test wants it: a proxy that sees each
//! request and may answer it itself, swallow the store's answer, or cut it short.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// No request or answer of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than the head of any request has.
const MOST_HEAD: usize = 64 << 10;

/// A request, without its body.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `PUT` and the like.
    pub method: String,
    /// The path with its query, as sent.
    pub target: String,
    /// The header lines, as sent.
    pub headers: String,
    /// How many requests came before it.
    pub number: usize,
}

impl Asked {
    /// Whether it is a request of this method whose target holds all of these.
    #[must_use]
    pub fn is(&self, method: &str, parts: &[&str]) -> bool {
        self.method == method && parts.iter().all(|part| self.target.contains(part))
    }
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// It reaches the store, and the answer comes back.
    Pass,
    /// It never reaches the store; this status with S3's XML of this code comes back, and with 200 an empty body.
    Answer(u16, &'static str),
    /// It reaches the store, and its answer is replaced by this one.
    Swallow(u16, &'static str),
    /// It reaches the store, and the connection is lost after so many bytes of the answer's body.
    Cut(usize),
    /// It never reaches the store: the connection is lost.
    Refuse,
}

type Rule = dyn Fn(&Asked) -> Action + Send + Sync;

/// A proxy in front of a store. Signatures stay valid, since requests are passed on as they are.
pub struct FaultyStore {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    seen: Arc<Mutex<Vec<Asked>>>,
    swallowed: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl std::fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyStore").field("port", &self.port).finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// Puts it in front of the store at `port`.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn before(port: u16, rule: impl Fn(&Asked) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("its address").port();
        let (seen, ended) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(AtomicBool::new(false)));
        let swallowed = Arc::<AtomicUsize>::default();
        let proxy = Self {
            port: own,
            seen: Arc::clone(&seen),
            swallowed: Arc::clone(&swallowed),
            ended: Arc::clone(&ended),
        };
        let rule: Arc<Rule> = Arc::new(rule);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (rule, seen, swallowed) = (Arc::clone(&rule), Arc::clone(&seen), Arc::clone(&swallowed));
                std::thread::spawn(move || serve(client, port, &rule, &seen, &swallowed));
            }
        });
        proxy
    }

    /// Its address.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far.
    ///
    /// # Panics
    /// When a connection's thread panicked.
    #[must_use]
    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().expect("no thread panicked").clone()
    }

    /// How many requests of [`Action::Swallow`] the store is done with.
    #[must_use]
    pub fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::Relaxed)
    }
}

impl Drop for FaultyStore {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for clients.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// One request per connection: simple, and a client has to cope with it.
fn serve(
    mut client: TcpStream,
    port: u16,
    rule: &Arc<Rule>,
    seen: &Mutex<Vec<Asked>>,
    swallowed: &AtomicUsize,
) -> Option<()> {
    client.set_read_timeout(Some(PATIENCE)).ok()?;
    let (head, mut body) = read_head(&mut client)?;
    let text = String::from_utf8_lossy(&head).into_owned();
    let (line, headers) = text.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let asked = {
        let mut seen = seen.lock().ok()?;
        let asked = Asked { method, target, headers: headers.to_owned(), number: seen.len() };
        seen.push(asked.clone());
        asked
    };
    let action = rule(&asked);
    if matches!(action, Action::Refuse) {
        return client.shutdown(Shutdown::Both).ok();
    }
    if header(headers, "expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let length: usize = header(headers, "content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let had = body.len();
    body.resize(length.max(had), 0);
    client.read_exact(&mut body[had..]).ok()?;
    if let Action::Answer(status, code) = action {
        return client.write_all(&error(&asked, status, code)).ok();
    }
    let kept = headers.split("\r\n").filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !line.is_empty() && !name.eq_ignore_ascii_case("connection") && !name.eq_ignore_ascii_case("expect")
    });
    let mut request = format!("{line}\r\nconnection: close\r\n");
    kept.for_each(|line| request.push_str(&format!("{line}\r\n")));
    let request = [request.as_bytes(), b"\r\n", &body].concat();
    let answer = exchange(port, &request);
    match action {
        Action::Swallow(status, code) => {
            swallowed.fetch_add(1, Ordering::Relaxed);
            client.write_all(&error(&asked, status, code)).ok()
        }
        Action::Cut(bytes) => {
            let body = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
            client.write_all(&answer[..answer.len().min(body + bytes)]).ok()?;
            client.shutdown(Shutdown::Both).ok()
        }
        _ => client.write_all(&answer).ok(),
    }
}

/// Sends a request that asks for the connection to be closed, and returns the whole answer.
pub(super) fn exchange(port: u16, request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)) {
        let _ = server.set_read_timeout(Some(PATIENCE));
        let _ = server.write_all(request);
        let _ = server.read_to_end(&mut answer);
    }
    answer
}

fn read_head(client: &mut TcpStream) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while bytes.len() < MOST_HEAD {
        let n = client.read(&mut chunk).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            bytes.truncate(end);
            return Some((bytes, body));
        }
    }
    None
}

fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    headers.split("\r\n").find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn error(asked: &Asked, status: u16, code: &str) -> Vec<u8> {
    let body = if asked.method == "HEAD" || status == 200 {
        String::new()
    } else {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
        )
    };
    format!(
        "HTTP/1.1 {status} Test\r\netag: \"none\"\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
