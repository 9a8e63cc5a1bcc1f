//! The form that platforms show.

use serde_json::Value;
use testkit::Connector;

#[test]
fn the_spec_is_the_one_that_was_agreed_on() {
    let output = Connector::new(env!("CARGO_BIN_EXE_destination-postgres")).run(["spec"]).succeeded();
    let spec: Value = serde_json::from_slice(&output.lines[0].raw).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&spec["spec"]).unwrap());
}

#[test]
fn the_example_config_fits_the_spec() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../secrets.example/destination-postgres.json");
    let output =
        Connector::new(env!("CARGO_BIN_EXE_destination-postgres")).run(["check", "--config", example]);
    // No such server, but no word about the config's form either.
    let said: String = output.lines.iter().map(|l| String::from_utf8_lossy(&l.raw).into_owned()).collect();
    assert!(said.contains("FAILED") && !said.contains("does not fit the spec"), "{output}");
}
