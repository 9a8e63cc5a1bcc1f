//! What a store says, as a sentence with a next step, and as a fault that code can act on.

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use connector_kit::{Error as KitError, ErrorKind};

use crate::settings::{Credentials, Settings};

/// The result of everything that asks a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What code may act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No object has that key, or no upload that number.
    Missing,
    /// The object is not the one that the condition named, or there is one where none should be.
    Changed,
    /// The store cannot do what was asked, here or at all.
    Unsupported,
    /// The object lies in an archive and would have to be restored first.
    Archived,
    /// Anything else.
    Other,
}

/// An error of a store.
#[derive(Debug)]
pub struct Error {
    fault: Fault,
    error: KitError,
}

impl Error {
    /// What code may act on.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Who has to act.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

impl From<Error> for KitError {
    fn from(error: Error) -> Self {
        error.error
    }
}

/// One that is nobody's fault in particular.
pub(crate) fn plain(error: KitError) -> Error {
    Error { fault: Fault::Other, error }
}

pub(crate) fn fault(fault: Fault, error: KitError) -> Error {
    Error { fault, error }
}

/// What a store answered, or that it did not. `doing` continues "Cannot …".
pub(crate) fn of<E>(settings: &Settings, doing: &str, error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let status = error.raw_response().map(|r| r.status().as_u16());
    let region = error.raw_response().and_then(|r| r.headers().get("x-amz-bucket-region")).map(str::to_owned);
    let code = error.meta().code().unwrap_or_default().to_owned();
    let message = error.meta().message().unwrap_or_default().to_owned();
    if let (Some(status), SdkError::ServiceError(_)) = (status, &error) {
        return answered(settings, doing, &Answer { status, code, message, region });
    }
    let mut chain = Vec::new();
    let mut next: Option<&dyn StdError> = Some(&error);
    while let Some(cause) = next {
        chain.push(cause.to_string());
        next = cause.source();
    }
    unanswered(settings, doing, &chain.join(": "))
}

/// An answer that is an error.
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    code: String,
    message: String,
    region: Option<String>,
}

fn answered(settings: &Settings, doing: &str, answer: &Answer) -> Error {
    let keys = &settings.keys;
    let bucket = &settings.bucket;
    let config = |text: String| KitError::config(format!("Cannot {doing}: {text}"));
    let credentials = match settings.credentials {
        Credentials::Static { .. } => format!("{} and {}", keys.access_key, keys.secret_key),
        Credentials::Role { .. } => keys.role.to_owned(),
        Credentials::Environment | Credentials::Anonymous => "the environment's credentials".to_owned(),
    };
    // Answers to HEAD have no body and thus no code.
    let (fault, error) = match (answer.code.as_str(), answer.status) {
        ("NoSuchBucket", _) => (
            Fault::Other,
            config(format!("there is no bucket {bucket}; check {} and {}.", keys.bucket, keys.endpoint)),
        ),
        ("NoSuchKey" | "NotFound" | "NoSuchUpload", _) | ("", 404) => (
            Fault::Missing,
            config("the store has nothing under that name; check that nobody else removes it.".to_owned()),
        ),
        ("PreconditionFailed" | "ConditionalRequestConflict", _) | (_, 412) => (
            Fault::Changed,
            KitError::transient(format!(
                "Cannot {doing}: it was changed by somebody else meanwhile; try again."
            )),
        ),
        ("InvalidObjectState", _) => (
            Fault::Archived,
            config("the object lies in an archive; restore it, or leave it out.".to_owned()),
        ),
        ("NotImplemented" | "MethodNotAllowed", _) | ("", 501) => {
            (Fault::Unsupported, config("this store does not offer that.".to_owned()))
        }
        ("InvalidAccessKeyId" | "InvalidAccessKey" | "UnrecognizedClientException", _) => (
            Fault::Other,
            config(format!(
                "the store does not know the access key; check {credentials} and {}.",
                keys.endpoint
            )),
        ),
        ("SignatureDoesNotMatch", _) => (
            Fault::Other,
            config(format!("the secret does not belong to the access key; check {credentials}.")),
        ),
        ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired", _) => (
            Fault::Other,
            config(format!("the credentials have expired; renew them ({credentials}) and sync again.")),
        ),
        ("InvalidToken", _) => (
            Fault::Other,
            config(format!("the session's token is not valid; renew the credentials ({credentials}).")),
        ),
        ("RequestTimeTooSkewed", _) => (
            Fault::Other,
            config("this machine's clock differs too much from the store's; set it right.".to_owned()),
        ),
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _)
        | (_, 301) => {
            let there = answer.region.as_ref().map_or_else(
                || format!("another region than {} says", keys.region),
                |region| format!("the region {region}"),
            );
            (Fault::Other, config(format!("the bucket {bucket} is in {there}; set {} to it.", keys.region)))
        }
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem", _) | (_, 401 | 403) => (
            Fault::Other,
            config(format!(
                "access is denied; let the owner of {credentials} do this in the bucket {bucket}, or check {}.",
                keys.bucket
            )),
        ),
        ("InvalidBucketName", _) => {
            (Fault::Other, config(format!("the store refuses the bucket's name; check {}.", keys.bucket)))
        }
        ("SlowDown" | "TooManyRequests" | "RequestLimitExceeded", _) | (_, 429 | 503) => (
            Fault::Other,
            KitError::transient(format!("Cannot {doing}: the store is too busy; try again later.")),
        ),
        ("BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch", _) => (
            Fault::Other,
            KitError::transient(format!("Cannot {doing}: the bytes were changed on their way; try again.")),
        ),
        (_, 500..=599) => (
            Fault::Other,
            KitError::transient(format!(
                "Cannot {doing}: the store failed ({}); try again later.",
                answer.status
            )),
        ),
        _ => (
            Fault::Other,
            KitError::system(format!(
                "Cannot {doing}: the store answers {} {}; check {}.",
                answer.status, answer.code, keys.endpoint
            )),
        ),
    };
    let said = format!("{} {}: {}", answer.status, answer.code, answer.message);
    Error { fault, error: error.with_source(said) }
}

