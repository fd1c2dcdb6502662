//! The Kafka side of a precheck.

use tidewire_shared::TaskSpec;
use tidewire_shared::precheck::CheckItem;

use super::Finding;
use crate::facts::TargetPrecheck;

/// Judges the target: one item per thing to know, in a fixed order. Without a connection there is
/// only `target_connect`.
#[must_use]
pub fn judge_target(_spec: &TaskSpec, seen: &TargetPrecheck) -> Vec<CheckItem> {
    match &seen.brokers {
        Ok(count) => vec![Finding::pass(format!("{count} brokers")).item("target_connect")],
        Err(fault) => {
            vec![Finding::fail(&fault.object, &fault.message, &fault.remedy).item("target_connect")]
        }
    }
}
