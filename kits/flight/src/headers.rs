//! What goes into the headers of every call, and what comes back in them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

use crate::settings::{Login, Settings};

/// Cookies, and bytes of each, that a server may have us keep.
const MOST_COOKIES: usize = 64;
const LONGEST_COOKIE: usize = 4 << 10;

/// The headers of a session as it stands.
#[derive(Default)]
pub(crate) struct Headers {
    /// `Basic …` until the server has given a token, `Bearer …` from then on.
    authorization: Option<MetadataValue<Ascii>>,
    cookies: BTreeMap<String, String>,
}

// A derived one would show the token.
impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Headers").field("cookies", &self.cookies.len()).finish_non_exhaustive()
    }
}

impl Headers {
    /// Before the log-in. `None` when the secret holds what no header can.
    pub(crate) fn of(login: &Login) -> Option<Self> {
        let text = match login {
            Login::Password { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())))
            }
            Login::Token(token) => format!("Bearer {}", token.expose().trim()),
        };
        let mut value: MetadataValue<Ascii> = text.parse().ok()?;
        value.set_sensitive(true);
        Some(Self { authorization: Some(value), cookies: BTreeMap::new() })
    }

    /// Writes them, with the session's properties, into a call.
    pub(crate) fn write(&self, settings: &Settings, call: &mut MetadataMap) {
        if let Some(value) = &self.authorization {
            call.insert("authorization", value.clone());
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if let Ok(value) = pairs.join("; ").parse() {
                call.insert("cookie", value);
            }
        }
        for (name, value) in &settings.properties {
            if let (Ok(name), Ok(value)) = (name.parse::<MetadataKey<Ascii>>(), value.parse()) {
                call.insert(name, value);
            }
        }
    }

    /// Takes a token and cookies from an answer.
    pub(crate) fn read(&mut self, answer: &MetadataMap) {
        let bearer = |v: &&MetadataValue<Ascii>| v.to_str().is_ok_and(|t| t.starts_with("Bearer "));
        if let Some(value) = answer.get("authorization").filter(bearer) {
            let mut value = value.clone();
            value.set_sensitive(true);
            self.authorization = Some(value);
        }
        for cookie in answer.get_all("set-cookie").iter().filter_map(|v| v.to_str().ok()) {
            self.set_cookie(cookie);
        }
    }

    fn set_cookie(&mut self, text: &str) {
        let mut parts = text.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let (name, value) = (name.trim(), value.trim());
        let is_over = parts.any(|part| part.eq_ignore_ascii_case("max-age=0"));
        if is_over || value.is_empty() {
            self.cookies.remove(name);
        } else if !name.is_empty()
            && name.len() + value.len() <= LONGEST_COOKIE
            && (self.cookies.len() < MOST_COOKIES || self.cookies.contains_key(name))
        {
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;
    use crate::settings::{Login, Settings, Tls};
    use connector_kit::Secret;
    use std::time::Duration;
    use tonic::metadata::MetadataMap;

    fn settings() -> Settings {
        Settings {
            host: "h".into(),
            port: 1,
            tls: Tls::Off,
            login: Login::Password { user: "u".into(), password: Secret::from("pä:ss".to_owned()) },
            properties: vec![("schema".into(), "a.b".into()), ("bad name".into(), "x".into())],
            connect_timeout: Duration::ZERO,
            statement_timeout: Duration::ZERO,
        }
    }

    fn sent(headers: &Headers) -> MetadataMap {
        let mut map = MetadataMap::new();
        headers.write(&settings(), &mut map);
        map
    }

    #[test]
    fn the_password_goes_first_and_the_servers_token_from_then_on() {
        let mut headers = Headers::of(&settings().login).unwrap();
        assert_eq!(sent(&headers).get("authorization").unwrap(), "Basic dTpww6Q6c3M=");
        assert_eq!(sent(&headers).get("schema").unwrap(), "a.b");
        let mut answer = MetadataMap::new();
        answer.insert("authorization", "Bearer t0k".parse().unwrap());
        headers.read(&answer);
        assert_eq!(sent(&headers).get("authorization").unwrap(), "Bearer t0k");
        assert!(!format!("{headers:?}").contains("t0k"));
    }

    #[test]
    fn cookies_are_echoed_replaced_and_dropped() {
        let mut headers = Headers::of(&Login::Token(Secret::from(" pat \n".to_owned()))).unwrap();
        assert_eq!(sent(&headers).get("authorization").unwrap(), "Bearer pat");
        let mut answer = MetadataMap::new();
        for cookie in ["a=1; Path=/; HttpOnly", "b=2", "junk", "=3"] {
            answer.append("set-cookie", cookie.parse().unwrap());
        }
        headers.read(&answer);
        assert_eq!(sent(&headers).get("cookie").unwrap(), "a=1; b=2");
        let mut answer = MetadataMap::new();
        answer.append("set-cookie", "a=9".parse().unwrap());
        answer.append("set-cookie", "b=; Max-Age=0".parse().unwrap());
        headers.read(&answer);
        assert_eq!(sent(&headers).get("cookie").unwrap(), "a=9");
    }

    #[test]
    fn no_server_makes_us_keep_cookies_without_end() {
        let mut headers = Headers::default();
        for n in 0..1_000 {
            headers.set_cookie(&format!("c{n}=x"));
        }
        headers.set_cookie(&format!("long={}", "x".repeat(100_000)));
        assert_eq!(headers.cookies.len(), super::MOST_COOKIES);
    }

    #[test]
    fn a_secret_that_no_header_can_hold_is_refused() {
        assert!(Headers::of(&Login::Token(Secret::from("a\nb".to_owned()))).is_none());
    }
}