/// No answer came. Messages of lower layers are causes for the engineer.
fn unanswered(settings: &Settings, doing: &str, chain: &str) -> Error {
    let keys = &settings.keys;
    let at = match settings.endpoint.trim() {
        "" => "the store".to_owned(),
        endpoint => format!("the store at {endpoint}"),
    };
    let lower = chain.to_ascii_lowercase();
    let error = if lower.contains("certificate") {
        KitError::config(format!(
            "Cannot {doing}: {at} cannot prove who it is; check {}, or let this machine trust its authority.",
            keys.endpoint
        ))
    } else if lower.contains("credential") || lower.contains("identity") {
        KitError::config(match &settings.credentials {
            Credentials::Role { arn, .. } => format!(
                "Cannot {doing}: the role {arn} cannot be taken on; check {}, its trust policy and the environment's credentials.",
                keys.role
            ),
            _ => format!(
                "Cannot {doing}: no credentials were found; give {} and {}, or run where the environment has some.",
                keys.access_key, keys.secret_key
            ),
        })
    } else if lower.contains("dns") || lower.contains("name or service not known") {
        KitError::transient(format!(
            "Cannot {doing}: the name of {at} is not known; check {} and {}.",
            keys.endpoint, keys.region
        ))
    } else if lower.contains("checksum") {
        KitError::transient(format!("Cannot {doing}: the bytes were changed on their way; try again."))
    } else {
        KitError::transient(format!(
            "Cannot {doing}: {at} did not answer; check {} and the network, then try again.",
            keys.endpoint
        ))
    };
    Error { fault: Fault::Other, error: error.with_source(chain.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Fault, answered, unanswered};
    use crate::settings::tests::settings;
    use connector_kit::ErrorKind;

    fn answer(code: &str, status: u16) -> Answer {
        Answer { status, code: code.into(), ..Answer::default() }
    }

    #[test]
    fn every_answer_names_what_to_mend_and_who_has_to() {
        let lake = settings("lake", "http://localhost:1");
        for (code, status, kind, named) in [
            ("NoSuchBucket", 404, ErrorKind::Config, "s3_bucket_name"),
            ("InvalidAccessKeyId", 403, ErrorKind::Config, "access key"),
            ("SignatureDoesNotMatch", 403, ErrorKind::Config, "secret"),
            ("ExpiredToken", 400, ErrorKind::Config, "expired"),
            ("AccessDenied", 403, ErrorKind::Config, "denied"),
            ("", 403, ErrorKind::Config, "denied"),
            ("RequestTimeTooSkewed", 403, ErrorKind::Config, "clock"),
            ("SlowDown", 503, ErrorKind::Transient, "busy"),
            ("InternalError", 500, ErrorKind::Transient, "failed"),
            ("PreconditionFailed", 412, ErrorKind::Transient, "changed"),
            ("WhoKnows", 400, ErrorKind::System, "WhoKnows"),
        ] {
            let error: connector_kit::Error = answered(&lake, "write it", &answer(code, status)).into();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(named), "{code}: {error}");
        }
    }

    #[test]
    fn s3_18_a_bucket_in_another_region_is_named_with_its_region() {
        let there = Answer { region: Some("eu-west-1".into()), ..answer("PermanentRedirect", 301) };
        let error = answered(&settings("lake", ""), "read it", &there).to_string();
        assert!(error.contains("eu-west-1") && error.contains("s3_bucket_region"), "{error}");
    }

    #[test]
    fn faults_that_code_acts_on_are_told_apart() {
        let lake = settings("lake", "");
        for (code, status, fault) in [
            ("NoSuchKey", 404, Fault::Missing),
            ("", 404, Fault::Missing),
            ("NoSuchUpload", 404, Fault::Missing),
            ("", 412, Fault::Changed),
            ("NotImplemented", 501, Fault::Unsupported),
            ("InvalidObjectState", 403, Fault::Archived),
            ("NoSuchBucket", 404, Fault::Other),
        ] {
            assert_eq!(answered(&lake, "x", &answer(code, status)).fault(), fault, "{code}");
        }
    }

    #[test]
    fn without_an_answer_the_likely_key_is_named() {
        let lake = settings("lake", "http://localhost:1");
        for (chain, named) in [
            ("dispatch failure: io error: tcp connect error: Connection refused", "s3_endpoint"),
            ("invalid peer certificate: UnknownIssuer", "trust its authority"),
            ("the credential provider was not enabled", "access_key_id"),
        ] {
            let error = unanswered(&lake, "list it", chain).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
