//! TLS by rustls: what each mode verifies, the certificates of both sides, and what is said when it
//! fails.

use std::io;
use std::sync::Arc;

use connector_kit::{Error, Result, Secret};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_rustls::TlsConnector;

use crate::certificate;
use crate::ssl::SslMode;
use crate::wire::Socket;

/// The TLS side of a connection attempt.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// The server has no TLS, or has it switched off.
#[derive(Debug, thiserror::Error)]
#[error("the server answered that it does not speak TLS")]
pub(crate) struct NotSpoken;

/// TLS was begun and did not come about.
#[derive(Debug, thiserror::Error)]
#[error("the TLS handshake failed: {0}")]
pub(crate) struct Failed(io::Error);

pub(crate) fn not_spoken(address: &str) -> Error {
    Error::config(format!(
        "{address} does not speak TLS, and `ssl_mode` wants it; set ssl = on at the server, or choose the mode disable or prefer."
    ))
    .with_source(NotSpoken)
}

impl Tls {
    pub(crate) fn new(mode: &SslMode, host: &str) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::system("TLS cannot be set up.").with_source(e))?;
        let name = ServerName::try_from(host.to_owned());
        let (check, client) = match mode {
            SslMode::VerifyCa { ca_certificate, client_certificate, client_key, client_key_password } => {
                (Some((ca_certificate, false)), (client_certificate, client_key, client_key_password))
            }
            SslMode::VerifyFull { ca_certificate, client_certificate, client_key, client_key_password } => {
                (Some((ca_certificate, true)), (client_certificate, client_key, client_key_password))
            }
            _ => (None, (&None, &None, &None)),
        };
        let verifier: Arc<dyn ServerCertVerifier> = match check {
            Some((ca, full)) => {
                if full && name.is_err() {
                    return Err(Error::config(format!(
                        "No certificate can be for {host:?}, which is neither a name nor an address; check `host`, or choose the `ssl_mode` verify-ca."
                    )));
                }
                Arc::new(Authority::new(ca, full, provider)?)
            }
            None => Arc::new(Anyone(provider)),
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match client {
            (Some(certificate), Some(key), password) => {
                let (chain, key) = certificate::client(certificate, key, password.as_ref())?;
                builder.with_client_auth_cert(chain, key).map_err(|e| {
                    Error::config("`client_key` does not belong to `client_certificate`, or is of a kind that TLS does not use; check both.")
                        .with_source(e)
                })?
            }
            (None, None, _) => builder.with_no_client_auth(),
            (Some(_), None, _) => {
                return Err(Error::config(
                    "`client_certificate` is set without `client_key`; set both, or none.",
                ));
            }
            (None, Some(_), _) => {
                return Err(Error::config(
                    "`client_key` is set without `client_certificate`; set both, or none.",
                ));
            }
        };
        // Sessions are never resumed: each connection has a config of its own.
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = name.is_ok();
        let name = name.or_else(|_| ServerName::try_from("unnamed"));
        let name = name.map_err(|e| Error::system("TLS cannot be set up.").with_source(e))?;
        Ok(Self { config: Arc::new(config), name })
    }

    /// Encrypts `socket`; also returns what binds a log-in to this very connection.
    pub(crate) async fn handshake(
        self,
        socket: Box<dyn Socket>,
        address: &str,
    ) -> Result<(Box<dyn Socket>, Option<Vec<u8>>)> {
        let connected = TlsConnector::from(self.config).connect(self.name, socket).await;
        let stream = connected.map_err(|e| {
            refusal(&e, address)
                .unwrap_or_else(|| match e.kind() {
                    io::ErrorKind::UnexpectedEof => crate::error::closed(address),
                    _ => Error::transient(format!(
                        "The connection to {address} was lost while TLS was set up; the sync tries again."
                    )),
                })
                .with_source(Failed(e))
        })?;
        let certificates = stream.get_ref().1.peer_certificates();
        let binding = certificates.and_then(|chain| certificate::end_point(chain.first()?));
        Ok((Box::new(stream), binding))
    }
}

