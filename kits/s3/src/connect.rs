//! The client, and the thread that its requests run on.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Credentials as Keypair, Region, SharedCredentialsProvider, SharedHttpClient,
};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use connector_kit::Error;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, oneshot};

use crate::error::{self, Result};
use crate::settings::{Credentials, Keys, Settings};

/// How often a request is made in all, when the store is busy, fails or drops the connection.
const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const MOST_WAIT: Duration = Duration::from_secs(20);
const CONNECT_TIME: Duration = Duration::from_secs(20);
/// A store that says nothing for this long is taken for dead. Putting thousands of parts together
/// may take minutes, but a store sends spaces meanwhile.
const SILENCE_TIME: Duration = Duration::from_secs(120);
const DEFAULT_REGION: &str = "us-east-1";

/// One bucket of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    endpoint: Option<String>,
    network: Network,
    client: OnceCell<Client>,
}

impl Store {
    /// A client for the bucket. Nothing is sent yet.
    ///
    /// # Errors
    /// When the settings cannot be those of a store.
    pub fn new(settings: Settings) -> connector_kit::Result<Self> {
        settings.check()?;
        let endpoint = settings.endpoint_url()?;
        let network = Network::start()?;
        Ok(Self { inner: Arc::new(Inner { settings, endpoint, network, client: OnceCell::new() }) })
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.inner.settings.bucket
    }

    /// How the config calls things, for errors.
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.inner.settings.keys
    }

    /// The store as people write it: `s3://bucket/key`.
    #[must_use]
    pub fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket())
    }

    /// Runs a future on the network's thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match self.inner.network.handle.spawn(work).await {
            Ok(result) => result,
            Err(ended) => {
                Err(error::plain(Error::system("The thread of the network ended early.").with_source(ended)))
            }
        }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.inner.network.handle
    }

    /// Whether bodies travel through TLS, which guards them as well as a signature would.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.inner.endpoint.as_deref().is_none_or(|url| url.starts_with("https://"))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The client; call it on the network's thread only, where its connections live.
    pub(crate) async fn client(&self) -> Client {
        self.inner
            .client
            .get_or_init(|| build(&self.inner.settings, self.inner.endpoint.clone()))
            .await
            .clone()
    }
}

async fn build(settings: &Settings, endpoint: Option<String>) -> Client {
    let http: SharedHttpClient =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let retry = RetryConfig::standard()
        .with_max_attempts(TRIES)
        .with_initial_backoff(FIRST_WAIT)
        .with_max_backoff(MOST_WAIT);
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIME).read_timeout(SILENCE_TIME).build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http.clone())
        .retry_config(retry.clone())
        .timeout_config(timeouts.clone());
    if let Ok(name) = AppName::new("ferrybyte") {
        loader = loader.app_name(name);
    }
    let region = settings.region.trim();
    if !region.is_empty() {
        loader = loader.region(Region::new(region.to_owned()));
    } else if endpoint.is_some() {
        // Asking the machine it runs on for its region would take seconds where there is none to ask.
        loader = loader.region(Region::new(DEFAULT_REGION));
    }
    loader = match &settings.credentials {
        Credentials::Static { id, secret } => {
            let pair = Keypair::new(id.expose().trim(), secret.expose().trim(), None, None, "config");
            loader.credentials_provider(pair)
        }
        Credentials::Anonymous => loader.no_credentials(),
        Credentials::Role { .. } | Credentials::Environment => loader,
    };
    let shared = loader.load().await;
    let mut config = aws_sdk_s3::config::Builder::from(&shared).force_path_style(endpoint.is_some());
    if shared.region().is_none() {
        config = config.region(Region::new(DEFAULT_REGION));
    }
    if let Some(url) = endpoint {
        config = config.endpoint_url(url);
    }
    if let Credentials::Role { arn, session } = &settings.credentials {
        config = config.credentials_provider(assume(arn, session, &shared).await);
    }
    if let Credentials::Anonymous = settings.credentials {
        config = config.allow_no_auth();
    }
    Client::from_conf(config.build())
}

async fn assume(arn: &str, session: &str, shared: &SdkConfig) -> SharedCredentialsProvider {
    let mut role = AssumeRoleProvider::builder(arn).session_name(session).configure(shared);
    if shared.region().is_none() {
        role = role.region(Region::new(DEFAULT_REGION));
    }
    // The name that Airbyte's platform uses for it.
    if let Ok(id) = std::env::var("AWS_ASSUME_ROLE_EXTERNAL_ID") {
        role = role.external_id(id);
    }
    SharedCredentialsProvider::new(role.build().await)
}

/// A runtime on a thread of its own, which ends with the last store that uses it.
#[derive(Debug)]
struct Network {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Network {
    fn start() -> connector_kit::Result<Self> {
        let failed = |e| Error::system("Cannot start the thread of the network.").with_source(e);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let log = tracing::dispatcher::get_default(Clone::clone);
        std::thread::Builder::new()
            .name("network".into())
            .spawn(move || {
                tracing::dispatcher::with_default(&log, || {
                    // An error says that the sender is gone, which is what ends it.
                    let _ = runtime.block_on(ended);
                    runtime.shutdown_background();
                });
            })
            .map_err(failed)?;
        Ok(Self { handle, _end: end })
    }
}
