//! The WAL that a slot holds back on its source, weighed against the task's budget.

use std::time::Duration;

use tidewire_node_core::facts::SlotFacts;
use tidewire_node_core::rewind::way_on;
use tidewire_node_core::takeover::Owner;
use tidewire_postgres::{Source, Sql, slot};
use tidewire_shared::spec::{AtLimit, WalBudget, WalState};
use tidewire_shared::{ByteSize, Fault, FaultKind, LogPlace, Lsn};

use crate::task_log::ShardLog;

/// Between two attempts to drop a slot…
const AGAIN: Duration = Duration::from_secs(2);
/// …and how many there are; after them the leader's look at tasks that do not stream goes on with it.
const ATTEMPTS: u32 = 15;

/// What a slot holds back, bytes; a slot that was invalidated holds nothing any more.
pub(crate) fn retained(slot: &SlotFacts, end: Lsn) -> u64 {
    slot.restart_lsn.map_or(0, |restart| end.0.saturating_sub(restart.0))
}

/// Why the slot is dropped, where the task asks for that at its limit and the limit is reached.
pub(crate) fn sentence(
    slot: &SlotFacts,
    budget: &WalBudget,
    retained: u64,
    durable: Lsn,
) -> Option<Fault> {
    let due = budget.state(retained) == WalState::Limit && budget.at_limit == AtLimit::DropSlot;
    due.then(|| {
        let message = format!(
            "held {} of WAL, and walBudget.limit is {}: it is dropped, as walBudget.atLimit: \
             drop_slot asks; the changes after {durable} are lost to this task",
            ByteSize(retained).rounded(),
            budget.limit
        );
        Fault::new(FaultKind::SourceState, format!("slot {}", slot.name), message).remedy(format!(
            "bring the target up to date for what is lost; to go on without it: {}",
            way_on(LogPlace::Now)
        ))
    })
}

/// Says it once, for the node and for the users of the task, when a slot comes to stand at another place
/// against its budget.
pub(crate) fn tell(slot: &str, (before, now): (WalState, WalState), retained: u64, log: &ShardLog) {
    if now == before {
        return;
    }
    let held = ByteSize(retained).rounded();
    let place = match now {
        WalState::Ok => "below walBudget.warn again",
        WalState::Warn => "over walBudget.warn",
        WalState::Limit => "over walBudget.limit",
    };
    let text = format!("slot {slot} holds {held} of WAL: it is {place}");
    if now == WalState::Ok {
        tracing::info!("{text}");
        log.info(text);
    } else {
        tracing::warn!("{text}");
        log.notice(text);
    }
}

/// What to tell of a slot that holds more than `max_slot_wal_keep_size` allows: the server removes its log at
/// a checkpoint, and the task is lost with it.
pub(crate) fn peril(slot: &SlotFacts, retained: u64) -> Option<String> {
    (slot.wal_status == "unreserved").then(|| {
        format!(
            "slot {} holds {} of WAL, more than max_slot_wal_keep_size: the server removes what it needs at \
             its next checkpoint; raise the setting, then SELECT pg_reload_conf();",
            slot.name,
            ByteSize(retained).rounded()
        )
    })
}

/// Drops the slot. The last owner may have died with its connection open, or be cut off and stream
/// on: whatever session of the shard is left, up to this owner's epoch, is ended first.
///
/// # Errors
/// `SourceBusy` when someone else streams from it; those of a broken connection.
pub(crate) async fn drop_now(sql: &Sql, name: &str, owner: &Owner) -> Result<(), Fault> {
    if slot::look(sql, name).await?.is_some_and(|slot| slot.active_pid.is_some()) {
        slot::take(sql, name, owner).await?;
    }
    slot::drop(sql, name).await
}

/// Drops the slot of a pipeline that is ending, as soon as the source lets us.
pub(crate) async fn drop_slot(source: Source, name: String, owner: Owner) {
    for _ in 0..ATTEMPTS {
        let attempt = async { drop_now(&source.connect().await?, &name, &owner).await };
        match attempt.await {
            Ok(()) => return tracing::error!(slot = name, "dropped the slot at walBudget.limit"),
            Err(fault) => tracing::warn!(slot = name, %fault, "could not drop the slot yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(restart: Option<u64>) -> SlotFacts {
        SlotFacts {
            name: "tidewire_x".to_owned(),
            plugin: "pgoutput".to_owned(),
            database: "shop".to_owned(),
            temporary: false,
            two_phase: false,
            restart_lsn: restart.map(Lsn),
            confirmed_flush: None,
            wal_status: String::new(),
            invalidation: None,
            active_pid: None,
            active_application: None,
            failover: false,
            synced: false,
        }
    }

    #[test]
    fn a_slot_is_dropped_at_the_limit_and_only_where_that_is_asked() {
        let mut budget =
            WalBudget { warn: ByteSize(100), limit: ByteSize(200), at_limit: AtLimit::DropSlot };
        let slot = slot(Some(1_000));
        let bytes = retained(&slot, Lsn(1_200));
        let fault = sentence(&slot, &budget, bytes, Lsn(0x77)).expect("is due");
        for word in ["200B", "drop_slot", "0/77", "lost"] {
            assert!(fault.message.contains(word), "{word} is not in {fault}");
        }
        assert!(sentence(&slot, &budget, 199, Lsn(0)).is_none());
        budget.at_limit = AtLimit::Alert;
        assert!(sentence(&slot, &budget, bytes, Lsn(0)).is_none());
    }

    #[test]
    fn a_slot_that_holds_too_much_for_its_server_is_told_of() {
        let mut slot = slot(Some(1));
        assert_eq!(peril(&slot, 3 << 20), None);
        slot.wal_status = "unreserved".to_owned();
        let told = peril(&slot, 3 << 20).expect("is told");
        assert!(told.contains("slot tidewire_x holds 3MiB"), "{told}");
    }

    #[test]
    fn a_slot_without_its_log_holds_nothing() {
        assert_eq!(retained(&slot(None), Lsn(5)), 0);
        assert_eq!(retained(&slot(Some(7)), Lsn(5)), 0);
    }
}
