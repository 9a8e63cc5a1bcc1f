//! The config, with the keys of Airbyte's Postgres destination.

use connector_kit::{Error, Result, Secret};
use postgres_kit::{Endpoint, Params, SslMode, TunnelMethod};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// A PostgreSQL database, and how to write it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(extend("groups" = [
    {"id": "connection", "title": "Connection"},
    {"id": "sync_behavior", "title": "Sync Behavior"},
    {"id": "advanced", "title": "Advanced"}
]))]
pub(crate) struct Config {
    /// The name or address of the server.
    #[schemars(example = "db.example.com", extend("group" = "connection"))]
    pub(crate) host: String,
    /// The port of the server.
    #[schemars(extend("default" = 5432, "group" = "connection"), example = 5432)]
    pub(crate) port: u16,
    /// The name of the database.
    #[schemars(title = "Database Name", extend("group" = "connection"))]
    pub(crate) database: String,
    /// The schema for streams that have no namespace. It is made when it is missing.
    #[schemars(
        title = "Default Schema",
        extend("default" = "public", "group" = "connection")
    )]
    pub(crate) schema: String,
    /// The user to log in as.
    #[schemars(extend("group" = "connection"))]
    pub(crate) username: String,
    /// The password of that user.
    #[schemars(extend("group" = "connection"))]
    pub(crate) password: Option<Secret>,
    /// Whether the connection is encrypted, where the SSL mode does not say it: true is the mode require, false is disable.
    #[schemars(title = "SSL Connection", extend("group" = "connection"))]
    pub(crate) ssl: Option<bool>,
    /// How the connection is encrypted. Left out, it is as "SSL Connection" says; without that, encrypted if the server can.
    #[schemars(title = "SSL Mode", extend("group" = "connection"))]
    pub(crate) ssl_mode: Option<SslMode>,
    /// What becomes of a row that the source deleted, for streams that are deduplicated and read by change data capture.
    /// Hard delete removes it. Soft delete keeps it, with the time of its deletion in `_ab_cdc_deleted_at`.
    #[serde(default)]
    #[schemars(title = "CDC deletion mode", extend("group" = "sync_behavior"))]
    pub(crate) cdc_deletion_mode: CdcDeletionMode,
    /// Further parameters of the connection in the form that the JDBC driver takes, key=value pairs separated by &.
    /// Understood are connectTimeout, loginTimeout, socketTimeout, ApplicationName, options and tcpKeepAlive; others are
    /// named in a warning.
    #[schemars(
        title = "JDBC URL Parameters",
        example = "connectTimeout=10&ApplicationName=sync",
        extend("group" = "advanced")
    )]
    pub(crate) jdbc_url_params: Option<String>,
    /// The schema for the table in which this destination notes what it has committed, and for raw tables where they are
    /// asked for.
    #[serde(default = "airbyte_internal")]
    #[schemars(title = "Airbyte Internal Table Dataset Name", extend("group" = "advanced"))]
    pub(crate) raw_data_schema: String,
    /// Write each record whole into a raw table of one JSON column, and make no typed tables.
    #[serde(default)]
    #[schemars(title = "Disable Final Tables", extend("group" = "advanced"))]
    pub(crate) disable_type_dedupe: bool,
    /// Where a table is replaced, drop what depends on it, such as views, with it; each is named in the log. Off, nothing is
    /// dropped: a table on which something depends is emptied and filled again in one transaction instead of being
    /// replaced, which takes longer.
    #[serde(default)]
    #[schemars(title = "Drop tables with CASCADE", extend("group" = "advanced"))]
    pub(crate) drop_cascade: bool,
    /// Numbers keep every digit here whatever this says, so it has no effect.
    #[serde(default)]
    #[schemars(title = "Unconstrained numeric columns", extend("group" = "advanced"))]
    #[expect(dead_code, reason = "a column of fixed precision would round values")]
    pub(crate) unconstrained_number: bool,
    /// Whether to reach the server through an SSH server, and how to log in there.
    #[schemars(title = "SSH Tunnel Method", extend("group" = "connection"))]
    pub(crate) tunnel_method: Option<TunnelMethod>,
    /// Whether records are split into normalized tables. Left out, they are not.
    #[serde(default)]
    #[schemars(extend("group" = "sync_behavior"))]
    pub(crate) normalization: Normalization,
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

/// What is made of records beside or instead of typed tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub(crate) enum Normalization {
    /// One typed table per stream.
    #[default]
    #[schemars(title = "None")]
    None,
    /// A raw table per stream, and from it a table of the stream's fields and one for each array of objects in it.
    #[schemars(title = "Basic")]
    Basic {
        /// Where the fields of a nested object go: "columns" of the table around it, like contact_email, or "tables" of
        /// their own, as Airbyte's normalization did it.
        #[serde(default)]
        nested_objects: NestedObjects,
    },
}

/// Where the fields of a nested object go: into columns of the table around it, like contact_email, or into
/// a table of their own, as Airbyte's normalization did it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NestedObjects {
    // Described words become options of a `oneOf`, which forms cannot show.
    #[default]
    Columns,
    Tables,
}

fn airbyte_internal() -> String {
    "airbyte_internal".to_owned()
}

