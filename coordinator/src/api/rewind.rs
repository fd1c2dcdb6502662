//! `RewindTask`: a task that rests goes on from elsewhere. A node moves its positions; the log keeps that
//! it was asked, by whom, and what was moved.

use std::sync::Arc;
use std::time::Duration;

use tidewire_coordinator_core::{
    Checkpoint, CheckpointReport, ClusterState, Command, CommandKind, Outcome, PositionHint, Task,
    settled_phase,
};
use tidewire_proto::admin::v1 as pb;
use tidewire_proto::convert::{ConvertError, each, required};
use tidewire_proto::node::v1::work_done::Outcome as Done;
use tidewire_proto::node::v1::work_order::Work;
use tidewire_proto::node::v1::{RewindCopy, RewindDone, RewindLog, Rewound, ShardAtRest};
use tidewire_shared::{
    Desired, Epoch, Fault, FaultKind, LogPlace, Lsn, Phase, Place, ShardId, TaskId, TaskSpec,
};
use tokio::time::timeout;
use tonic::Status;

use super::admin::{no_task, not_looked, propose, request_id, resolve, view_task};
use super::error;
use crate::clock;
use crate::leader::{Leader, WorkError, wire_hint};

pub(super) async fn rewind(
    leader: Leader,
    request: pb::RewindTaskRequest,
) -> Result<pb::RewindTaskResponse, Status> {
    let request_id = request_id(request.request_id.clone())?;
    let (id, object) = resolve(&leader, &request.name).await?;
    let state = come_to_rest(&leader, &id).await;
    let mut moved = Vec::new();
    match state.outcome_of(&request_id) {
        // The same wish again.
        Some(Ok(_)) => {}
        Some(Err(rejection)) => return Err(error::rejected(rejection)),
        None => {
            let known = state.task(&id).ok_or_else(|| no_task(&object))?;
            let shards = at_rest(known, &object)?;
            let spec =
                state.resolve(known.spec()).map_err(|rejection| error::rejected(&rejection))?;
            let rest = AtRest { leader: &leader, task: known, spec: spec.as_ref().clone(), shards };
            let done = match spec.as_ref() {
                TaskSpec::PostgresToKafka(_) => rest.to_log_place(&request, &object).await?,
                TaskSpec::KafkaToKafka(_) => rest.to_places(&request, &object).await?,
            };
            moved = done.moved;
            if request.look_only {
                return Ok(pb::RewindTaskResponse {
                    task: Some(view_task(&leader, &id, &object)?),
                    moved,
                });
            }
            rest.keep(&done.kept, &object).await?;
            let kind = CommandKind::RecordMove { task: id.clone(), moved: moved.clone() };
            let failed = done.failed;
            if let Some(fault) = failed {
                let fault: Fault = required("failed", Some(fault))?;
                return Err(in_part(&leader, kind, fault, &object).await);
            }
            propose(&leader, request_id, kind, &object).await?;
        }
    }
    Ok(pb::RewindTaskResponse { task: Some(view_task(&leader, &id, &object)?), moved })
}

/// Keeps what was moved before a fault, not as what was wished: the same wish again moves the rest.
async fn in_part(leader: &Leader, kind: CommandKind, fault: Fault, object: &str) -> Status {
    let command = Command::internal(clock::wall_ms(), kind).wished_by(leader.caller());
    match leader.handle().propose(command).await {
        Ok(_) => not_looked(object, WorkError::Failed(Box::new(fault))),
        Err(error) => error::not_proposed(leader.handle(), object, error).await,
    }
}

/// The state once the shards of a task that is to rest have stopped: one of them that failed is told
/// before the others have.
async fn come_to_rest(leader: &Leader, id: &TaskId) -> Arc<ClusterState> {
    let mut states = leader.handle().watch_state();
    let rests = |state: &Arc<ClusterState>| {
        state.task(id).is_none_or(|task| !is_to_rest(task) || !is_owned(task))
    };
    match timeout(STOPS, states.wait_for(rests)).await {
        Ok(Ok(state)) => Arc::clone(&state),
        Ok(Err(_)) | Err(_) => leader.handle().state(),
    }
}

/// Longest wait for shards that are about to stop.
const STOPS: Duration = Duration::from_secs(10);

fn is_owned(task: &Task) -> bool {
    task.shards().any(|(_, shard)| shard.assignment().is_some())
}

fn is_to_rest(task: &Task) -> bool {
    // A start whose precheck names what is lost at the source leaves the task so.
    let refused = settled_phase(task) == Phase::PrecheckFailed;
    task.desired() == Desired::Paused || task.failure().is_some() || refused
}

