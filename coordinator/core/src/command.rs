//! Everything that may enter the log.
//!
//! A command carries its own time and names, put there by its proposer, so that applying it needs no
//! clock and no randomness. The log outlives a release: variants are only appended, and the fields of
//! a variant never change; what must change becomes a new variant that a higher cluster version allows.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewire_shared::precheck::PrecheckReport;
use tidewire_shared::{
    Channel, ChannelName, ClusterId, Connection, ConnectionName, Epoch, Fault, Lsn, NodeName,
    ShardId, TaskId, TaskSpec,
};

use crate::alert::{AlertMove, Push};
use crate::indicators::Indicators;
use crate::lifecycle::Move;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// When it was proposed, milliseconds since 1970, by the proposer's clock.
    pub at_ms: i64,
    /// Set where the wish comes from outside; the same id twice is applied once.
    pub request_id: Option<RequestId>,
    /// Who wishes it, by their own claim; empty where the cluster acts by itself or nobody said.
    pub by: String,
    /// What is asked.
    pub kind: CommandKind,
}

impl Command {
    /// A command that the cluster gives itself.
    #[must_use]
    pub fn internal(at_ms: i64, kind: CommandKind) -> Self {
        Self { at_ms, request_id: None, by: String::new(), kind }
    }

    /// A command that carries out a wish from outside.
    #[must_use]
    pub fn requested(at_ms: i64, request_id: RequestId, kind: CommandKind) -> Self {
        Self { at_ms, request_id: Some(request_id), by: String::new(), kind }
    }

    /// The same command with the name of who wishes it.
    #[must_use]
    pub fn wished_by(mut self, by: &str) -> Self {
        by.clone_into(&mut self.by);
        self
    }
}

/// What a command asks. Append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandKind {
    /// Gives the cluster its identity; once.
    Bootstrap {
        /// The identity.
        cluster: ClusterId,
    },
    /// Lets every member write what this version knows. Never goes down.
    RaiseClusterVersion {
        /// The new version.
        version: u32,
    },
    /// A node opened a session.
    RegisterNode {
        /// What it says about itself.
        node: NodeRegistration,
    },
    /// Drops a node that owns nothing.
    ForgetNode {
        /// Its name.
        node: NodeName,
    },
    /// Moves everything away from a node and puts nothing there.
    DrainNode {
        /// Its name.
        node: NodeName,
        /// Who wants it.
        cause: DrainCause,
    },
    /// Ends a drain.
    ResumeNode {
        /// Its name.
        node: NodeName,
    },
    /// Makes a task. The very same document under the same name answers that it exists.
    CreateTask {
        /// Its identity, chosen by the proposer and never used before.
        task: TaskId,
        /// Its document.
        #[serde(with = "crate::spec_text")]
        spec: Arc<TaskSpec>,
    },
    /// A user's move, legal or not by the table of [`crate::lifecycle`].
    SetDesired {
        /// The task.
        task: TaskId,
        /// The move.
        wish: Move,
    },
    /// What a node found when it looked whether the task could run.
    RecordPrecheck {
        /// The task.
        task: TaskId,
        /// The document that was looked at; another one in the state refuses the command.
        revision: u64,
        /// The findings.
        report: PrecheckReport,
    },
    /// Gives a shard to a node under the next epoch.
    Assign {
        /// The shard.
        shard: ShardId,
        /// The node.
        node: NodeName,
        /// The process that registered under this name.
        instance: u64,
        /// The epoch the proposer saw; another one in the state refuses the command.
        expect_epoch: Epoch,
    },
    /// Lifts a shard's epoch over one that a claim in the target shows. The owner, if any, stays.
    RaiseEpoch {
        /// The shard.
        shard: ShardId,
        /// The epoch seen; nothing happens unless it is higher than the shard's own.
        above: Epoch,
    },
    /// The owner stopped the shard, or is gone: nobody owns it any more.
    Release {
        /// The shard.
        shard: ShardId,
        /// The epoch that ends; another one in the state refuses the command.
        epoch: Epoch,
    },
    /// Positions of many shards in one entry. Stale ones are counted and left out.
    Checkpoints {
        /// At most one per shard.
        reports: Vec<CheckpointReport>,
    },
    /// A shard failed for good on its node.
    TaskFailed {
        /// The shard.
        shard: ShardId,
        /// The epoch under which it failed; another one in the state refuses the command.
        epoch: Epoch,
        /// Where it failed.
        node: NodeName,
        /// Why.
        fault: Fault,
        /// No other node is left to try.
        last_node: bool,
    },
    /// Forgets a task's fault and where it crashed, without starting a precheck.
    ClearFault {
        /// The task.
        task: TaskId,
    },
    /// Drops a deleted task after its clean-up.
    RemoveTask {
        /// The task.
        task: TaskId,
        /// What could not be dropped, each with how to drop it by hand.
        left: Vec<String>,
    },
    /// A user's decisions about items of a task's precheck.
    Waive {
        /// The task.
        task: TaskId,
        /// Items whose warnings are known.
        ignore: Vec<String>,
        /// Items whose failures shall not keep the task from starting.
        overrides: Vec<String>,
    },
    /// Another document for a task that exists. One that ran is prechecked with it first.
    ModifyTask {
        /// The task.
        task: TaskId,
        /// The document.
        #[serde(with = "crate::spec_text")]
        spec: Arc<TaskSpec>,
    },
    /// What a node found when it looked whether a task could run with a revision of it.
    RecordRevision {
        /// The task.
        task: TaskId,
        /// The revision that was looked at; another one in the state refuses the command.
        revision: u64,
        /// The findings.
        report: PrecheckReport,
    },
    /// What is still left of a removed task after another clean-up; nothing: it is forgotten.
    RecordLeftovers {
        /// The task.
        task: TaskId,
        /// What could not be dropped, each with how to drop it by hand.
        left: Vec<String>,
    },
    /// A user looks after the leftovers of a removed task.
    ForgetLeftovers {
        /// The task.
        task: TaskId,
    },
    /// Moves a shard to a node of somebody's choice, or to even out the load.
    MoveShard {
        /// The shard.
        shard: ShardId,
        /// The node.
        node: NodeName,
    },
    /// The slot of a task that does not run was dropped at its limit of WAL.
    SlotDropped {
        /// The shard.
        shard: ShardId,
        /// The node that did it.
        node: NodeName,
        /// What that costs.
        fault: Fault,
    },
    /// A node has set the position of a paused shard back. Written by earlier releases only.
    RecordRewind {
        /// The shard.
        shard: ShardId,
        /// Where it goes on.
        to: Lsn,
    },
    /// Registers a connection, or changes the one of that name.
    ApplyConnection {
        /// The connection.
        #[serde(with = "crate::spec_text")]
        connection: Arc<Connection>,
    },
    /// Forgets a connection that no task uses.
    DeleteConnection {
        /// Its name.
        name: ConnectionName,
    },
    /// Registers a channel of alerts, or changes the one of that name.
    ApplyChannel {
        /// The channel.
        #[serde(with = "crate::spec_text")]
        channel: Arc<Channel>,
    },
    /// Forgets a channel that no alert names.
    DeleteChannel {
        /// Its name.
        name: ChannelName,
    },
    /// Alerts that begin, go on and end.
    MoveAlerts {
        /// At most one per alert.
        moves: Vec<AlertMove>,
    },
    /// What came of a message at a channel.
    RecordPush {
        /// The message.
        message: u64,
        /// The channel.
        channel: ChannelName,
        /// What came of it.
        push: Push,
    },
    /// A node has moved partitions of a copy that nobody runs.
    RecordMove {
        /// The task.
        task: TaskId,
        /// What was moved, a line each.
        moved: Vec<String>,
    },
    /// How tasks did in the minute that is over.
    RecordIndicators {
        /// At most one per task.
        minutes: Vec<(TaskId, Indicators)>,
    },
    /// Gives a task as many shards as its document says, in place of those that nobody owns any more.
    Reshard {
        /// The task.
        task: TaskId,
    },
}

