//! A node's report as the core looks at it, and positions back to the wire.

use tidewire_coordinator_core as core;
use tidewire_proto::position::v1::PositionHint as WireHint;
use tidewire_shared::{ShardPhase, ShardReport};

/// What decisions are made from; counters and rates are for people only.
pub(super) fn observation(report: ShardReport) -> core::ShardObservation {
    let hint = report.position.map_or_else(core::PositionHint::default, |at| core::PositionHint {
        topic_id_high: at.topic_id.0,
        topic_id_low: at.topic_id.1,
        partition: at.partition,
        offset: at.offset,
        serial: at.serial,
    });
    core::ShardObservation {
        epoch: report.epoch,
        phase: match report.phase {
            ShardPhase::Initializing => core::ShardPhase::Initializing,
            ShardPhase::Synchronizing => core::ShardPhase::Synchronizing,
            ShardPhase::Retrying => core::ShardPhase::Retrying,
            ShardPhase::Failed => core::ShardPhase::Failed,
        },
        fault: report.fault,
        delay_ms: report.delay_ms,
        wal_bytes: report.wal_retained_bytes,
        durable_lsn: report.durable_lsn,
        hint,
        record: report.record,
    }
}

/// Where a start may begin to read the positions topic.
pub(crate) fn wire_hint(hint: core::PositionHint) -> WireHint {
    WireHint {
        topic_id_high: hint.topic_id_high,
        topic_id_low: hint.topic_id_low,
        partition: hint.partition,
        offset: hint.offset,
        serial: hint.serial,
    }
}
