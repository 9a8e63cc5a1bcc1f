//! The config, as users write it.

use std::time::Duration;

use connector_kit::{Error, Result, Secret};
use flight_kit::{Login, Settings, Tls};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::staging::Staging;

/// A Dremio, and where in it tables are made.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Config {
    /// The name or address of the coordinator, or data.dremio.cloud.
    #[schemars(example = &"dremio.example.com")]
    pub(crate) host: String,
    /// The port of Arrow Flight: 32010, or 443 for Dremio Cloud.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1), example = 32010)]
    pub(crate) port: u16,
    /// A project of Dremio Cloud, by its id; or the source or space that the dataset is in, for those who write the two
    /// apart: "lake" with the dataset "production" is the same as the dataset "lake.production".
    #[serde(default)]
    #[schemars(example = &"lake")]
    pub(crate) project: Option<String>,
    /// The folder in which tables are made, as a path with dots from the source on. A part that has a dot in its name is put
    /// into double quotes. A stream's namespace becomes a folder below it.
    #[schemars(title = "Dataset", example = &"lake.production")]
    pub(crate) dataset: String,
    /// The user to log in as. Not needed with a personal access token.
    #[serde(default)]
    pub(crate) username: Option<String>,
    /// The password of that user.
    #[serde(default)]
    pub(crate) password: Option<Secret>,
    /// A personal access token, instead of a password.
    #[serde(default)]
    #[schemars(title = "Personal Access Token")]
    pub(crate) personal_access_token: Option<Secret>,
    /// How Dremio is reached.
    #[serde(default)]
    #[expect(dead_code, reason = "there is one, which the schema checks")]
    pub(crate) connection_type: ConnectionType,
    /// Whether the connection is encrypted. Dremio Cloud always is.
    #[serde(default)]
    #[schemars(title = "SSL")]
    pub(crate) ssl: bool,
    /// The certificate of the authority that signed the server's, as PEM. Left out, it has to be one that this machine trusts.
    #[serde(default)]
    #[schemars(title = "CA Certificate", extend("multiline" = true))]
    pub(crate) ca_certificate: Option<String>,
    /// Take the server's word for who it is, whatever its certificate says. Whoever can get in between can then read the
    /// password and the rows.
    #[serde(default)]
    #[schemars(title = "Accept any certificate")]
    pub(crate) disable_certificate_verification: bool,
    /// A folder in a store that Dremio has as a source, too. Rows are then put there as Parquet and loaded by COPY INTO, which is
    /// much faster than INSERT. Leave it out to need nothing but Dremio.
    #[serde(default)]
    pub(crate) staging: Option<Staging>,
    /// What becomes of a row that the source deleted, for streams that are deduplicated and read by change data capture.
    /// Hard delete removes it. Soft delete keeps it, with the time of its deletion in `_ab_cdc_deleted_at`.
    #[serde(default)]
    #[schemars(title = "CDC deletion mode")]
    pub(crate) cdc_deletion_mode: CdcDeletionMode,
    /// The queue of Dremio's workload management that statements are put into.
    #[serde(default)]
    pub(crate) routing_queue: Option<String>,
    /// How many kilobytes of rows, as JSON, go into one INSERT. Every INSERT is a commit with files of its own, so larger
    /// ones make fewer files; Dremio needs a multiple of it in memory to plan them.
    #[serde(default = "default_statement_size")]
    #[schemars(title = "Size of an INSERT", range(min = 1, max = 16_384))]
    pub(crate) insert_size_kb: u32,
    /// After how many megabytes of rows, as JSON, of a stream they are merged, where they are deduplicated, and the state is
    /// committed. A merge rewrites every file that it touches, so larger is cheaper, and a failure repeats more.
    #[serde(default = "default_commit_size")]
    #[schemars(title = "Size of a commit", range(min = 1, max = 65_536))]
    pub(crate) commit_size_mb: u32,
    /// For how long a statement may run, in seconds.
    #[serde(default = "default_statement_timeout")]
    #[schemars(range(min = 1, max = 86_400))]
    pub(crate) statement_timeout_secs: u32,
    /// For how long to wait, in seconds, while Dremio says that it cannot now: an engine that starts, a full queue, another
    /// commit to the same table.
    #[serde(default = "default_busy_wait")]
    #[schemars(range(min = 0, max = 86_400))]
    pub(crate) busy_wait_secs: u32,
    /// After the connection was lost in the middle of a statement, for how long, in seconds, the statement may still begin to
    /// run. Only then is it sent again, if its rows are not there.
    #[serde(default = "default_lost_answer_wait")]
    #[schemars(range(min = 0, max = 3_600))]
    pub(crate) lost_answer_wait_secs: u32,
}

