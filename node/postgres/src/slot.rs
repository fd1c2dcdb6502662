//! Replication slots: look, create, take, drop.

use std::time::Duration;

use tidewire_node_core::facts::SlotFacts;
use tidewire_shared::{Fault, Lsn};

use crate::fault::unbuilt;
use crate::{Application, Source, Sql};

/// The slot, or `None` when there is none of that name.
///
/// # Errors
/// When the connection breaks.
pub async fn look(_sql: &Sql, _name: &str) -> Result<Option<SlotFacts>, Fault> {
    unbuilt()
}

/// Creates a logical slot for `pgoutput` and returns its consistent point.
///
/// # Errors
/// `SourceState` when it exists; `SourceBusy` when no slot is free or an old transaction did not end within `patience`.
pub async fn create(
    _source: &Source,
    _name: &str,
    _failover: bool,
    _patience: Duration,
) -> Result<Lsn, Fault> {
    unbuilt()
}

/// Makes sure that no walsender holds the slot: one of the same shard with our epoch or a lower one is
/// terminated and waited for, up to 10 s. Returns the slot as it is then.
///
/// # Errors
/// `Fenced` when the holder has a higher epoch; `SourceState` when it is not of this shard or there is no
/// slot; `SourceBusy` when it did not end in time.
pub async fn take(_sql: &Sql, _name: &str, _ours: &Application) -> Result<SlotFacts, Fault> {
    unbuilt()
}

/// Drops the slot; one that is not there is fine.
///
/// # Errors
/// `SourceBusy` when someone streams from it.
pub async fn drop(_sql: &Sql, _name: &str) -> Result<(), Fault> {
    unbuilt()
}