/// What a node says about itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRegistration {
    /// Its name.
    pub name: NodeName,
    /// Random per process.
    pub instance: u64,
    /// Shards it will carry at most.
    pub capacity: u32,
    /// Its release.
    pub version: String,
    /// Where it runs, for people.
    pub host: String,
    /// Its process id, for people.
    pub pid: u32,
}

/// Who wants a node drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainCause {
    /// A user; lasts until `ResumeNode`, also over a restart of the node.
    Asked,
    /// The node itself, because its process ends; over when it registers as a new process.
    Leaving,
}

/// The position of one shard, as its owner reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointReport {
    /// The shard.
    pub shard: ShardId,
    /// The epoch of the owner.
    pub epoch: Epoch,
    /// How far it has come.
    pub checkpoint: Checkpoint,
}

/// How far a shard has come, as the log has it: lags behind the target, which holds the truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Everything before it is durable at the target.
    pub lsn: Lsn,
    /// Where the newest known position record stands.
    pub hint: PositionHint,
    /// When it was reported, milliseconds since 1970.
    pub at_ms: i64,
    /// Of an at_least_once task the position record itself, which nobody else keeps; else empty.
    pub record: Vec<u8>,
}

/// Where a position record stands in the positions topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionHint {
    /// Topic id, first half; both halves 0 where the brokers have none.
    pub topic_id_high: i64,
    /// Topic id, second half.
    pub topic_id_low: i64,
    /// Partition of the topic.
    pub partition: u32,
    /// Offset in the partition.
    pub offset: i64,
    /// Serial of the record, from 1.
    pub serial: u64,
}

/// Identity of a wish from outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

/// A request id is 1 to 64 printable ASCII characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request id is 1 to 64 printable ASCII characters")]
pub struct InvalidRequestId;

impl RequestId {
    /// The text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RequestId {
    type Error = InvalidRequestId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(text)) } else { Err(InvalidRequestId) }
    }
}

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
