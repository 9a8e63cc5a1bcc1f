//! What a config says about a store, whatever its keys are called.

use connector_kit::{Error, Result, Secret};

/// Which bucket, where, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bucket.
    pub bucket: String,
    /// Its region; empty for the environment's, and `us-east-1` where that has none.
    pub region: String,
    /// `http://host:port` of a store that is not Amazon's; empty for Amazon's.
    pub endpoint: String,
    /// As whom.
    pub credentials: Credentials,
    /// What the config calls these things.
    pub keys: Keys,
}

/// As whom requests are made.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// An access key.
    Static {
        /// Its public half.
        id: Secret,
        /// Its secret half.
        secret: Secret,
    },
    /// A role, taken on with what the environment has.
    Role {
        /// Its ARN.
        arn: String,
        /// How sessions are called in the account's logs.
        session: &'static str,
    },
    /// What the environment has: variables, the profile, a web identity, the container's or machine's role.
    Environment,
    /// Nobody: for buckets that are open to all.
    Anonymous,
}

/// The names that the config's form uses, for errors to point at.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// The bucket's.
    pub bucket: &'static str,
    /// The region's.
    pub region: &'static str,
    /// The endpoint's.
    pub endpoint: &'static str,
    /// The access key's public half.
    pub access_key: &'static str,
    /// The access key's secret half.
    pub secret_key: &'static str,
    /// The role's.
    pub role: &'static str,
}

impl Settings {
    /// The endpoint as a URL; `None` for Amazon's own.
    pub(crate) fn endpoint_url(&self) -> Result<Option<String>> {
        let endpoint = self.endpoint.trim();
        if endpoint.is_empty() {
            return Ok(None);
        }
        let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") };
        let url = url.strip_suffix('/').unwrap_or(&url).to_owned();
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        match rest {
            Some(host) if !host.is_empty() && !host.contains(['@', '?', '#', ' ']) => Ok(Some(url)),
            _ => Err(Error::config(format!(
                "{} must be the address of the store, such as https://storage.example.com or http://localhost:9000.",
                self.keys.endpoint
            ))),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let bucket = &self.bucket;
        let fits = (3..=255).contains(&bucket.len())
            && bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:/".contains(&b));
        if !fits || (bucket.contains('/') && !bucket.starts_with("arn:")) {
            return Err(Error::config(format!(
                "{} must be the name of a bucket alone: 3 to 63 letters, digits, dots and hyphens, without s3:// and without a path.",
                self.keys.bucket
            )));
        }
        if let Credentials::Static { id, secret } = &self.credentials
            && (id.expose().trim().is_empty() || secret.expose().trim().is_empty())
        {
            return Err(Error::config(format!(
                "{} and {} go together: give both, or neither to use the environment's credentials.",
                self.keys.access_key, self.keys.secret_key
            )));
        }
        if let Credentials::Role { arn, .. } = &self.credentials
            && !arn.starts_with("arn:")
        {
            return Err(Error::config(format!(
                "{} must be the role's ARN, which begins with arn:.",
                self.keys.role
            )));
        }
        self.endpoint_url().map(drop)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Credentials, Keys, Settings};

    pub(crate) const KEYS: Keys = Keys {
        bucket: "s3_bucket_name",
        region: "s3_bucket_region",
        endpoint: "s3_endpoint",
        access_key: "access_key_id",
        secret_key: "secret_access_key",
        role: "role_arn",
    };

    pub(crate) fn settings(bucket: &str, endpoint: &str) -> Settings {
        Settings {
            bucket: bucket.into(),
            region: String::new(),
            endpoint: endpoint.into(),
            credentials: Credentials::Environment,
            keys: KEYS,
        }
    }

    #[test]
    fn what_cannot_be_an_address_or_a_bucket_is_refused_by_its_key() {
        for (bucket, endpoint, key) in [
            ("lake", "ftp://x", "s3_endpoint"),
            ("lake", "http://", "s3_endpoint"),
            ("lake", "http://user:pw@host", "s3_endpoint"),
            ("lake", "http://a b", "s3_endpoint"),
            ("s3://lake", "", "s3_bucket_name"),
            ("lake/path", "", "s3_bucket_name"),
            ("la", "", "s3_bucket_name"),
            ("", "", "s3_bucket_name"),
        ] {
            let error = settings(bucket, endpoint).check().unwrap_err();
            assert!(error.message().contains(key), "{bucket} {endpoint}: {error}");
            assert!(!error.message().contains("pw"), "{error}");
        }
    }

    #[test]
    fn an_endpoint_without_a_scheme_is_spoken_to_over_tls() {
        for (given, url) in [
            ("", None),
            ("minio.example:9000", Some("https://minio.example:9000")),
            ("http://127.0.0.1:9000/", Some("http://127.0.0.1:9000")),
        ] {
            assert_eq!(settings("lake", given).endpoint_url().unwrap().as_deref(), url);
        }
    }
}
