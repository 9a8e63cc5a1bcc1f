//! The config, with the keys of Airbyte's Postgres source in both its generations.

use std::collections::BTreeSet;
use std::time::Duration;

use connector_kit::{Error, Result, Secret};
use postgres_kit::{Endpoint, Params, SslMode, TunnelMethod};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A PostgreSQL database, and how to read it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Config {
    /// The name or address of the server.
    #[schemars(example = "db.example.com")]
    pub(crate) host: String,
    /// The port of the server.
    #[schemars(extend("default" = 5432), example = 5432)]
    pub(crate) port: u16,
    /// The name of the database.
    #[schemars(title = "Database Name")]
    pub(crate) database: String,
    /// The schemas to read, in upper and lower case as the server lists them. With an empty list all schemas are read
    /// that the user may use.
    #[schemars(extend("uniqueItems" = true, "minItems" = 0))]
    #[serde(default = "public")]
    pub(crate) schemas: Vec<String>,
    /// The user to log in as.
    pub(crate) username: String,
    /// The password of that user.
    pub(crate) password: Option<Secret>,
    /// Further parameters of the connection in the form that the JDBC driver takes, key=value pairs separated by &.
    /// Understood are connectTimeout, loginTimeout, socketTimeout, ApplicationName, options, currentSchema and
    /// tcpKeepAlive; others are named in a warning.
    #[schemars(title = "JDBC URL Parameters", example = "connectTimeout=10&ApplicationName=sync")]
    pub(crate) jdbc_url_params: Option<String>,
    /// Whether and how the connection is encrypted. Left out, it is encrypted if the server can.
    #[schemars(title = "SSL Mode")]
    pub(crate) ssl_mode: Option<SslMode>,
    /// How changes are found in incremental syncs. Left out, it is Standard.
    #[schemars(title = "Update Method")]
    pub(crate) replication_method: Option<ReplicationMethod>,
    /// Log in by an Entra service principal of Azure. Not supported yet; use a password.
    #[serde(default)]
    pub(crate) entra_service_principal_auth: bool,
    /// The tenant of the service principal.
    #[expect(dead_code, reason = "see entra_service_principal_auth")]
    pub(crate) entra_tenant_id: Option<String>,
    /// The client id of the service principal.
    #[expect(dead_code, reason = "see entra_service_principal_auth")]
    pub(crate) entra_client_id: Option<String>,
    /// Whether to reach the server through an SSH server, and how to log in there.
    #[schemars(title = "SSH Tunnel Method")]
    pub(crate) tunnel_method: Option<TunnelMethod>,
    /// How often, in seconds, a sync makes its progress known at least. It does so every few seconds here, so this has no
    /// effect.
    #[schemars(range(min = 1), title = "Checkpoint Target Time Interval")]
    #[serde(default = "checkpoint_seconds")]
    #[expect(dead_code, reason = "the kit says states more often than any value of it")]
    pub(crate) checkpoint_target_interval_seconds: u32,
    /// The most connections that a sync opens at a time. A second one makes reading large tables faster, and loads the
    /// server more. Left out, one connection reads.
    #[schemars(range(min = 1, max = 64), title = "Max Concurrent Queries to Database")]
    pub(crate) max_db_connections: Option<u32>,
    /// Whether tables that the user may not read are left out of the catalog and named by check. Off, every table is in
    /// the catalog, and reading one without privilege fails.
    #[schemars(title = "Check Table and Column Access Privileges")]
    #[serde(default = "yes")]
    pub(crate) check_privileges: bool,
}

/// How changes are found.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "method")]
pub(crate) enum ReplicationMethod {
    /// Reads inserts, updates and deletes from the server's write-ahead log. It needs a replication slot and a
    /// publication.
    #[serde(rename = "CDC")]
    #[schemars(title = "Read Changes using Write-Ahead Log (CDC)")]
    Cdc(Cdc),
    /// Finds new and changed rows by the xmin system column. Deletes are not seen.
    #[schemars(title = "Detect Changes with Xmin System Column")]
    Xmin {},
    /// Finds new and changed rows by a column of the user's choice, such as the time of the last update. Deletes are not
    /// seen.
    #[schemars(title = "Scan Changes with User Defined Cursor")]
    Standard {},
}

