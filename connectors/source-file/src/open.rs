//! From the config to a stream of bytes or text.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use connector_kit::{Result, Stop};

use files_kit::{Blocks, Options, error};

use crate::config::{Config, Provider};
use crate::http;

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
        let shown = match config.provider {
            Provider::Local {} => config.url.clone(),
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
                    stop: self.stop.clone(),
                };
                let url = http::address(&self.config.url, settings.allow_private)?;
                Ok(Box::new(http::open(url, settings)?))
            }
        }
    }

    /// The file itself, for formats that are not read from front to back.
    pub(crate) fn open_file(&self) -> Result<File> {
        let open = || match &self.config.provider {
            Provider::Local {} => open_local(&self.path()),
            // Such a format is read from its end, so it is kept on disk meanwhile, in a file without a name.
            Provider::Https { .. } => {
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

fn open_local(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    let kind = file.metadata()?;
    // Opening a directory succeeds; reading it says something less clear.
    if kind.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(file) }
}
