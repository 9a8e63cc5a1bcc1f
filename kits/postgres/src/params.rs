//! `jdbc_url_params`: what of the JDBC driver's parameters means something here.

use std::time::Duration;

use connector_kit::{Error, Result, tracing};

/// The longest a connection may take to be there, unless the config says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What `jdbc_url_params` sets. Times of the JDBC driver are whole seconds, and 0 is no limit; a
/// connection attempt is limited all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// The longest that connecting may take, log-in included: `connectTimeout` or `loginTimeout`.
    pub connect_timeout: Duration,
    /// The longest silence of the server in the middle of an answer: `socketTimeout`.
    pub socket_timeout: Option<Duration>,
    /// What the server lists the connection as: `ApplicationName`.
    pub application_name: String,
    /// Options for the server, like `-c statement_timeout=0`: `options`.
    pub options: Option<String>,
    /// The search path: `currentSchema`.
    pub current_schema: Option<String>,
    /// Whether the system asks an idle peer for a sign of life: `tcpKeepAlive`.
    pub tcp_keep_alive: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            connect_timeout: CONNECT_TIMEOUT,
            socket_timeout: None,
            application_name: "ferrybyte".into(),
            options: None,
            current_schema: None,
            tcp_keep_alive: true,
        }
    }
}

impl Params {
    /// Reads `key=value` pairs separated by `&`; values may be percent-encoded. What has no meaning
    /// here is named in a warning; what would contradict the config is an error.
    pub fn parse(text: &str) -> Result<Self> {
        let mut params = Self::default();
        let mut without_meaning = Vec::new();
        for pair in text.trim().trim_start_matches('?').split('&').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
                return Err(Error::config(
                    "jdbc_url_params must be formatted as 'key=value' pairs separated by the symbol '&', like connectTimeout=10&ApplicationName=sync; mend it.",
                ));
            };
            let key = key.trim();
            let value = decoded(value).ok_or_else(|| {
                Error::config(format!(
                    "The value of {key} in jdbc_url_params is not percent-encoded rightly; write a % as %25."
                ))
            })?;
            params.set(key, value, &mut without_meaning)?;
        }
        if !without_meaning.is_empty() {
            tracing::warn!(
                "These parameters of jdbc_url_params have no effect here: {}.",
                without_meaning.join(", ")
            );
        }
        Ok(params)
    }

    fn set(&mut self, key: &str, value: String, without_meaning: &mut Vec<String>) -> Result<()> {
        let elsewhere = |name: &str| {
            Err(Error::config(format!(
                "{key} in jdbc_url_params contradicts the config's own `{name}`; remove it there, and set `{name}`."
            )))
        };
        match key {
            "connectTimeout" | "loginTimeout" => {
                if let Some(limit) = seconds(key, &value)? {
                    self.connect_timeout = limit;
                }
            }
            "socketTimeout" => self.socket_timeout = seconds(key, &value)?,
            "ApplicationName" => self.application_name = value,
            "options" => self.options = Some(value),
            "currentSchema" => self.current_schema = Some(value).filter(|v| !v.is_empty()),
            "tcpKeepAlive" => {
                self.tcp_keep_alive = match value.to_ascii_lowercase().as_str() {
                    "true" => true,
                    "false" => false,
                    _ => {
                        return Err(Error::config(
                            "tcpKeepAlive in jdbc_url_params is true or false; mend it.",
                        ));
                    }
                }
            }
            "user" => return elsewhere("username"),
            "password" => return elsewhere("password"),
            "ssl"
            | "sslmode"
            | "sslcert"
            | "sslkey"
            | "sslrootcert"
            | "sslpassword"
            | "sslfactory"
            | "sslhostnameverifier"
            | "sslNegotiation" => return elsewhere("ssl_mode"),
            "PGHOST" | "localSocketAddress" => return elsewhere("host"),
            "PGPORT" => return elsewhere("port"),
            "PGDBNAME" => return elsewhere("database"),
            "replication" => return elsewhere("replication_method"),
            _ => without_meaning.push(key.to_owned()),
        }
        Ok(())
    }
}

fn seconds(key: &str, value: &str) -> Result<Option<Duration>> {
    match value.trim().parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(n) => Ok(Some(Duration::from_secs(n.into()))),
        Err(e) => {
            Err(Error::config(format!("{key} in jdbc_url_params is not a whole number of seconds; mend it."))
                .with_source(e))
        }
    }
}

/// Undoes percent-encoding; a `+` is a space, as in the driver.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::Params;
    use connector_kit::ErrorKind;
    use std::time::Duration;

    #[test]
    fn understands_what_has_a_meaning_here() {
        let params = Params::parse(
            "connectTimeout=5&socketTimeout=60&ApplicationName=my%20sync&options=-c%20statement_timeout=90000&currentSchema=a,b&tcpKeepAlive=false&prepareThreshold=0",
        );
        let expected = Params {
            connect_timeout: Duration::from_secs(5),
            socket_timeout: Some(Duration::from_secs(60)),
            application_name: "my sync".into(),
            options: Some("-c statement_timeout=90000".into()),
            current_schema: Some("a,b".into()),
            tcp_keep_alive: false,
        };
        assert_eq!(params.unwrap(), expected);
        assert_eq!(Params::parse("").unwrap(), Params::default());
        assert_eq!(Params::parse("connectTimeout=0&socketTimeout=0").unwrap(), Params::default());
    }

    #[test]
    fn names_what_is_wrong_and_never_the_value() {
        for (text, names) in [
            ("s3cret", "key=value"),
            ("=s3cret", "key=value"),
            ("a=1&s3cret", "key=value"),
            ("connectTimeout=s3cret", "connectTimeout"),
            ("tcpKeepAlive=s3cret", "tcpKeepAlive"),
            ("options=%zzs3cret", "percent-encoded"),
            ("options=%00s3cret", "percent-encoded"),
            ("password=s3cret", "`password`"),
            ("sslmode=s3cret", "`ssl_mode`"),
            ("sslpassword=s3cret", "`ssl_mode`"),
        ] {
            let error = Params::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let shown = format!("{error} {:?}", error.causes());
            assert!(shown.contains(names) && !shown.contains("s3cret"), "{shown}");
        }
    }
}
