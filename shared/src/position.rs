//! How far a shard has come in its source.

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;

/// The position of a PostgreSQL shard: everything before it is durable at the target.
///
/// The resume point is always a `Commit.end_lsn`; a `final_lsn` would deliver that transaction again,
/// and the header LSN of a row message means nothing for a restart (docs/delivery.md).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PgPosition {
    /// `system_identifier` of the source cluster.
    pub system_id: u64,
    /// Timeline that `lsn` belongs to.
    pub timeline: u32,
    /// End of the last transaction that is wholly durable, or a keepalive position past it.
    pub lsn: Lsn,
    /// Set while a transaction is partly durable.
    pub inside: Option<InTransaction>,
    /// Raised when history was rewritten under us and the user chose to go on.
    pub incarnation: u32,
    /// Identity of what the server was asked to decode; a resume inside a transaction demands the same.
    pub fingerprint: u64,
    /// Ordinal of the next record of the task, counted from 1 over all restarts.
    pub next_ordinal: u64,
}

/// The durable part of a transaction that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InTransaction {
    /// `Begin.final_lsn` of the transaction.
    pub final_lsn: Lsn,
    /// Transaction id.
    pub xid: u32,
    /// Place of the last durable row message in the transaction, from 1.
    pub sequence: u64,
}
