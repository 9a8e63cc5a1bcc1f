//! A file on the web as a stream of bytes: one thread downloads, resuming where a lost
//! connection left off, and the reader's pace holds it back. A body that ends early is
//! never taken for the end of the file.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use connector_kit::{Stop, tracing};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};

use files_kit::error;

use crate::addresses::{Allowed, Checked, Refused};
use crate::body::{Body, Parts};
use crate::signature::Signer;

const MAX_REDIRECTS: usize = 10;
/// Failures in a row, without a byte between them, that end the download.
const MAX_TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const MOST_WAIT: Duration = Duration::from_secs(30);
const CONNECT_TIME: Duration = Duration::from_secs(20);
/// A server that says nothing for this long is taken for dead.
const SILENCE_TIME: Duration = Duration::from_secs(60);

/// How to ask.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) user_agent: bool,
    pub(crate) allow_private: bool,
    /// For object stores: whose requests they are. Only the first address's host is told.
    pub(crate) signer: Option<Signer>,
    /// Whether the file is an object, of a bucket that is in a region.
    pub(crate) is_object: bool,
    pub(crate) stop: Stop,
}

/// The address to ask first; the provider decides the scheme where the config names none.
pub(crate) fn address(url: &str, allow_private: bool) -> io::Result<Url> {
    let url = url.trim();
    let full = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let mut parsed = Url::parse(&full)
        .map_err(|e| error::bad_content(format!("its address is not a URL ({e}); check url")))?;
    check(&parsed, allow_private)?;
    // A shared link shows a page around the file unless it says this.
    if parsed.host_str().is_some_and(|h| h.ends_with("dropbox.com"))
        && parsed.query().is_some_and(|q| q.contains("dl=0"))
    {
        let query = parsed.query().unwrap_or_default().replace("dl=0", "dl=1");
        parsed.set_query(Some(&query));
    }
    Ok(parsed)
}

/// Scheme, and the host where it is an address itself: those are not resolved, so that the
/// resolver would not see them.
fn check(url: &Url, allow_private: bool) -> io::Result<Allowed> {
    let allowed = match (url.scheme(), allow_private) {
        ("https", true) => Allowed::Any,
        ("https", false) => Allowed::Public,
        ("http", true) => Allowed::Private,
        ("http", false) => {
            return Err(error::bad_content(
                "its address begins with http, which anyone on the way can read and change; use https",
            ));
        }
        (other, _) => {
            return Err(error::bad_content(format!("the scheme {other} is not supported; use https")));
        }
    };
    let host = url.host_str().unwrap_or_default();
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) if !allowed.permits(address) => Err(error::bad_content(Refused::by(allowed).0)),
        _ => Ok(allowed),
    }
}

/// Begins the download. Faults show when the body is read.
pub(crate) fn open(url: Url, settings: Settings) -> io::Result<Body> {
    Body::fetch(move |sender| async move { Download::new(url, settings, sender)?.run().await })
}

struct Download {
    start: Url,
    settings: Settings,
    sender: Parts,
    clients: [Option<Client>; 2],
    /// Bytes handed on.
    offset: u64,
    /// What tells this version of the file from another.
    validator: Option<HeaderValue>,
    length: Option<u64>,
}

/// How one attempt ended, other than well.
enum Ended {
    /// For good.
    Failed(io::Error),
    /// It may be tried again, after this long if the server says so.
    Lost(io::Error, Option<Duration>),
    /// Nobody reads any more.
    Unread,
}

impl Download {
    fn new(start: Url, settings: Settings, sender: Parts) -> io::Result<Self> {
        // reqwest looks for the process's provider; a second call finds it set, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self { start, settings, sender, clients: [None, None], offset: 0, validator: None, length: None })
    }

