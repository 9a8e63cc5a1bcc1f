//! Empty: everything is in `tests/` (Rust) and `python/` (clients written in Python).