/// The options of change data capture.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Cdc {
    /// The logical decoding plugin of the slot; pgoutput is part of PostgreSQL.
    #[serde(default)]
    #[expect(dead_code, reason = "its only value is checked by the schema")]
    pub(crate) plugin: Plugin,
    /// The name of the replication slot, made with the plugin pgoutput in this database, for this connection alone.
    pub(crate) replication_slot: String,
    /// The name of the publication that holds the tables.
    pub(crate) publication: String,
    /// How many seconds a sync waits for the first change at most.
    #[schemars(range(min = 120, max = 7200), title = "Initial Waiting Time in Seconds (Advanced)")]
    #[serde(default = "initial_waiting_seconds")]
    pub(crate) initial_waiting_seconds: u32,
    /// How many changes may wait in memory. Memory is bounded in bytes here, so this has no effect.
    #[schemars(range(min = 1000, max = 10000), title = "Size of the Queue (Advanced)")]
    #[serde(default = "queue_size")]
    #[expect(dead_code, reason = "accepted for the sake of configs that have it")]
    pub(crate) queue_size: u32,
    /// When the server is told that it may discard what was read from its log. After loading is safe against the loss of
    /// anything that was under way; while reading frees the server's disk earlier, and a sync that fails then has to
    /// start over.
    #[schemars(title = "LSN Commit Behaviour")]
    #[serde(default)]
    pub(crate) lsn_commit_behaviour: LsnCommitBehaviour,
    /// A statement that writes something to the database while changes are read, so that the slot moves on although only
    /// tables outside of the publication change. The table that it writes to has to be in the publication.
    #[schemars(
        title = "Debezium Heartbeat Query (Advanced)",
        example = "INSERT INTO heartbeat (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET at = now()"
    )]
    #[serde(default)]
    pub(crate) heartbeat_action_query: String,
    /// What happens when the slot no longer has the changes since the last sync. Fail sync leaves the decision to you.
    /// Re-sync data reads all tables again.
    #[schemars(title = "Invalid CDC Position Behavior (Advanced)")]
    #[serde(default)]
    pub(crate) invalid_cdc_cursor_position_behavior: InvalidPosition,
    /// After how many hours the initial load of a table is interrupted, so that changes are read and the server can
    /// discard its log; the next sync goes on with the load.
    #[schemars(range(min = 4, max = 24), title = "Initial Load Timeout in Hours (Advanced)")]
    #[serde(default = "initial_load_timeout_hours")]
    pub(crate) initial_load_timeout_hours: u32,
    /// How many seconds Debezium may take to end. There is no Debezium here, so this has no effect.
    #[schemars(range(min = 1), title = "Debezium Engine Shutdown Timeout in Seconds (Advanced)")]
    #[serde(default = "shutdown_timeout_seconds")]
    #[expect(dead_code, reason = "accepted for the sake of configs that have it")]
    pub(crate) debezium_shutdown_timeout_seconds: u32,
}

/// The plugins read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Plugin {
    #[default]
    Pgoutput,
}

/// When the slot moves on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum LsnCommitBehaviour {
    #[serde(rename = "While reading Data")]
    WhileReading,
    #[default]
    #[serde(rename = "After loading Data in the destination")]
    AfterLoading,
}

/// What to do when the slot is ahead of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum InvalidPosition {
    #[default]
    #[serde(rename = "Fail sync")]
    Fail,
    #[serde(rename = "Re-sync data")]
    Resync,
}

fn public() -> Vec<String> {
    vec!["public".to_owned()]
}

fn checkpoint_seconds() -> u32 {
    300
}

fn initial_waiting_seconds() -> u32 {
    1200
}

fn queue_size() -> u32 {
    10_000
}

fn initial_load_timeout_hours() -> u32 {
    8
}

fn shutdown_timeout_seconds() -> u32 {
    60
}

fn yes() -> bool {
    true
}

