//! A Flight SQL client for connectors.