/// What to say when TLS, and not the network, is behind an I/O error.
pub(crate) fn refusal(e: &io::Error, address: &str) -> Option<Error> {
    use rustls::Error as Tls;
    let text = match e.get_ref()?.downcast_ref::<rustls::Error>()? {
        Tls::InvalidCertificate(fault) => match fault {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => foreign(address),
            // It is its own authority, and not the one that the config trusts.
            CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                foreign(address)
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                "The certificate of {address} is for another host name; use the name it was made for as `host`, or choose the `ssl_mode` verify-ca."
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!(
                    "The certificate of {address}, or its authority's, has expired; renew it at the server."
                )
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
                "The certificate of {address}, or its authority's, is not valid yet; check the clocks of both machines."
            ),
            CertificateError::Other(other) if format!("{other:?}").contains("UnsupportedCertVersion") => {
                format!(
                    "The certificate of {address} is of X.509 version 1, which cannot be verified; make it anew with a subjectAltName for the host, or choose the `ssl_mode` require, which verifies none."
                )
            }
            _ => format!(
                "The certificate of {address} cannot be accepted; the cause says why. Renew it at the server, or choose the `ssl_mode` require, which verifies none."
            ),
        },
        Tls::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => format!(
            "{address} refused our client certificate, or the lack of one; check `client_certificate` and `client_key`, and the server's ssl_ca_file."
        ),
        Tls::PeerIncompatible(_)
        | Tls::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure) => {
            format!(
                "{address} speaks no TLS that is still safe; let it speak TLS 1.2 or newer with today's ciphers."
            )
        }
        _ => format!("TLS with {address} failed; check that `host` and `port` lead to a PostgreSQL server."),
    };
    Some(Error::config(text))
}

fn foreign(address: &str) -> String {
    format!(
        "The certificate of {address} is not signed by the authority in `ca_certificate`; give the certificate of the one that signed it."
    )
}

/// Accepts any certificate, as libpq's `require` and below do. What it cannot read it does not check.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // A signature that is wrong is refused all the same: the log-in may be bound to the certificate,
    // so its owner must be the one that we talk to. Where the certificate is of a form that cannot be
    // read (version 1, as old tools make them) nothing is bound to it, and nothing is gained by a check.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match ParsedCertificate::try_from(cert) {
            Ok(_) => verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms),
            Err(_) => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match ParsedCertificate::try_from(cert) {
            Ok(_) => verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms),
            Err(_) => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Wants a certificate that the authority signed, for the host's name if `full`.
#[derive(Debug)]
struct Authority {
    trusted: Vec<CertificateDer<'static>>,
    chain: Arc<WebPkiServerVerifier>,
    full: bool,
}

impl Authority {
    fn new(ca: &Secret, full: bool, provider: Arc<CryptoProvider>) -> Result<Self> {
        let trusted = certificate::chain(ca, "ca_certificate")?;
        let mut roots = RootCertStore::empty();
        for certificate in &trusted {
            roots.add(certificate.clone()).map_err(|e| {
                Error::config("`ca_certificate` holds a certificate that cannot be read; give the authority's certificate as PEM.")
                    .with_source(e)
            })?;
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| Error::config("`ca_certificate` cannot be used.").with_source(e))?;
        Ok(Self { trusted, chain, full })
    }

    /// The name is asked for after all else, so an error about it says that all else is right.
    fn check_name(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<(), rustls::Error> {
        if !self.full {
            return Ok(());
        }
        match verify_server_name(&ParsedCertificate::try_from(certificate)?, name) {
            // Made without names, as PostgreSQL's own manual does it: its subject is what counts.
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                presented,
                ..
            })) if presented.is_empty() && certificate::is_named(certificate, &name.to_str()) => Ok(()),
            other => other,
        }
    }
}

impl ServerCertVerifier for Authority {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The very certificate that the config trusts: no one else has to vouch for it. Small servers
        // have one that is its own authority, which the chain's verifier does not take for a server's.
        if self.trusted.iter().any(|trusted| trusted == certificate) {
            certificate::is_current(certificate, now)?;
        } else {
            match self.chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
                Ok(_)
                | Err(rustls::Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => {}
                Err(e) => return Err(e),
            }
        }
        self.check_name(certificate, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
