//! The settings of every session that we open.

/// Pins the text form of values (CONTRACT §6) and turns silent row filtering by RLS into an error.
///
/// `client_encoding` is not here because it travels as a startup parameter of its own.
pub const PINNED: &str = "-c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC \
    -c extra_float_digits=3 -c bytea_output=hex -c lc_monetary=C -c search_path=pg_catalog \
    -c row_security=off";

/// Bounds what a statement of ours can cost the source, in addition to [`PINNED`].
///
/// Replication sessions do without: creating a slot may have to wait for old transactions.
pub const BOUNDED: &str = "-c statement_timeout=30s -c lock_timeout=10s";
