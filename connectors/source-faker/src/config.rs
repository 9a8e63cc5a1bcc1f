//! The config, with the keys of Airbyte's faker source.

use schemars::JsonSchema;
use serde::Deserialize;

/// Invents data: users, products and purchases.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Config {
    /// How many users to invent. Purchases follow from them; products are at most 100.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1))]
    pub count: u64,
    /// The same seed gives the same data. -1 takes a new one each time, and keeps it in the state.
    #[serde(default = "minus_one")]
    pub seed: i64,
    /// A state after this many users.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1))]
    pub records_per_slice: u64,
    /// With a state: true sends every row again, updated now; false sends only what is new.
    #[serde(default = "yes")]
    pub always_updated: bool,
    /// Accepted for compatibility: one thread is fast enough and the rows do not depend on it.
    #[serde(default = "four")]
    #[schemars(range(min = 1))]
    #[allow(dead_code, reason = "part of the form that users paste")]
    pub parallelism: u64,
}

fn thousand() -> u64 {
    1000
}
fn minus_one() -> i64 {
    -1
}
fn yes() -> bool {
    true
}
fn four() -> u64 {
    4
}