    async fn run(mut self) -> io::Result<()> {
        let mut tries = 1;
        let mut wait = FIRST_WAIT;
        loop {
            let before = self.offset;
            let (fault, asked) = match self.attempt().await {
                Ok(()) | Err(Ended::Unread) => return Ok(()),
                Err(Ended::Failed(fault)) => return Err(fault),
                Err(Ended::Lost(fault, asked)) => (fault, asked),
            };
            if self.offset > before {
                (tries, wait) = (1, FIRST_WAIT);
            }
            if tries >= MAX_TRIES || self.settings.stop.requested() {
                return Err(fault);
            }
            let pause = asked.unwrap_or(wait).min(MOST_WAIT);
            tracing::warn!(
                "The download was interrupted at byte {}: {fault}. Going on in {pause:?} (try {} of {MAX_TRIES}).",
                self.offset,
                tries + 1
            );
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(MOST_WAIT);
            tries += 1;
        }
    }

    /// Asks for what is missing and hands it on.
    async fn attempt(&mut self) -> Result<(), Ended> {
        let mut response = self.ask().await?;
        let mut skip = self.accept(&response)?;
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    let skipped = skip.min(bytes.len() as u64);
                    skip -= skipped;
                    let part = bytes[skipped as usize..].to_vec();
                    if part.is_empty() {
                        continue;
                    }
                    self.offset += part.len() as u64;
                    self.sender.send(Ok(part)).map_err(|_| Ended::Unread)?;
                }
                Ok(None) if skip > 0 || self.length.is_some_and(|l| l != self.offset) => {
                    return Err(lost("the server ended the file before its announced length; try again"));
                }
                Ok(None) => return Ok(()),
                Err(_) if self.offset > 0 && self.validator.is_none() => {
                    return Err(Ended::Failed(error::interrupted(
                        "the connection was lost, and the server gives no ETag by which to go on safely; try again",
                    )));
                }
                Err(e) => return Err(Ended::Lost(transport(&e), None)),
            }
        }
    }

    /// Follows redirects, each checked as the first address was.
    async fn ask(&mut self) -> Result<Response, Ended> {
        let mut url = self.start.clone();
        for _ in 0..=MAX_REDIRECTS {
            let allowed = check(&url, self.settings.allow_private).map_err(Ended::Failed)?;
            let mut request =
                self.client(allowed)?.get(url.clone()).header(header::ACCEPT_ENCODING, "identity");
            if let (true, Some(validator)) = (self.offset > 0, &self.validator) {
                request = request
                    .header(header::RANGE, format!("bytes={}-", self.offset))
                    .header(header::IF_RANGE, validator.clone());
            }
            if let Some(signer) = self.settings.signer.as_ref().filter(|_| same_store(&self.start, &url)) {
                for (name, value) in signer.headers(&url, SystemTime::now()) {
                    request = request.header(name, value);
                }
            }
            let response = request
                .send()
                .await
                .map_err(|e| refused(&e).unwrap_or_else(|| Ended::Lost(transport(&e), None)))?;
            if let Some(region) = other_region(&response, &self.settings) {
                return Err(Ended::Failed(error::bad_content(format!(
                    "its bucket is in the region {region}; set region to it"
                ))));
            }
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
            let next = location.and_then(|l| url.join(l).ok());
            url = next.ok_or_else(|| {
                Ended::Failed(error::bad_content(format!(
                    "the server redirects without an address ({})",
                    response.status()
                )))
            })?;
        }
        Err(Ended::Failed(error::bad_content(format!(
            "the server redirects more than {MAX_REDIRECTS} times; check url"
        ))))
    }

    fn client(&mut self, allowed: Allowed) -> Result<&Client, Ended> {
        let slot = &mut self.clients[usize::from(allowed == Allowed::Private)];
        if slot.is_none() {
            let mut builder = Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .dns_resolver(Checked(allowed))
                .connect_timeout(CONNECT_TIME)
                .read_timeout(SILENCE_TIME);
            if self.settings.user_agent {
                builder = builder.user_agent(concat!("Ferrybyte/", env!("CARGO_PKG_VERSION")));
            }
            *slot = Some(builder.build().map_err(|e| Ended::Failed(io::Error::other(e)))?);
        }
        slot.as_ref().ok_or(Ended::Unread)
    }

    /// Whether the answer is the file, and how many of its bytes we have already.
    fn accept(&mut self, response: &Response) -> Result<u64, Ended> {
        let headers = response.headers();
        let status = response.status();
        let found = validator(headers);
        match status {
            StatusCode::PARTIAL_CONTENT if self.offset > 0 => {
                let range =
                    headers.get(header::CONTENT_RANGE).and_then(|r| r.to_str().ok()).unwrap_or_default();
                if range.starts_with(&format!("bytes {}-", self.offset)) {
                    Ok(0)
                } else {
                    Err(Ended::Failed(error::interrupted(
                        "the server answered with another part than was asked for; try again",
                    )))
                }
            }
            StatusCode::OK if self.offset > 0 => {
                // No ranges, or another version.
                if found.is_some() && found == self.validator {
                    Ok(self.offset)
                } else {
                    Err(Ended::Failed(error::interrupted("the file changed while it was read; try again")))
                }
            }
            StatusCode::OK => {
                self.validator = found;
                self.length = response.content_length();
                Ok(0)
            }
            _ => Err(unwanted(status, headers, &self.settings)),
        }
    }
}