/// Makes of a config written for Airbyte's destination what the schema has: an null
/// schema is the default one, an empty raw schema likewise, and two SSL modes may be spelled with
/// an underscore.
pub(crate) fn adapt(config: &mut Value) {
    if let Some(mode) = config.pointer_mut("/ssl_mode/mode")
        && let Some("verify_ca" | "verify_full") = mode.as_str()
    {
        *mode = mode.as_str().unwrap_or_default().replace('_', "-").into();
    }
    let Some(config) = config.as_object_mut() else { return };
    if config.get("schema").is_some_and(Value::is_null) {
        config.insert("schema".to_owned(), "public".into());
    }
    // The form of older versions leaves these keys behind, empty.
    for key in ["raw_data_schema", "normalization"] {
        if config.get(key).is_some_and(|value| value.is_null() || *value == "") {
            config.remove(key);
        }
    }
}

impl Config {
    /// What the schema cannot say.
    pub(crate) fn validate(&self) -> Result<()> {
        for (key, value) in [
            ("host", &self.host),
            ("database", &self.database),
            ("schema", &self.schema),
            ("username", &self.username),
            ("raw_data_schema", &self.raw_data_schema),
        ] {
            if value.trim().is_empty() {
                return Err(Error::config(format!("{key} is empty; set it.")));
            }
            if value.contains('\0') {
                return Err(Error::config(format!("{key} holds a NUL character; remove it.")));
            }
        }
        if self.disable_type_dedupe && self.normalization != Normalization::None {
            return Err(Error::config(
                "disable_type_dedupe asks for raw tables only, and normalization for tables made from them; set one of the two.",
            ));
        }
        self.endpoint().map(drop)
    }

    /// Where to connect to.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        let mut params = Params::parse(self.jdbc_url_params.as_deref().unwrap_or(""))?;
        // Every name of ours is written with its schema; Airbyte's connector ignores the parameter, too.
        params.current_schema = None;
        let ssl = match (&self.ssl_mode, self.ssl) {
            (Some(mode), _) => mode.clone(),
            (None, Some(true)) => SslMode::Require,
            (None, Some(false)) => SslMode::Disable,
            (None, None) => SslMode::Prefer,
        };
        Ok(Endpoint {
            host: self.host.trim().to_owned(),
            port: self.port,
            database: self.database.clone(),
            user: self.username.clone(),
            password: self.password.clone(),
            ssl,
            tunnel: self.tunnel_method.clone().unwrap_or(TunnelMethod::NoTunnel),
            params,
        })
    }

    /// Whether deleted rows are removed.
    pub(crate) fn deletes(&self) -> bool {
        self.cdc_deletion_mode == CdcDeletionMode::Hard
    }
}

#[cfg(test)]
mod tests {
    use super::{CdcDeletionMode, Config, NestedObjects, Normalization};
    use connector_kit::ErrorKind;
    use postgres_kit::SslMode;
    use serde_json::{Value, json};

    fn config(more: Value) -> Config {
        let mut config = json!({"host": "h", "port": 5432, "database": "d", "username": "u", "schema": null});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        super::adapt(&mut config);
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn the_shortest_config_writes_typed_tables_to_public() {
        let config = config(json!({"normalization": null, "raw_data_schema": ""}));
        config.validate().unwrap();
        assert_eq!((config.schema.as_str(), config.raw_data_schema.as_str()), ("public", "airbyte_internal"));
        assert!(!config.disable_type_dedupe && !config.drop_cascade && config.deletes());
        assert_eq!(config.normalization, Normalization::None);
        assert!(matches!(config.endpoint().unwrap().ssl, SslMode::Prefer));
    }

    #[test]
    fn the_ssl_mode_says_more_than_the_older_switch() {
        for (more, expected) in [
            (json!({"ssl": false}), "Disable"),
            (json!({"ssl": true}), "Require"),
            (json!({"ssl": false, "ssl_mode": {"mode": "require"}}), "Require"),
            (json!({"ssl": true, "ssl_mode": {"mode": "prefer"}}), "Prefer"),
        ] {
            let ssl = config(more.clone()).endpoint().unwrap().ssl;
            assert_eq!(format!("{ssl:?}"), expected, "{more}");
        }
        let full = config(json!({"ssl_mode": {"mode": "verify_full", "ca_certificate": "c"}}));
        assert!(matches!(full.endpoint().unwrap().ssl, SslMode::VerifyFull { .. }));
    }

    #[test]
    fn options_are_read_as_airbyte_spells_them() {
        let config = config(json!({"cdc_deletion_mode": "Soft delete", "unconstrained_number": true,
            "drop_cascade": true, "normalization": {"mode": "basic", "nested_objects": "tables"},
            "jdbc_url_params": "currentSchema=x&connectTimeout=3"}));
        config.validate().unwrap();
        assert_eq!(config.cdc_deletion_mode, CdcDeletionMode::Soft);
        assert_eq!(config.normalization, Normalization::Basic { nested_objects: NestedObjects::Tables });
        assert_eq!(config.endpoint().unwrap().params.current_schema, None);
    }

    #[test]
    fn what_cannot_work_is_told_with_its_key() {
        for (more, names) in [
            (json!({"host": " "}), "host"),
            (json!({"schema": ""}), "schema"),
            (json!({"username": "a\u{0}"}), "username"),
            (json!({"raw_data_schema": " "}), "raw_data_schema"),
            (json!({"jdbc_url_params": "sslmode=disable"}), "jdbc_url_params"),
            (json!({"disable_type_dedupe": true, "normalization": {"mode": "basic"}}), "disable_type_dedupe"),
        ] {
            let error = config(more).validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(names), "{error}");
        }
    }
}
