//! TLS by rustls, for HTTP/2.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Fault, Result};
use crate::settings::Tls;

/// What a connection attempt needs; `None` without TLS.
pub(crate) fn config(tls: &Tls) -> Result<Option<Arc<ClientConfig>>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match tls {
        Tls::Off => return Ok(None),
        Tls::Unverified => Arc::new(Anyone(Arc::clone(&provider))),
        Tls::Verified(authority) => {
            let roots = match authority {
                Some(pem) => given(pem)?,
                None => trusted_here()?,
            };
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|e| {
                    Error::new(
                        Fault::Refused,
                        "TLS cannot be set up with these authorities; check `ca_certificate`.",
                    )
                    .with_source(e)
                })?
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(Fault::Refused, "TLS cannot be set up.").with_source(e))?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Some(Arc::new(config)))
}

fn given(pem: &str) -> Result<RootCertStore> {
    let unreadable = || {
        Error::new(
            Fault::Login,
            "`ca_certificate` holds no certificate that can be read; give it as PEM, from -----BEGIN CERTIFICATE----- on.",
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate =
            certificate.map_err(|e| unreadable().with_source(io::Error::other(format!("{e:?}"))))?;
        roots.add(certificate).map_err(|e| unreadable().with_source(e))?;
    }
    if roots.is_empty() { Err(unreadable()) } else { Ok(roots) }
}

fn trusted_here() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // One that cannot be read is one that nothing is signed with.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::new(
            Fault::Login,
            "This machine trusts no certificate authority; install its list of them (ca-certificates), or set `ca_certificate`.",
        ));
    }
    Ok(roots)
}

/// What to say when TLS did not come about.
pub(crate) fn refusal(e: &io::Error, address: &str) -> String {
    use rustls::Error as Tls;
    match e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(Tls::InvalidCertificate(fault)) => match fault {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "The certificate of {address} is signed by nobody who is trusted; set `ca_certificate` to the certificate of who signed it."
            ),
            CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => format!(
                "The certificate of {address} is its own authority, which is not trusted; let the server have one that an authority signed, and set `ca_certificate` to the authority's."
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                "The certificate of {address} is for another name; use the name it was made for as `host`."
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!(
                    "The certificate of {address}, or its authority's, has expired; renew it at the server."
                )
            }
            _ => format!(
                "The certificate of {address} cannot be accepted; the cause says why. Renew it at the server."
            ),
        },
        Some(_) => format!(
            "{address} does not speak TLS, or none that is still safe; check `port`, or set `ssl` to false if the server has no encryption."
        ),
        None => format!(
            "{address} ended the connection when TLS began; check `port`, or set `ssl` to false if the server has no encryption."
        ),
    }
}

/// Accepts any certificate, if the config says so; whoever shows it must own it all the same.
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

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::{Tls, config};

    #[test]
    fn a_certificate_that_is_none_is_told_by_its_key() {
        for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = config(&Tls::Verified(Some(pem.to_owned()))).unwrap_err();
            assert!(error.message().contains("`ca_certificate`"), "{error}");
        }
        assert!(config(&Tls::Off).unwrap().is_none());
        assert_eq!(config(&Tls::Unverified).unwrap().unwrap().alpn_protocols, [b"h2".to_vec()]);
    }
}
