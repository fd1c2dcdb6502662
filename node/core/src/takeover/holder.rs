//! Who streams from our slot, and whether that session may be ended.
//!
//! A slot is mutual exclusion, not a fence: any session of the role can take it. The owner's epoch
//! travels in `application_name`, so that a new owner knows a predecessor from a successor.

use tidewire_shared::{ClusterId, Epoch, Fault, FaultKind, ShardId};

use crate::facts::SlotFacts;

/// Who streams: the owner of a shard, as its sessions on the source are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The shard.
    pub shard: ShardId,
    /// The epoch under which it is owned.
    pub epoch: Epoch,
}

impl Owner {
    /// The `application_name` of its sessions; shard and epoch in hexadecimal.
    ///
    /// At most 60 bytes: PostgreSQL cuts names at 63, and a cut epoch would read as a lower one.
    #[must_use]
    pub fn application_name(&self) -> String {
        format!("{}{:x}", self.prefix(), self.epoch.0)
    }

    fn prefix(&self) -> String {
        format!("tidewire/{}/{}/{:x}/", self.cluster, self.shard.task, self.shard.index)
    }

    /// Judges the session that holds `slot`; asked after the claim of this owner is committed.
    #[must_use]
    pub fn judge(&self, slot: &SlotFacts) -> Holder {
        let Some(pid) = slot.active_pid else { return Holder::Nobody };
        let name = slot.active_application.as_deref().unwrap_or_default();
        let object = format!("slot {}", slot.name);
        let held_by = name
            .strip_prefix(&self.prefix())
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Epoch);
        match held_by {
            Some(held) if held <= self.epoch => Holder::Terminate(pid),
            Some(held) => Holder::Other(
                Fault::new(
                    FaultKind::Fenced,
                    object,
                    format!("is held by {held}, a later owner than {}", self.epoch),
                )
                .remedy(
                    "nothing to do at first: the node asks the coordinators who owns the shard; where \
                     this stays, they were restored and another cluster runs the task: end it there",
                ),
            ),
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
        let shard = ShardId { task: "k3v9".parse().expect("id"), index: 0 };
        let owner = Owner { cluster: "c1".parse().expect("id"), shard, epoch: Epoch(26) };
        let judge = |name: Option<&str>| owner.judge(&held_by(name));
        assert_eq!(owner.application_name(), "tidewire/c1/k3v9/0/1a");
        assert_eq!(judge(None), Holder::Nobody);
        assert_eq!(judge(Some("tidewire/c1/k3v9/0/19")), Holder::Terminate(42));
        assert_eq!(judge(Some("tidewire/c1/k3v9/0/1a")), Holder::Terminate(42));
        assert!(
            matches!(judge(Some("tidewire/c1/k3v9/0/1b")), Holder::Other(f) if f.kind == FaultKind::Fenced)
        );
        for other in
            ["tidewire/c2/k3v9/0/1", "tidewire/c1/k3v9/1/1", "psql", "", "tidewire/c1/k3v9/0/zz"]
        {
            assert!(
                matches!(judge(Some(other)), Holder::Other(f) if f.kind == FaultKind::SourceBusy)
            );
        }
    }

    #[test]
    fn no_name_is_cut_by_the_server() {
        let shard = ShardId { task: "t".repeat(12).parse().expect("id"), index: u32::MAX };
        let cluster = "c".repeat(12).parse().expect("id");
        let owner = Owner { cluster, shard, epoch: Epoch(u64::MAX) };
        assert!(owner.application_name().len() <= 60, "{}", owner.application_name());
    }
}
