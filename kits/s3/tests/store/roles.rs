//! Who we are to a store.

use s3_kit::{Credentials, Fault, Store};
use testkit::services::{ObjectStore, StoreKind};

use crate::{run, settings};

#[test]
fn anonymous_requests_carry_no_signature() {
    let server = ObjectStore::start(StoreKind::Strict);
    let proxy = testkit::services::FaultyStore::before(server.port, |_| testkit::services::Action::Pass);
    let mut open = settings(&proxy.endpoint());
    open.credentials = Credentials::Anonymous;
    let store = Store::new(open).unwrap();
    let error = run(async { store.head("k").await }).unwrap_err();
    assert_eq!(error.fault(), Fault::Other, "{error}");
    let seen = proxy.seen();
    assert!(!seen[0].headers.to_ascii_lowercase().contains("authorization:"), "{}", seen[0].headers);
}
