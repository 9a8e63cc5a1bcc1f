//! check_changes