/// The only one there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum ConnectionType {
    #[default]
    #[serde(rename = "Arrow Flight")]
    ArrowFlight,
}

/// What becomes of rows that the source deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum CdcDeletionMode {
    #[default]
    #[serde(rename = "Hard delete")]
    Hard,
    #[serde(rename = "Soft delete")]
    Soft,
}

fn default_port() -> u16 {
    32_010
}
fn default_statement_size() -> u32 {
    1_024
}
fn default_commit_size() -> u32 {
    256
}
fn default_statement_timeout() -> u32 {
    1_800
}
fn default_busy_wait() -> u32 {
    600
}
fn default_lost_answer_wait() -> u32 {
    30
}

fn given(text: Option<&String>) -> Option<&str> {
    text.map(|t| t.trim()).filter(|t| !t.is_empty())
}

impl Config {
    /// Where to connect, and as whom.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let host = self.host.trim();
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(Error::config(
                "host is the server's name or address alone, without a scheme or a path; set it so.",
            ));
        }
        let filled = |s: &Option<Secret>| s.clone().filter(|s| !s.expose().trim().is_empty());
        let login = match (
            filled(&self.personal_access_token),
            given(self.username.as_ref()),
            filled(&self.password),
        ) {
            (Some(token), _, None) => Login::Token(token),
            (None, Some(user), Some(password)) => Login::Password { user: user.to_owned(), password },
            (Some(_), _, Some(_)) => {
                return Err(Error::config(
                    "password and personal_access_token are both set; leave one of them out.",
                ));
            }
            (None, ..) => {
                return Err(Error::config(
                    "There is nobody to log in as: set username and password, or personal_access_token.",
                ));
            }
        };
        let tls = match (self.ssl, self.disable_certificate_verification) {
            (false, _) if given(self.ca_certificate.as_ref()).is_some() => {
                return Err(Error::config(
                    "ca_certificate is set although ssl is false; set ssl to true, or leave the certificate out.",
                ));
            }
            (false, _) => Tls::Off,
            (true, true) => Tls::Unverified,
            (true, false) => Tls::Verified(given(self.ca_certificate.as_ref()).map(str::to_owned)),
        };
        let mut properties = Vec::new();
        if let Some(queue) = given(self.routing_queue.as_ref()) {
            properties.push(("routing_queue".to_owned(), queue.to_owned()));
        }
        if let Some(id) = self.cloud_project() {
            properties.push(("project_id".to_owned(), id.to_owned()));
        }
        Ok(Settings {
            host: host.to_owned(),
            port: self.port,
            tls,
            login,
            properties,
            connect_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(self.statement_timeout_secs.into()),
        })
    }

    /// Projects of Dremio Cloud are told by UUIDs, which nobody calls a source.
    fn cloud_project(&self) -> Option<&str> {
        given(self.project.as_ref()).filter(|p| {
            p.len() == 36
                && p.bytes().enumerate().all(|(i, b)| {
                    if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() }
                })
        })
    }

    /// The folder for tables, part by part.
    pub(crate) fn folder(&self) -> Result<Vec<String>> {
        let mut parts = match given(self.project.as_ref()) {
            Some(project) if self.cloud_project().is_none() => path("project", project)?,
            _ => Vec::new(),
        };
        let dataset = path("dataset", &self.dataset)?;
        if !dataset.starts_with(&parts) {
            parts.extend(dataset);
            return Ok(parts);
        }
        Ok(dataset)
    }

    /// Whether deleted rows are removed.
    pub(crate) fn deletes(&self) -> bool {
        self.cdc_deletion_mode == CdcDeletionMode::Hard
    }
}

