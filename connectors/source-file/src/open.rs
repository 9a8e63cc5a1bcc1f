//! From the config to a stream of bytes or text.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use connector_kit::{Result, Stop};

use files_kit::{Blocks, Options, error};

use crate::config::{Config, Provider};
use crate::http;
use crate::sftp::{self, Proof};
use crate::signature::{self, Signer};

/// What is known of the file before it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    config: Config,
    stop: Stop,
    /// For messages: the path or address as configured, without what may be secret in it.
    pub(crate) shown: String,
}

impl Location {
    pub(crate) fn new(config: &Config, stop: &Stop) -> Self {
        let shown = match &config.provider {
            Provider::Local {} => config.url.clone(),
            Provider::S3 { .. } => format!("s3://{}", plain(&config.url)),
            Provider::Gcs { .. } => format!("gs://{}", plain(&config.url)),
            Provider::Ssh(server) | Provider::Scp(server) | Provider::Sftp(server) => {
                format!("sftp://{}/{}", server.host, sftp_path(&config.url).trim_start_matches('/'))
            }
            // A signed address carries its secret in the query, a password stands before the @.
            Provider::Https { .. } => {
                let plain = config.url.split(['?', '#']).next().unwrap_or_default();
                let (scheme, rest) = plain.split_once("://").unwrap_or(("https", plain));
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                format!("{scheme}://{}/{path}", host.rsplit('@').next().unwrap_or(host))
            }
        };
        Self { config: config.clone(), stop: stop.clone(), shown }
    }

    fn path(&self) -> PathBuf {
        let url = self.config.url.trim();
        PathBuf::from(url.strip_prefix("file://").unwrap_or(url))
    }

    fn open_raw(&self) -> io::Result<Box<dyn Read>> {
        match &self.config.provider {
            Provider::Local {} => Ok(Box::new(open_local(&self.path())?)),
            Provider::Https { user_agent, allow_private_addresses } => {
                let settings = http::Settings {
                    user_agent: *user_agent,
                    allow_private: *allow_private_addresses,
                    signer: None,
                    is_object: false,
                    stop: self.stop.clone(),
                };
                let url = http::address(&self.config.url, settings.allow_private)?;
                Ok(Box::new(http::open(url, settings)?))
            }
            Provider::S3 {
                aws_access_key_id,
                aws_secret_access_key,
                region,
                endpoint,
                allow_private_addresses,
            } => {
                let signer = match (aws_access_key_id, aws_secret_access_key) {
                    (Some(id), Some(secret)) if !id.expose().trim().is_empty() => Some(Signer {
                        id: id.expose().to_owned(),
                        secret: secret.clone(),
                        region: region.trim().to_owned(),
                    }),
                    _ => None,
                };
                self.object(
                    &s3_address(&self.config.url, endpoint, region)?,
                    signer,
                    *allow_private_addresses,
                )
            }
            Provider::Gcs { .. } => {
                let (bucket, key) = object_name(&self.config.url)?;
                let address = format!("https://storage.googleapis.com/{bucket}/{}", signature::path(key));
                self.object(&address, None, false)
            }
            Provider::Ssh(server) | Provider::Scp(server) | Provider::Sftp(server) => {
                let proof = match (&server.password, &server.private_key) {
                    (_, Some(key)) => Proof::Key(key.clone()),
                    (Some(password), None) => Proof::Password(password.clone()),
                    (None, None) => return Err(error::bad_content("password or private_key is missing")),
                };
                Ok(Box::new(sftp::open(sftp::Settings {
                    host: server.host.clone(),
                    port: server.port_number().map_err(io::Error::other)?,
                    user: server.user.clone(),
                    proof,
                    host_key: server.host_key.clone(),
                    allow_private: server.allow_private_addresses,
                    path: sftp_path(&self.config.url),
                    stop: self.stop.clone(),
                })?))
            }
        }
    }

    fn object(
        &self,
        address: &str,
        signer: Option<Signer>,
        allow_private: bool,
    ) -> io::Result<Box<dyn Read>> {
        let settings = http::Settings {
            user_agent: false,
            allow_private,
            signer,
            is_object: true,
            stop: self.stop.clone(),
        };
        let url = http::address(address, allow_private)?;
        // A path with dots for folders would be another object's.
        let meant = address.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        if meant != Some(url.path()) {
            return Err(error::bad_content(
                "its key has dots for folders, which addresses cannot have; copy it to another key",
            ));
        }
        Ok(Box::new(http::open(url, settings)?))
    }

    /// The file itself, for formats that are not read from front to back.
    pub(crate) fn open_file(&self) -> Result<File> {
        let open = || match &self.config.provider {
            Provider::Local {} => open_local(&self.path()),
            // Such a format is read from its end, so it is kept on disk meanwhile, in a file without a name.
            _ => {
                let mut spool = tempfile::tempfile()?;
                io::copy(&mut self.open_raw()?, &mut spool)?;
                Ok(spool)
            }
        };
        open().map_err(|e| error::reading(&self.shown, None, e))
    }

    /// The file's text as UTF-8, decompressed, in blocks.
    pub(crate) fn open_text(&self, options: &Options) -> Result<Blocks> {
        let open = || files_kit::open_text(self.open_raw()?, self.config.url.trim(), options);
        open().map_err(|e| error::reading(&self.shown, None, e))
    }
}

/// The bucket and key, without a scheme.
fn plain(url: &str) -> &str {
    let url = url.trim();
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

fn object_name(url: &str) -> io::Result<(&str, &str)> {
    let bucket_ok = |b: &str| {
        (3..=63).contains(&b.len()) && b.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c))
    };
    match plain(url).split_once('/') {
        Some((bucket, key)) if bucket_ok(bucket) && !key.is_empty() => Ok((bucket, key)),
        _ => Err(error::bad_content("url must be the bucket and the key, such as lake/orders/2026.csv")),
    }
}

fn s3_address(url: &str, endpoint: &str, region: &str) -> io::Result<String> {
    let (bucket, key) = object_name(url)?;
    let key = signature::path(key);
    let (endpoint, region) = (endpoint.trim().trim_end_matches('/'), region.trim());
    if !endpoint.is_empty() {
        if !(endpoint.starts_with("https://") || endpoint.starts_with("http://")) {
            return Err(error::bad_content(
                "endpoint must be an address such as https://storage.example.com; other schemes are not supported",
            ));
        }
        return Ok(format!("{endpoint}/{bucket}/{key}"));
    }
    if region.is_empty() || !region.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return Err(error::bad_content("region is no region's name; write it like eu-central-1"));
    }
    // The certificate is for one name in front of the domain.
    Ok(if bucket.contains('.') {
        format!("https://s3.{region}.amazonaws.com/{bucket}/{key}")
    } else {
        format!("https://{bucket}.s3.{region}.amazonaws.com/{key}")
    })
}

/// The path on the server; a scheme and host in front of it are the provider's to say.
fn sftp_path(url: &str) -> String {
    let url = url.trim();
    match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or_else(String::new, |at| rest[at..].to_owned()),
        None => url.to_owned(),
    }
}

fn open_local(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    let kind = file.metadata()?;
    // Opening a directory succeeds; reading it says something less clear.
    if kind.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(file) }
}
