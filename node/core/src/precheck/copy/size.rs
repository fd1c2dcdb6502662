//! Whether the largest record of the source fits through the task and into its copy.

use tidewire_shared::ByteSize;

use super::{Finding, Judged, listed};
use crate::copy::is_carried;

/// What a batch of one record holds besides key and value, with room for some headers.
const AROUND: u64 = 1 << 10;
/// What brokers take by default (`message.max.bytes`).
const BY_DEFAULT: u64 = 1_048_588;

/// `max.message.bytes` of both ends, and `limits.recordBytes`.
pub(super) fn judge(judged: &Judged<'_>) -> Finding {
    let ours = judged.task.limits.record_bytes.0;
    let (mut over, mut small, mut unknown, mut remedies) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut largest = 0;
    for copied in &judged.copies {
        let Some(original) = judged.seen.source.topic(&copied.source.name) else { continue };
        let Some(source) = bytes(original.number(MAX)) else { continue };
        if source > ours.saturating_add(AROUND) {
            largest = largest.max(source);
            over.push(format!("{} holds up to {}", copied.source.name, ByteSize(source)));
        }
        let most = source.min(ours);
        let copy = judged.seen.target.topic(&copied.target);
        if let Some(target) = copy.and_then(|copy| bytes(copy.number(MAX)))
            && target < most
        {
            small.push(format!("{} takes up to {}", copied.target, ByteSize(target)));
            remedies.push(judged.set(&copied.target, &format!("{MAX}={}", source.max(ours))));
        }
        let own = original.setting(MAX).is_some_and(|it| it.own);
        let given = own && is_carried(MAX, &judged.task.sync_configs);
        if judged.seen.target.lacks(&copied.target) && !given && most > BY_DEFAULT {
            unknown.push(format!("{} is made as the target's brokers make topics", copied.target));
        }
    }
    if !over.is_empty() {
        remedies.insert(0, format!("write limits.recordBytes: {}", ByteSize(largest)));
    }
    let ours = ByteSize(ours);
    let found = [over, small].concat();
    if !found.is_empty() {
        return Finding::fail(
            format!("{}; limits.recordBytes is {ours}", listed(&found, "; ")),
            "a record that does not fit stops the task",
            listed(&remedies, "; "),
        )
        .overridable();
    }
    if !unknown.is_empty() {
        return Finding::warn(
            listed(&unknown, "; "),
            "a record above their message.max.bytes stops the task",
            format!("make these copies by hand with {MAX} as at the source"),
        );
    }
    Finding::pass(format!("limits.recordBytes {ours}"))
}

const MAX: &str = "max.message.bytes";

fn bytes(number: Option<i64>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number).ok())
}
