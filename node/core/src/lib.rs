//! The data plane without I/O: bytes in, bytes out, and the verdicts that decide whether data is safe.
//!
//! * [`facts`]: what the shells have seen, as plain values.

pub mod facts;
