//! What the shards of each task told lately, so that it outlives their nodes.
//!
//! In memory, and not part of the log: nodes keep their newest lines and tell a new leader all of them
//! again. A change of leader therefore loses the lines of nodes that are gone by then.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidewire_coordinator_core::ClusterState;
use tidewire_proto::admin::v1::TaskLogLine;
use tidewire_proto::node::v1::LogLine;
use tidewire_shared::{NodeName, TaskId};
use tokio::sync::watch;

/// Lines kept of one task.
const LINES_MAX: usize = 300;
/// Characters of a line; faults may quote long remedies.
const TEXT_MAX: usize = 2_000;
/// Nodes whose newest line is remembered.
const NODES_MAX: usize = 1_000;

/// The newest lines of every task.
#[derive(Debug)]
pub(crate) struct TaskLogs {
    kept: Mutex<Kept>,
    grown: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Counts lines of all tasks, in the order they came.
    last: u64,
    tasks: BTreeMap<TaskId, VecDeque<(u64, TaskLogLine)>>,
    /// The newest line of each node's process, because lines may come twice.
    heard: BTreeMap<NodeName, (u64, u64)>,
}

impl Default for TaskLogs {
    fn default() -> Self {
        Self { kept: Mutex::default(), grown: watch::Sender::new(0) }
    }
}

impl TaskLogs {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in lines of a node; those of tasks that do not exist, and those known already, are left.
    pub(crate) fn take(
        &self,
        state: &ClusterState,
        node: &NodeName,
        instance: u64,
        lines: Vec<LogLine>,
    ) {
        let last = {
            let mut kept = self.kept();
            kept.tasks.retain(|task, _| state.task(task).is_some());
            for line in lines {
                kept.take(state, node, instance, line);
            }
            kept.last
        };
        self.grown.send_replace(last);
    }

    /// The lines of a task after this number, oldest first, each with its own.
    pub(crate) fn after(&self, task: &TaskId, number: u64) -> Vec<(u64, TaskLogLine)> {
        let kept = self.kept();
        let lines = kept.tasks.get(task).into_iter().flatten();
        lines.filter(|(of, _)| *of > number).cloned().collect()
    }

    /// Changes when there are new lines.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }
}

impl Kept {
    fn take(&mut self, state: &ClusterState, node: &NodeName, instance: u64, line: LogLine) {
        let heard = self.heard.get(node).filter(|(process, _)| *process == instance);
        if heard.is_some_and(|(_, serial)| line.serial <= *serial) {
            return;
        }
        if self.heard.len() >= NODES_MAX && !self.heard.contains_key(node) {
            self.heard.pop_first();
        }
        self.heard.insert(node.clone(), (instance, line.serial));
        let Ok(task) = line.task_id.parse::<TaskId>() else { return };
        if state.task(&task).is_none() {
            return;
        }
        self.last += 1;
        let told = TaskLogLine {
            at_ms: line.at_ms,
            node: node.to_string(),
            shard: line.shard,
            epoch: line.epoch,
            level: line.level,
            text: line.text.chars().take(TEXT_MAX).collect(),
            serial: line.serial,
            instance,
        };
        let lines = self.tasks.entry(task).or_default();
        lines.push_back((self.last, told));
        while lines.len() > LINES_MAX {
            lines.pop_front();
        }
    }
}
