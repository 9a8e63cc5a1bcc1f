//! SPEC: how a connector wants to be configured.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::DestinationSyncMode;

/// A connector's specification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorSpecification {
    /// Where the connector is documented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
    /// Where its changes are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changelog_url: Option<String>,
    /// The JSON Schema of the config.
    pub connection_specification: Value,
    /// Destinations only.
    #[serde(rename = "supported_destination_sync_modes", default, skip_serializing_if = "Option::is_none")]
    pub supported_destination_sync_modes: Option<Vec<DestinationSyncMode>>,
    /// Only the major number is compared; `0.x` passes everywhere.
    #[serde(rename = "protocol_version", default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// OAuth: `auth_flow_type`, `predicate_key`, `predicate_value`, `oauth_config_specification`.
    #[serde(rename = "advanced_auth", default, skip_serializing_if = "Option::is_none")]
    pub advanced_auth: Option<Value>,
    /// Members this version does not know, and the deprecated ones; kept.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
