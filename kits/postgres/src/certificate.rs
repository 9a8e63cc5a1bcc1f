//! Certificates and keys of a config, and what of a server's certificate is looked at by hand.

use connector_kit::{Error, Result, Secret};
use rustls::CertificateError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::ParsedCertificate;

use crate::der;

/// The certificates of a PEM text; `key` names it in errors.
pub(crate) fn chain(pem: &Secret, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.expose().as_bytes()).collect();
    // The parser's own text quotes what it could not read.
    match read {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(Error::config(format!(
            "`{key}` is not a certificate in PEM form; give the whole text, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, line breaks included."
        ))),
    }
}

/// The certificate that we show, and its key.
pub(crate) fn client(
    certificate: &Secret,
    key: &Secret,
    password: Option<&Secret>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    Ok((chain(certificate, "client_certificate")?, private_key(key, password)?))
}

/// A private key: PKCS#8, PKCS#1 or SEC1, or PKCS#8 encrypted by PBES2, as OpenSSL 1.1 and newer do.
fn private_key(pem: &Secret, password: Option<&Secret>) -> Result<PrivateKeyDer<'static>> {
    const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
    let text = pem.expose();
    // The form of old OpenSSL: its key derivation is one round of MD5.
    if text.contains("Proc-Type:") && text.contains("ENCRYPTED") {
        return Err(Error::config(
            "`client_key` is encrypted in OpenSSL's old form, which is not read; convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc`.",
        ));
    }
    if let Some(start) = text.find(&format!("-----BEGIN {ENCRYPTED}-----")) {
        let password =
            password.ok_or_else(|| Error::config("`client_key` is encrypted; set `client_key_password`."))?;
        let unreadable = || {
            Error::config(
                "`client_key` is encrypted in a form that is not read; convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc`.",
            )
        };
        let end = text[start..].find(&format!("-----END {ENCRYPTED}-----")).ok_or_else(unreadable)?;
        let section = &text[start..start + end + ENCRYPTED.len() + "-----END -----".len()];
        let (_, der) = pkcs8::der::SecretDocument::from_pem(section).map_err(|_| unreadable())?;
        let encrypted =
            pkcs8::EncryptedPrivateKeyInfoRef::try_from(der.as_bytes()).map_err(|_| unreadable())?;
        if !matches!(encrypted.encryption_algorithm, pkcs8::pkcs5::EncryptionScheme::Pbes2(_)) {
            return Err(unreadable());
        }
        let key = encrypted.decrypt(password.expose()).map_err(|e| match e {
            pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }) => {
                unreadable()
            }
            _ => Error::config("`client_key_password` does not open `client_key`; check it."),
        })?;
        return Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into());
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        Error::config(
            "`client_key` is not a private key in PEM form; give the whole text of a PKCS#8, PKCS#1 or SEC1 key, line breaks included.",
        )
    })
}

/// What RFC 5929 calls the `tls-server-end-point`: a digest of the certificate by the digest that it
/// is signed with. `None` where there is no such digest, or we could not check who owns the certificate.
pub(crate) fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    ParsedCertificate::try_from(certificate).ok()?;
    let digest = signature_digest(certificate)?;
    Some(ring::digest::digest(digest, certificate).as_ref().to_vec())
}

fn signature_digest(certificate: &[u8]) -> Option<&'static ring::digest::Algorithm> {
    match der::parts(certificate)?.signed_by {
        // RSA with MD5, SHA-1 (for which the RFC says SHA-256), SHA-256, SHA-384, SHA-512.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, kind] => match kind {
            4 | 5 | 11 => Some(&ring::digest::SHA256),
            12 => Some(&ring::digest::SHA384),
            13 => Some(&ring::digest::SHA512),
            _ => None,
        },
        // ECDSA with SHA-1; with SHA-256, SHA-384, SHA-512.
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1] => Some(&ring::digest::SHA256),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, kind] => match kind {
            2 => Some(&ring::digest::SHA256),
            3 => Some(&ring::digest::SHA384),
            4 => Some(&ring::digest::SHA512),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the common name of a certificate's subject is the host's: asked only of certificates
/// without names of their own, as libpq and the JDBC driver do. One `*.` stands for one label.
pub(crate) fn is_named(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Some(name) = der::parts(certificate).and_then(|parts| parts.name) else { return false };
    let matches = |a: &str, b: &str| !a.is_empty() && a.eq_ignore_ascii_case(b);
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(name), Some((_, host))) => name.contains('.') && matches(name, host),
        (Some(_), None) => false,
        (None, _) => matches(name, host),
    }
}

/// Whether a certificate is valid at this time.
pub(crate) fn is_current(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let parts = der::parts(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match (now < parts.valid.0, now > parts.valid.1) {
        (true, _) => Err(CertificateError::NotValidYet),
        (_, true) => Err(CertificateError::Expired),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_named;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use std::process::Command;

    #[test]
    fn a_common_name_is_the_hosts_as_libpq_says() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str, host: &str| {
            let mut openssl = Command::new("openssl");
            let args =
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout k -out c";
            openssl.args(args.split(' ')).args(["-subj", &format!("/O=x.example/CN={name}")]);
            assert!(openssl.current_dir(folder.path()).output().unwrap().status.success());
            let certificate = CertificateDer::from_pem_file(folder.path().join("c")).unwrap();
            is_named(&certificate, host)
        };
        assert!(named("db.example", "DB.example"));
        assert!(named("*.db.example", "a.db.example"));
        assert!(!named("*.db.example", "db.example"));
        assert!(!named("*.db.example", "a.b.db.example"));
        assert!(!named("*.example", "a.example"));
        assert!(!named("db.example", "x.example"));
        assert!(!named("*.", "a."));
    }
}
