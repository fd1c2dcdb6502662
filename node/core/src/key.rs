//! The key of a record.