/// Reads `a."b.c".d`.
fn path(key: &str, text: &str) -> Result<Vec<String>> {
    let bad = |why: &str| {
        Error::config(format!("{key} is a path with dots, such as lake.production, and {why}; mend it."))
    };
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"').ok_or_else(|| bad("a quotation mark in it is not closed"))?;
                (&quoted[..end], &quoted[end + 1..])
            }
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if part.trim().is_empty() {
            return Err(bad("a part of it is empty"));
        }
        if part.contains(|c: char| c == '"' || c.is_control()) {
            return Err(bad("a part of it has a quotation mark or a control character"));
        }
        parts.push(part.trim().to_owned());
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(parts),
            None => return Err(bad("a part that is quoted is followed by something else than a dot")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Config;
    use flight_kit::{Login, Tls};
    use serde_json::{Value, json};

    fn config(more: Value) -> Config {
        let mut config = json!({"host": "h", "dataset": "lake.production", "username": "u", "password": "p"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn the_users_own_config_is_understood() {
        let config = config(json!({"port": 32010, "project": "lake", "dataset": "production", "ssl": false,
            "connection_type": "Arrow Flight"}));
        let settings = config.settings().unwrap();
        assert!(matches!(settings.tls, Tls::Off) && matches!(settings.login, Login::Password { .. }));
        assert_eq!(
            (settings.port, config.folder().unwrap()),
            (32_010, vec!["lake".to_owned(), "production".into()])
        );
        assert!(config.deletes());
    }

    #[test]
    fn a_path_is_read_part_by_part() {
        for (project, dataset, expected) in [
            ("", "lake.production", vec!["lake", "production"]),
            ("lake", "lake.production", vec!["lake", "production"]),
            ("lake", "production", vec!["lake", "production"]),
            ("", "\"my.lake\" . x", vec![]),
            ("", "\"my.lake\".x", vec!["my.lake", "x"]),
            ("0b5e4a3c-1111-2222-3333-444455556666", "space", vec!["space"]),
            ("", "a..b", vec![]),
            ("", "a.", vec![]),
            ("", "\"a", vec![]),
        ] {
            let folder = config(json!({"project": project, "dataset": dataset})).folder();
            match folder {
                Ok(folder) => assert_eq!(folder, expected, "{dataset}"),
                Err(error) => assert!(expected.is_empty() && error.message().contains("dataset"), "{error}"),
            }
        }
    }

    #[test]
    fn a_project_of_the_cloud_goes_along_as_a_header() {
        let id = "0b5e4a3c-1111-2222-3333-444455556666";
        let settings = config(json!({"project": id, "routing_queue": "q"})).settings().unwrap();
        assert_eq!(
            settings.properties,
            [("routing_queue".to_owned(), "q".to_owned()), ("project_id".into(), id.into())]
        );
    }

    #[test]
    fn what_cannot_work_is_told_with_its_key() {
        for (more, names) in [
            (json!({"host": "http://h"}), "host"),
            (json!({"password": ""}), "personal_access_token"),
            (json!({"personal_access_token": "t"}), "personal_access_token"),
            (json!({"ca_certificate": "pem"}), "ca_certificate"),
        ] {
            let error = config(more).settings().unwrap_err();
            assert!(error.message().contains(names), "{error}");
        }
        let token =
            config(json!({"password": null, "username": null, "personal_access_token": "t", "ssl": true}));
        assert!(matches!(token.settings().unwrap().login, Login::Token(_)));
        assert!(matches!(token.settings().unwrap().tls, Tls::Verified(None)));
    }
}
