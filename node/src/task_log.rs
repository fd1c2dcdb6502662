//! What the shards of this node tell about themselves, for `tidewire task logs`.
//!
//! A bounded ring: the lines go to the leader over the work stream, and all of them again to a new
//! leader, which knows by their numbers what it has already. Never row values.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewire_proto::node::v1::LogLine;
use tidewire_shared::{Epoch, Fault, ShardId};
use tokio::sync::watch;

use crate::clock::now_ms;

/// Lines that are kept: an hour of trouble of some shards.
const LINES_MAX: usize = 1_000;
/// Lines that go out in one message.
const BATCH: usize = 200;

/// The log of all shards of a node; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct TaskLog {
    lines: Arc<Mutex<VecDeque<LogLine>>>,
    /// The number of the newest line.
    last: Arc<watch::Sender<u64>>,
}

impl TaskLog {
    pub(crate) fn new() -> Self {
        Self { lines: Arc::default(), last: Arc::new(watch::Sender::new(0)) }
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<LogLine>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log as one shard writes it.
    pub(crate) fn of(&self, shard: &ShardId, epoch: Epoch) -> ShardLog {
        ShardLog { log: self.clone(), shard: shard.clone(), epoch }
    }

    fn push(&self, shard: &ShardId, epoch: Epoch, level: &str, text: String) {
        self.last.send_modify(|last| {
            *last += 1;
            let mut lines = self.lines();
            lines.push_back(LogLine {
                serial: *last,
                at_ms: now_ms(),
                task_id: shard.task.to_string(),
                shard: shard.index,
                epoch: epoch.0,
                level: level.to_owned(),
                text,
            });
            while lines.len() > LINES_MAX {
                lines.pop_front();
            }
        });
    }

    /// The oldest lines after this number, waiting for one.
    pub(crate) async fn after(&self, number: u64) -> Vec<LogLine> {
        let mut last = self.last.subscribe();
        // The sender is a part of this log, so that the wait cannot fail.
        drop(last.wait_for(|last| *last > number).await);
        let lines = self.lines();
        lines.iter().filter(|line| line.serial > number).take(BATCH).cloned().collect()
    }
}

/// The log as one shard under one epoch writes it.
#[derive(Clone, Debug)]
pub(crate) struct ShardLog {
    log: TaskLog,
    shard: ShardId,
    epoch: Epoch,
}

impl ShardLog {
    /// Something that is as it should be.
    pub(crate) fn info(&self, text: impl Into<String>) {
        self.log.push(&self.shard, self.epoch, "info", text.into());
    }

    /// Something that somebody should look at, though the task goes on.
    pub(crate) fn notice(&self, text: impl Into<String>) {
        self.log.push(&self.shard, self.epoch, "warn", text.into());
    }

    /// Trouble that is tried again.
    pub(crate) fn warn(&self, fault: &Fault, what: &str) {
        self.log.push(&self.shard, self.epoch, "warn", told(fault, what));
    }

    /// Trouble that ends the task.
    pub(crate) fn error(&self, fault: &Fault, what: &str) {
        self.log.push(&self.shard, self.epoch, "error", told(fault, what));
    }
}

fn told(fault: &Fault, what: &str) -> String {
    if fault.remedy.is_empty() {
        return format!("{what}: {fault}");
    }
    format!("{what}: {fault}; {}", fault.remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_numbered_bounded_and_told_again_from_any_number() {
        let log = TaskLog::new();
        let shard = ShardId { task: "k3v9".parse().expect("id"), index: 0 };
        let writer = log.of(&shard, Epoch(3));
        for number in 0..LINES_MAX + 10 {
            writer.info(format!("line {number}"));
        }
        let first = log.after(0).await;
        assert_eq!((first.len(), first[0].serial), (BATCH, 11));
        let newest = u64::try_from(LINES_MAX + 10).expect("small");
        let rest = log.after(newest - 1).await;
        assert_eq!(rest.len(), 1);
        assert_eq!((rest[0].text.as_str(), rest[0].epoch), ("line 1009", 3));
    }
}
