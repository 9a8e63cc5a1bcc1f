//! A small PostgreSQL client for connectors.