/// The shards of a task, none of which runs anywhere, and some of which may have a position: one whose
/// first start stopped behind its claim has one that the log has not heard of.
fn at_rest(task: &Task, object: &str) -> Result<Vec<ShardId>, Status> {
    let ended = matches!(task.desired(), Desired::Terminated | Desired::Deleted);
    let name = task.name();
    if ended {
        return Err(error::refused(object, "it has ended", "create another task"));
    }
    if !is_to_rest(task) {
        let remedy = format!("`tidewire task pause {name} --wait`, then rewind it");
        return Err(error::refused(object, "only a paused or failed task can be rewound", &remedy));
    }
    if is_owned(task) {
        return Err(error::refused(
            object,
            "a node is still stopping it",
            "rewind it a little later",
        ));
    }
    if task.shards().all(|(_, shard)| shard.epoch() == Epoch::default()) {
        let word = if task.desired() == Desired::Paused { "resume" } else { "start" };
        let remedy = format!("`tidewire task {word} {name}` first, and pause it once it has begun");
        return Err(error::refused(object, "it has no position yet", &remedy));
    }
    Ok(task.shards().map(|(id, _)| id).collect())
}

/// A task that nobody runs.
struct AtRest<'a> {
    leader: &'a Leader,
    task: &'a Task,
    /// With its connections filled in.
    spec: TaskSpec,
    shards: Vec<ShardId>,
}

impl AtRest<'_> {
    /// Moves the one shard of a task from PostgreSQL.
    async fn to_log_place(
        &self,
        request: &pb::RewindTaskRequest,
        object: &str,
    ) -> Result<RewindDone, Status> {
        if !request.places.is_empty() {
            let why = "reads a log of PostgreSQL: places in topics mean nothing there";
            return Err(error::invalid(object, why, "name slot, now or a position like 0/16B3748"));
        }
        let at = match request.at {
            Some(at) => LogPlace::try_from(at).map_err(|error| error.within("at"))?,
            None => LogPlace::Lsn(Lsn(request.to)),
        };
        let shard = self.shards.first().and_then(|shard| self.resting(shard));
        let order = RewindLog {
            spec: Some(self.spec.clone().into()),
            task_id: self.task.id().to_string(),
            shard: Some(shard.ok_or_else(|| no_task(object))?),
            at: Some(at.into()),
            look_only: request.look_only,
        };
        self.ask(Work::RewindLog(order), object).await
    }

    /// Moves partitions of a task from Kafka.
    async fn to_places(
        &self,
        request: &pb::RewindTaskRequest,
        object: &str,
    ) -> Result<RewindDone, Status> {
        let _checked: Vec<Place> = each("places", request.places.clone())?;
        if request.look_only {
            let why = "copies topics: what a move of them means is told when it is done";
            return Err(error::invalid(object, why, "add --yes if that is meant"));
        }
        if request.places.is_empty() {
            let why = "copies topics: a position in a log of PostgreSQL means nothing there";
            return Err(error::invalid(
                object,
                why,
                "name places like orders/0=120 or orders=earliest",
            ));
        }
        let order = RewindCopy {
            spec: Some(self.spec.clone().into()),
            task_id: self.task.id().to_string(),
            shards: self.shards.iter().filter_map(|shard| self.resting(shard)).collect(),
            places: request.places.clone(),
        };
        self.ask(Work::RewindCopy(order), object).await
    }

    fn resting(&self, id: &ShardId) -> Option<ShardAtRest> {
        let (_, shard) = self.task.shards().find(|(other, _)| other == id)?;
        Some(ShardAtRest {
            shard: id.index,
            ordinal: shard.ordinal(),
            epoch: shard.epoch().0,
            hint: shard.checkpoint().map(|checkpoint| wire_hint(checkpoint.hint)),
            record: shard.checkpoint().map_or_else(Vec::new, |it| it.record.clone()),
        })
    }

    async fn ask(&self, work: Work, object: &str) -> Result<RewindDone, Status> {
        match self.leader.ask(work).await {
            Ok(Done::Rewind(done)) => Ok(done),
            Ok(_) => Err(ConvertError::new("outcome", "is no answer to what was asked").into()),
            Err(error) => Err(not_looked(object, error)),
        }
    }

    /// The log is the only place where an at_least_once task has its positions.
    async fn keep(&self, kept: &[Rewound], object: &str) -> Result<(), Status> {
        if kept.is_empty() {
            return Ok(());
        }
        let report = |rewound: &Rewound| {
            let id = self.shards.iter().find(|id| id.index == rewound.shard)?;
            let (_, shard) = self.task.shards().find(|(other, _)| other == id)?;
            let hint = PositionHint { serial: rewound.serial, ..PositionHint::default() };
            let checkpoint = Checkpoint {
                lsn: Lsn(rewound.lsn),
                hint,
                at_ms: clock::wall_ms(),
                record: rewound.record.clone(),
            };
            Some(CheckpointReport { shard: id.clone(), epoch: shard.epoch(), checkpoint })
        };
        let reports: Vec<_> = kept.iter().filter_map(report).collect();
        let kind = CommandKind::Checkpoints { reports };
        let command = Command::internal(clock::wall_ms(), kind);
        match self.leader.handle().propose(command).await {
            Ok(Outcome::Checkpointed { stale: 0, .. }) => Ok(()),
            Ok(_) => {
                let fault = Fault::new(
                    FaultKind::Fenced,
                    object,
                    "a node runs it again: not all of its positions were moved",
                )
                .remedy("pause it and wait until it is Paused, then rewind it again");
                Err(not_looked(object, WorkError::Failed(Box::new(fault))))
            }
            Err(error) => Err(error::not_proposed(self.leader.handle(), object, error).await),
        }
    }
}
