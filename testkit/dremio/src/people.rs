//! Who may: passwords, tokens, and the sessions that cookies tell apart.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tonic::Status;
use tonic::metadata::MetadataMap;

/// Some clients pad base64 and some do not.
const EITHER: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(crate) const COOKIE: &str = "arrow_flight_session_id";

/// What a call may see and what its answer's headers say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pass {
    /// The session's schema, part by part.
    pub(crate) context: Vec<String>,
    pub(crate) token: Option<String>,
    pub(crate) cookie: Option<String>,
}

#[derive(Debug, Default)]
struct Token {
    session: Option<String>,
    /// How many more calls it is good for.
    left: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    tokens: HashMap<String, Token>,
    sessions: HashMap<String, Vec<String>>,
    /// What a new token is good for.
    lifetime: Option<usize>,
    made: usize,
    logins: usize,
    calls: usize,
}

#[derive(Debug)]
pub(crate) struct People {
    demand_cookies: bool,
    state: Mutex<State>,
}

impl People {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new(demand_cookies: bool) -> Self {
        Self { demand_cookies, state: Mutex::default() }
    }

    /// Every token that was handed out, and its session, is good for nothing from now on.
    pub(crate) fn expire(&self) {
        let mut state = self.state();
        state.tokens.clear();
        state.sessions.clear();
    }

    /// Tokens handed out from now on are good for so many calls.
    pub(crate) fn lifetime(&self, calls: Option<usize>) {
        self.state().lifetime = calls;
    }

    /// How often somebody has logged in with a password.
    pub(crate) fn logins(&self) -> usize {
        self.state().logins
    }

    pub(crate) fn calls(&self) -> usize {
        self.state().calls
    }

    pub(crate) fn admit(&self, headers: &MetadataMap) -> Result<Pass, Status> {
        let mut state = self.state();
        state.calls += 1;
        let header = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut pass = Pass::default();
        let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
        let token = if scheme.eq_ignore_ascii_case("basic") {
            let token = state.log_in(rest)?;
            pass.token = Some(token.clone());
            token
        } else if scheme.eq_ignore_ascii_case("bearer") {
            rest.to_owned()
        } else {
            return Err(Status::unauthenticated("Unable to authenticate user. No credentials."));
        };
        state.use_up(&token)?;
        let cookie = cookie(headers).filter(|cookie| state.sessions.contains_key(cookie));
        let had = state.tokens.get(&token).and_then(|token| token.session.clone());
        match cookie {
            Some(cookie) => pass.context.clone_from(&state.sessions[&cookie]),
            None if had.is_some() && self.demand_cookies => {
                return Err(Status::unauthenticated("The session's cookie is missing."));
            }
            // As a load balancer would have it: another session, without the first one's properties.
            None => {
                let id = state.next("session");
                let schema = headers.get("schema").and_then(|value| value.to_str().ok()).unwrap_or_default();
                pass.context = parts(schema);
                state.sessions.insert(id.clone(), pass.context.clone());
                state.tokens.entry(token).or_default().session = Some(id.clone());
                pass.cookie = Some(format!("{COOKIE}={id}; Path=/; HttpOnly"));
            }
        }
        Ok(pass)
    }
}

impl State {
    fn next(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{what}-{:08}", self.made)
    }

    fn log_in(&mut self, encoded: &str) -> Result<String, Status> {
        self.logins += 1;
        let wrong = || {
            Status::unauthenticated("Unable to authenticate user. Login failed: Invalid username or password")
        };
        let decoded = EITHER.decode(encoded).map_err(|_| wrong())?;
        let text = String::from_utf8(decoded).map_err(|_| wrong())?;
        let (user, password) = text.split_once(':').ok_or_else(wrong)?;
        if user != crate::Dremio::USER || ![crate::Dremio::PASSWORD, crate::Dremio::TOKEN].contains(&password)
        {
            return Err(wrong());
        }
        let token = self.next("a-bearer-token-that-must-appear-nowhere");
        let left = self.lifetime;
        self.tokens.insert(token.clone(), Token { session: None, left });
        Ok(token)
    }

    fn use_up(&mut self, token: &str) -> Result<(), Status> {
        let known = match self.tokens.get_mut(token) {
            Some(Token { left: Some(0), .. }) => false,
            Some(Token { left, .. }) => {
                *left = left.map(|left| left - 1);
                true
            }
            None => token == crate::Dremio::TOKEN,
        };
        if known {
            Ok(())
        } else {
            Err(Status::unauthenticated("Unable to authenticate user. Token expired or invalid."))
        }
    }
}

fn cookie(headers: &MetadataMap) -> Option<String> {
    headers
        .get_all("cookie")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.trim_matches('"').to_owned())
}

/// `a."b.c".d`
fn parts(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in path.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c => parts.last_mut().expect("at least one").push(c),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}
