//! The script for people who have a Dremio, against the server that takes what Dremio documents.

use std::process::Command;

use serde_json::json;
use testkit::Folder;
use testkit_dremio::Dremio;

#[test]
fn the_script_for_a_real_dremio_runs_and_its_promises_hold() {
    let server = Dremio::start();
    let folder = Folder::new();
    let config = folder.json("config.json", &server.destination());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/prove.sh");
    let program = env!("CARGO_BIN_EXE_destination-dremio");
    let output = Command::new("sh").args([script, &config, program]).output().expect("a shell");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(Dremio::PASSWORD), "{said}");
    assert_eq!(said.matches("ok      ").count(), 7, "{said}");
    let rows = |name: &str| server.query(&format!("SELECT id, note FROM lake.production.{name} ORDER BY id"));
    assert_eq!(
        rows("ferry_proof_append"),
        [vec![json!(1), json!("it's")], vec![json!(2), json!("漢字 🚢")], vec![json!(3), json!("")]]
    );
    assert_eq!(rows("ferry_proof_overwrite"), [vec![json!(7), json!("new")]]);
    assert_eq!(rows("ferry_proof_dedup"), [vec![json!(1), json!("newest")], vec![json!(2), json!("kept")]]);
    for line in said.lines().filter_map(|line| line.trim().strip_prefix("DROP ")) {
        let statements = line.split("--").next().unwrap_or_default().split(';');
        for drop in statements.map(|s| s.trim().trim_start_matches("DROP ")).filter(|s| !s.is_empty()) {
            server.execute(&format!("DROP {}", drop.replacen(' ', " lake.production.", 1)));
        }
    }
    let left =
        server.query("SELECT TABLE_NAME FROM INFORMATION_SCHEMA.\"TABLES\" WHERE TABLE_NAME LIKE '%ferry%'");
    assert!(left.is_empty(), "{left:?}");
}
