//! Nothing: the tests of this crate are in `tests/`, the servers they need in
//! `testkit::services`.
