//! PostgreSQL type ↔ JSON schema ↔ JSON value: one table.