/// Makes of a config written for Airbyte's source what the schema has: the newer generation
/// spells two SSL modes with an underscore, and a slot and a publication mean CDC whatever
/// `method` says, because a form that was switched over may leave the old word.
pub(crate) fn adapt(config: &mut Value) {
    if let Some(mode) = config.pointer_mut("/ssl_mode/mode")
        && let Some("verify_ca" | "verify_full") = mode.as_str()
    {
        *mode = mode.as_str().unwrap_or_default().replace('_', "-").into();
    }
    if let Some(Value::Object(method)) = config.get_mut("replication_method")
        && ["replication_slot", "publication"]
            .iter()
            .all(|key| method.get(*key).is_some_and(|v| !v.is_null()))
    {
        method.insert("method".to_owned(), "CDC".into());
    }
}

impl Config {
    /// What the schema cannot say.
    pub(crate) fn validate(&self) -> Result<()> {
        for (key, value) in [("host", &self.host), ("database", &self.database), ("username", &self.username)]
        {
            if value.trim().is_empty() {
                return Err(Error::config(format!("{key} is empty; set it.")));
            }
            if value.contains('\0') {
                return Err(Error::config(format!("{key} holds a NUL character; remove it.")));
            }
        }
        if self.schemas.iter().any(|name| name.is_empty() || name.contains('\0')) {
            return Err(Error::config(
                "schemas holds an empty name, or one with a NUL character; remove it. An empty list means all schemas.",
            ));
        }
        if self.entra_service_principal_auth {
            return Err(Error::config(
                "Logging in by an Entra service principal is not supported yet; set entra_service_principal_auth to false and give the password of a database user.",
            ));
        }
        if let Some(cdc) = self.cdc() {
            cdc.validate(self.ssl_mode.as_ref())?;
        }
        Ok(())
    }

    /// The options of CDC, when that is the method.
    pub(crate) fn cdc(&self) -> Option<&Cdc> {
        match &self.replication_method {
            Some(ReplicationMethod::Cdc(cdc)) => Some(cdc),
            _ => None,
        }
    }

    pub(crate) fn is_xmin(&self) -> bool {
        matches!(self.replication_method, Some(ReplicationMethod::Xmin {}))
    }

    /// Where to connect to.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        let params = Params::parse(self.jdbc_url_params.as_deref().unwrap_or(""))?;
        Ok(Endpoint {
            host: self.host.trim().to_owned(),
            port: self.port,
            database: self.database.clone(),
            user: self.username.clone(),
            password: self.password.clone(),
            ssl: self.ssl_mode.clone().unwrap_or(SslMode::Prefer),
            tunnel: self.tunnel_method.clone().unwrap_or(TunnelMethod::NoTunnel),
            params,
        })
    }

    /// The schemas to read, each once; none means all.
    pub(crate) fn schemas(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        self.schemas.iter().filter(|name| seen.insert(name.as_str())).cloned().collect()
    }
}

impl Cdc {
    fn validate(&self, ssl: Option<&SslMode>) -> Result<()> {
        for (key, name) in [("replication_slot", &self.replication_slot), ("publication", &self.publication)]
        {
            if name.is_empty() || name.contains('\0') {
                return Err(Error::config(format!(
                    "{key} under replication_method is empty, or holds a NUL character; write its name there."
                )));
            }
        }
        // They try twice, with and without TLS, and would do so for every connection of a sync.
        let refused = match ssl {
            Some(SslMode::Allow) => "allow",
            Some(SslMode::Prefer) => "prefer",
            _ => return Ok(()),
        };
        Err(Error::config(format!(
            "With CDC, ssl_mode {refused} is refused; choose require, verify-ca or verify-full, or disable for a server without TLS."
        )))
    }

    /// The longest wait for the first change.
    pub(crate) fn initial_wait(&self) -> Duration {
        Duration::from_secs(self.initial_waiting_seconds.clamp(120, 7200).into())
    }

