//! Which partition of its topic a record goes to.
