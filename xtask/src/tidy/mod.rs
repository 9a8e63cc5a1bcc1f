//! `cargo xtask tidy`: the rules of the house that no compiler checks.

mod connectors;
mod dependencies;
mod text;

use crate::Result;

/// Runs every rule and reports all faults at once.
pub(crate) fn tidy() -> Result {
    let mut faults = Vec::new();
    dependencies::check(&mut faults)?;
    text::check(&mut faults)?;
    // These need the connectors built; a tree that does not compile is one fault among others.
    if let Err(error) = connectors::check(&mut faults) {
        faults.push(error);
    }
    if faults.is_empty() {
        println!("tidy: nothing to mend.");
        return Ok(());
    }
    for fault in &faults {
        println!("tidy: {fault}");
    }
    Err(format!("{} places to tidy", faults.len()))
}