/// A strong ETag; a weak one allows bytes to differ, and a date two versions in a second.
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(header::ETAG).filter(|tag| tag.as_bytes().first() == Some(&b'"')).cloned()
}

fn lost(what: &str) -> Ended {
    Ended::Lost(error::interrupted(what), None)
}

/// Whether a redirect stays with those whom the signature is for.
fn same_store(first: &Url, then: &Url) -> bool {
    let amazon = |url: &Url| url.host_str().is_some_and(|h| h.ends_with(".amazonaws.com"));
    then.scheme() == first.scheme()
        && ((then.host_str() == first.host_str() && then.port() == first.port())
            || (amazon(first) && amazon(then)))
}

/// Where the bucket is, if a store says that it is elsewhere than asked.
fn other_region(response: &Response, settings: &Settings) -> Option<String> {
    if !settings.is_object || !matches!(response.status().as_u16(), 301 | 400) {
        return None;
    }
    let region = response.headers().get("x-amz-bucket-region")?.to_str().ok()?;
    Some(region.to_owned())
}

fn unwanted(status: StatusCode, headers: &HeaderMap, settings: &Settings) -> Ended {
    let says = format!("the server answers {status}");
    match status.as_u16() {
        408 | 425 | 429 | 500..=599 => {
            let after = headers
                .get(header::RETRY_AFTER)
                .and_then(|v| v.to_str().ok())
                .and_then(|v| v.trim().parse().ok());
            Ended::Lost(
                error::interrupted(format!("{says}; try again later")),
                after.map(Duration::from_secs),
            )
        }
        400 | 401 | 403 if settings.signer.is_some() => Ended::Failed(error::bad_content(format!(
            "{says}; check aws_access_key_id, aws_secret_access_key and what they may read"
        ))),
        401 | 403 | 407 => Ended::Failed(error::bad_content(format!(
            "{says}; the file is not public, or the address lacks its credentials"
        ))),
        404 | 410 => Ended::Failed(error::bad_content(format!("{says}; check url"))),
        _ => Ended::Failed(error::bad_content(format!("{says}, which is not the file; check url"))),
    }
}

fn causes<'e>(e: &'e reqwest::Error) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(e.source(), |cause: &&'e (dyn StdError + 'static)| (*cause).source())
}

/// What no further try can change: an address that is not allowed, a certificate that is not trusted.
fn refused(e: &reqwest::Error) -> Option<Ended> {
    if let Some(refused) = causes(e).find_map(|cause| cause.downcast_ref::<Refused>()) {
        return Some(Ended::Failed(error::bad_content(refused.0)));
    }
    let text = causes(e).map(ToString::to_string).find(|text| text.contains("certificate"))?;
    Some(Ended::Failed(error::bad_content(format!(
        "its server cannot prove who it is ({text}); check url, or let this machine trust its authority"
    ))))
}

fn transport(e: &reqwest::Error) -> io::Error {
    // The innermost cause says most, and has no address with secrets in it.
    let cause = causes(e).last().map_or_else(|| "connection lost".to_owned(), ToString::to_string);
    let what = if e.is_timeout() { "the server does not answer in time" } else { "the connection failed" };
    error::interrupted(format!("{what} ({cause}); check url and the network, then try again"))
}
