//! Who streams from our slot, and whether that session may be ended.
//!
//! A slot is mutual exclusion, not a fence: any session of the role can take it. The owner's epoch
//! travels in `application_name`, so that a new owner knows a predecessor from a successor.

use tidewire_shared::{ClusterId, Epoch, Fault, FaultKind, ShardId};

use crate::facts::SlotFacts;

/// The `application_name` of the session that streams for `epoch`; shard and epoch in hexadecimal.
///
/// At most 62 bytes: PostgreSQL cuts names at 63.
#[must_use]
pub fn application_name(cluster: &ClusterId, shard: &ShardId, epoch: Epoch) -> String {
    format!("{}{:x}", prefix(cluster, shard), epoch.0)
}

fn prefix(cluster: &ClusterId, shard: &ShardId) -> String {
    format!("tw/{cluster}/{}/{:x}/", shard.task, shard.index)
}

/// What to do about the session that holds a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody streams: start.
    Nobody,
    /// An older owner, or an older session of this one: `pg_terminate_backend(pid)`, then look again.
    Terminate(i32),
    /// Somebody else: stop, or try again later, as the fault says.
    Other(Fault),
}

/// Judges the session that holds `slot`, for the owner under `epoch`, after its claim is committed.
#[must_use]
pub fn judge_holder(
    slot: &SlotFacts,
    cluster: &ClusterId,
    shard: &ShardId,
    epoch: Epoch,
) -> Holder {
    let Some(pid) = slot.active_pid else { return Holder::Nobody };
    let name = slot.active_application.as_deref().unwrap_or_default();
    let object = format!("slot {}", slot.name);
    let held_by = name
        .strip_prefix(&prefix(cluster, shard))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .map(Epoch);
    match held_by {
        Some(held) if held <= epoch => Holder::Terminate(pid),
        Some(held) => Holder::Other(Fault::new(
            FaultKind::Fenced,
            object,
            format!("is held by {held}, a later owner than {epoch}"),
        )),
        None => Holder::Other(
            Fault::new(
                FaultKind::SourceBusy,
                object,
                format!("is held by another client, backend {pid}"),
            )
            .remedy(format!("stop that client, or SELECT pg_terminate_backend({pid});")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::SlotFacts;

    fn held_by(name: Option<&str>) -> SlotFacts {
        SlotFacts {
            name: "tidewire_k3v9".into(),
            plugin: "pgoutput".into(),
            database: "shop".into(),
            temporary: false,
            two_phase: false,
            restart_lsn: None,
            confirmed_flush: None,
            wal_status: "reserved".into(),
            invalidation: None,
            active_pid: name.map(|_| 42),
            active_application: name.map(str::to_owned),
            failover: false,
            synced: false,
        }
    }

    #[test]
    fn only_older_sessions_of_the_same_shard_are_ended() {
        let cluster = "c1".parse().expect("id");
        let shard = ShardId { task: "k3v9".parse().expect("id"), index: 0 };
        let judge = |name: Option<&str>| judge_holder(&held_by(name), &cluster, &shard, Epoch(26));
        assert_eq!(application_name(&cluster, &shard, Epoch(26)), "tw/c1/k3v9/0/1a");
        assert_eq!(judge(None), Holder::Nobody);
        assert_eq!(judge(Some("tw/c1/k3v9/0/19")), Holder::Terminate(42));
        assert_eq!(judge(Some("tw/c1/k3v9/0/1a")), Holder::Terminate(42));
        assert!(
            matches!(judge(Some("tw/c1/k3v9/0/1b")), Holder::Other(f) if f.kind == FaultKind::Fenced)
        );
        for other in ["tw/c2/k3v9/0/1", "tw/c1/k3v9/1/1", "psql", "", "tw/c1/k3v9/0/zz"] {
            assert!(
                matches!(judge(Some(other)), Holder::Other(f) if f.kind == FaultKind::SourceBusy)
            );
        }
    }

    #[test]
    fn no_name_is_cut_by_the_server() {
        let cluster = "c".repeat(16).parse().expect("id");
        let shard = ShardId { task: "t".repeat(16).parse().expect("id"), index: u32::MAX };
        assert_eq!(application_name(&cluster, &shard, Epoch(u64::MAX)).len(), 62);
    }
}