    /// The longest that a table's first load may take before changes get their turn.
    pub(crate) fn initial_load_timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.initial_load_timeout_hours.clamp(4, 24)) * 3600)
    }

    /// The statement that keeps the slot moving, if there is one.
    pub(crate) fn heartbeat(&self) -> Option<&str> {
        Some(self.heartbeat_action_query.trim()).filter(|sql| !sql.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, InvalidPosition, LsnCommitBehaviour, ReplicationMethod};
    use connector_kit::ErrorKind;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn config(more: Value) -> Config {
        let mut config = json!({"host": "h", "port": 5432, "database": "d", "username": "u"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        super::adapt(&mut config);
        serde_json::from_value(config).unwrap()
    }

    fn cdc(more: Value) -> Config {
        let mut method = json!({"method": "CDC", "replication_slot": "s", "publication": "p"});
        method.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config(json!({"replication_method": method}))
    }

    #[test]
    fn the_shortest_config_reads_the_schema_public_by_cursors() {
        let config = config(json!({}));
        config.validate().unwrap();
        assert_eq!(config.schemas(), ["public"]);
        assert!(config.cdc().is_none() && !config.is_xmin() && config.check_privileges);
        assert!(matches!(config.endpoint().unwrap().ssl, postgres_kit::SslMode::Prefer));
    }

    #[test]
    fn a_slot_and_a_publication_mean_cdc_whatever_the_method_says() {
        for method in ["CDC", "Standard", "Xmin"] {
            let config = cdc(json!({"method": method, "plugin": "pgoutput"}));
            assert_eq!(config.cdc().map(|c| c.replication_slot.as_str()), Some("s"), "{method}");
        }
        let named = config(json!({"replication_method": {"replication_slot": "s", "publication": "p"}}));
        assert!(named.cdc().is_some());
        let leftover = json!({"method": "Xmin", "replication_slot": "s", "publication": null});
        assert!(config(json!({"replication_method": leftover})).is_xmin());
        let standard = config(json!({"replication_method": {"method": "Standard"}}));
        assert!(matches!(standard.replication_method, Some(ReplicationMethod::Standard {})));
    }

    #[test]
    fn both_spellings_of_the_modes_that_verify_are_read() {
        use postgres_kit::SslMode::{VerifyCa, VerifyFull};
        for (word, full) in
            [("verify-ca", false), ("verify_ca", false), ("verify-full", true), ("verify_full", true)]
        {
            let config = config(json!({"ssl_mode": {"mode": word, "ca_certificate": "c"}}));
            let mode = config.ssl_mode.unwrap();
            assert!(matches!((&mode, full), (VerifyFull { .. }, true) | (VerifyCa { .. }, false)), "{word}");
        }
    }

    #[test]
    fn the_options_of_cdc_have_their_defaults() {
        let config = cdc(json!({}));
        config.validate().unwrap();
        let cdc = config.cdc().unwrap();
        assert_eq!(cdc.lsn_commit_behaviour, LsnCommitBehaviour::AfterLoading);
        assert_eq!(cdc.invalid_cdc_cursor_position_behavior, InvalidPosition::Fail);
        assert_eq!(cdc.initial_wait(), Duration::from_secs(1200));
        assert_eq!(cdc.initial_load_timeout(), Duration::from_secs(8 * 3600));
        assert_eq!(cdc.heartbeat(), None);
    }

    #[test]
    fn keys_that_airbyte_never_documented_are_let_pass() {
        let config = config(json!({"is_test": true, "snapshot_mode": "initial_only", "debug_mode": true,
            "use_test_chunk_size": true, "sync_checkpoint_seconds": 1, "sync_checkpoint_records": 1}));
        config.validate().unwrap();
    }

    #[test]
    fn an_empty_list_of_schemas_stays_empty_and_doubles_go() {
        assert!(config(json!({"schemas": []})).schemas().is_empty());
        assert_eq!(config(json!({"schemas": ["B", "a", "B"]})).schemas(), ["B", "a"]);
    }

    #[test]
    fn what_cannot_work_is_told_with_its_key() {
        let secure = |mode: &str| {
            let mut config = cdc(json!({}));
            config.ssl_mode = serde_json::from_value(json!({"mode": mode})).unwrap();
            config
        };
        for (config, names) in [
            (config(json!({"host": " "})), "host"),
            (config(json!({"username": "a\u{0}"})), "username"),
            (config(json!({"schemas": [""]})), "schemas"),
            (config(json!({"entra_service_principal_auth": true})), "entra_service_principal_auth"),
            (cdc(json!({"replication_slot": ""})), "replication_slot"),
            (secure("allow"), "ssl_mode allow"),
            (secure("prefer"), "ssl_mode prefer"),
        ] {
            let error = config.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(names), "{error}");
        }
        secure("require").validate().unwrap();
        secure("disable").validate().unwrap();
    }
}
