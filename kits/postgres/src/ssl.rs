//! The `ssl_mode` of a config.

use connector_kit::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// How the connection is encrypted, with the meanings that libpq gives these words.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum SslMode {
    /// Never encrypts.
    #[schemars(title = "disable")]
    Disable,
    /// Encrypts only if the server does not let us in without.
    #[schemars(title = "allow")]
    Allow,
    /// Encrypts if the server can.
    #[default]
    #[schemars(title = "prefer")]
    Prefer,
    /// Always encrypts, and takes the server's word for who it is.
    #[schemars(title = "require")]
    Require,
    /// Always encrypts, and wants a certificate that a certain authority has signed.
    #[schemars(title = "verify-ca")]
    #[serde(alias = "verify_ca")]
    VerifyCa {
        /// The authority's certificate, as PEM; several may follow each other.
        #[schemars(title = "CA Certificate", extend("multiline" = true))]
        ca_certificate: Secret,
        /// The certificate that we show to the server, as PEM, with those in between following.
        #[schemars(title = "Client Certificate", extend("multiline" = true))]
        client_certificate: Option<Secret>,
        /// The key of the client certificate, as PEM: PKCS#8, PKCS#1 or SEC1.
        #[schemars(title = "Client Key", extend("multiline" = true))]
        client_key: Option<Secret>,
        /// The password of the client key, if it is encrypted (`ENCRYPTED PRIVATE KEY`).
        #[schemars(title = "Client Key Password")]
        client_key_password: Option<Secret>,
    },
    /// Always encrypts, and wants a certificate for the host's name that a certain authority has signed.
    #[schemars(title = "verify-full")]
    #[serde(alias = "verify_full")]
    VerifyFull {
        /// The authority's certificate, as PEM; several may follow each other.
        #[schemars(title = "CA Certificate", extend("multiline" = true))]
        ca_certificate: Secret,
        /// The certificate that we show to the server, as PEM, with those in between following.
        #[schemars(title = "Client Certificate", extend("multiline" = true))]
        client_certificate: Option<Secret>,
        /// The key of the client certificate, as PEM: PKCS#8, PKCS#1 or SEC1.
        #[schemars(title = "Client Key", extend("multiline" = true))]
        client_key: Option<Secret>,
        /// The password of the client key, if it is encrypted (`ENCRYPTED PRIVATE KEY`).
        #[schemars(title = "Client Key Password")]
        client_key_password: Option<Secret>,
    },
}
