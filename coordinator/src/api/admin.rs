//! AdminService: the one surface for people and programs. Each call is served by the leader.

use std::sync::Arc;

use tidewire_coordinator_core::{
    ClusterState, Command, CommandKind, DrainCause, Move, Outcome, RequestId,
};
use tidewire_proto::admin::v1 as pb;
use tidewire_proto::admin::v1::admin_service_server::AdminService;
use tidewire_proto::convert::{ConvertError, parsed, required};
use tidewire_shared::{NodeName, Persistence, TaskId, TaskName, TaskSpec};
use tonic::{Request, Response, Status};

use super::relay::{Route, marked, not_relayed, route};
use super::waive::Decisions;
use super::{Door, alert, connection, error, life, rewind, view};
use crate::clock;
use crate::identity_text;
use crate::leader::{Leader, Term, WorkError};

/// Serves people and programs.
#[derive(Debug)]
pub(crate) struct Service {
    door: Door,
}

impl Service {
    pub(crate) fn new(door: Door) -> Self {
        Self { door }
    }
}

/// Serves a call here if this coordinator leads, else passes it to the leader.
macro_rules! at_leader {
    ($self:ident, $request:ident, $call:ident, writes: $writes:literal, $serve:expr) => {
        match route(&$self.door, &$request).await? {
            Route::Here(leader) => $serve(*leader, $request.into_inner()).await.map(Response::new),
            Route::There(mut client, address) => match client.$call(marked($request)).await {
                Ok(response) => Ok(response),
                Err(status) => Err(not_relayed(&$self.door, &address, $writes, status).await),
            },
        }
    };
}

#[tonic::async_trait]
impl AdminService for Service {
    async fn apply_task(
        &self,
        request: Request<pb::ApplyTaskRequest>,
    ) -> Result<Response<pb::ApplyTaskResponse>, Status> {
        at_leader!(self, request, apply_task, writes: true, apply)
    }

    async fn precheck_task(
        &self,
        request: Request<pb::PrecheckTaskRequest>,
    ) -> Result<Response<pb::PrecheckTaskResponse>, Status> {
        at_leader!(self, request, precheck_task, writes: false, precheck)
    }

    async fn start_task(
        &self,
        request: Request<pb::TaskRequest>,
    ) -> Result<Response<pb::TaskResponse>, Status> {
        at_leader!(self, request, start_task, writes: true, |l, r| wish(l, r, Move::Start))
    }

    async fn pause_task(
        &self,
        request: Request<pb::TaskRequest>,
    ) -> Result<Response<pb::TaskResponse>, Status> {
        at_leader!(self, request, pause_task, writes: true, |l, r| wish(l, r, Move::Pause))
    }

    async fn resume_task(
        &self,
        request: Request<pb::TaskRequest>,
    ) -> Result<Response<pb::TaskResponse>, Status> {
        at_leader!(self, request, resume_task, writes: true, |l, r| wish(l, r, Move::Resume))
    }

    async fn terminate_task(
        &self,
        request: Request<pb::TaskRequest>,
    ) -> Result<Response<pb::TaskResponse>, Status> {
        at_leader!(self, request, terminate_task, writes: true, |l, r| wish(l, r, Move::Terminate))
    }

    async fn delete_task(
        &self,
        request: Request<pb::TaskRequest>,
    ) -> Result<Response<pb::DeleteTaskResponse>, Status> {
        at_leader!(self, request, delete_task, writes: true, delete)
    }

    async fn get_task(
        &self,
        request: Request<pb::GetTaskRequest>,
    ) -> Result<Response<pb::TaskResponse>, Status> {
        at_leader!(self, request, get_task, writes: false, get)
    }

    async fn task_history(
        &self,
        request: Request<pb::GetTaskRequest>,
    ) -> Result<Response<pb::TaskHistoryResponse>, Status> {
        at_leader!(self, request, task_history, writes: false, life::history)
    }

    async fn task_indicators(
        &self,
        request: Request<pb::GetTaskRequest>,
    ) -> Result<Response<pb::TaskIndicatorsResponse>, Status> {
        at_leader!(self, request, task_indicators, writes: false, life::indicators)
    }

    type TaskLogsStream = life::LogStream;

    async fn task_logs(
        &self,
        request: Request<pb::TaskLogsRequest>,
    ) -> Result<Response<life::LogStream>, Status> {
        match route(&self.door, &request).await? {
            Route::Here(leader) => {
                life::logs(*leader, request.into_inner()).await.map(Response::new)
            }
            Route::There(mut client, address) => match client.task_logs(marked(request)).await {
                Ok(lines) => Ok(Response::new(Box::pin(lines.into_inner()))),
                Err(status) => Err(not_relayed(&self.door, &address, false, status).await),
            },
        }
    }

    async fn rewind_task(
        &self,
        request: Request<pb::RewindTaskRequest>,
    ) -> Result<Response<pb::RewindTaskResponse>, Status> {
        at_leader!(self, request, rewind_task, writes: true, rewind::rewind)
    }

    async fn move_task(
        &self,
        request: Request<pb::MoveTaskRequest>,
    ) -> Result<Response<pb::TaskResponse>, Status> {
        at_leader!(self, request, move_task, writes: true, life::move_task)
    }

    async fn forget_leftovers(
        &self,
        request: Request<pb::TaskRequest>,
    ) -> Result<Response<pb::ForgetLeftoversResponse>, Status> {
        at_leader!(self, request, forget_leftovers, writes: true, life::forget_leftovers)
    }

    async fn remove_node(
        &self,
        request: Request<pb::NodeRequest>,
    ) -> Result<Response<pb::RemoveNodeResponse>, Status> {
        at_leader!(self, request, remove_node, writes: true, life::remove_node)
    }

    async fn list_tasks(
        &self,
        request: Request<pb::ListTasksRequest>,
    ) -> Result<Response<pb::ListTasksResponse>, Status> {
        at_leader!(self, request, list_tasks, writes: false, list)
    }

    async fn apply_connection(
        &self,
        request: Request<pb::ApplyConnectionRequest>,
    ) -> Result<Response<pb::ApplyConnectionResponse>, Status> {
        at_leader!(self, request, apply_connection, writes: true, connection::apply)
    }

    async fn delete_connection(
        &self,
        request: Request<pb::ConnectionRequest>,
    ) -> Result<Response<pb::DeleteConnectionResponse>, Status> {
        at_leader!(self, request, delete_connection, writes: true, connection::delete)
    }

    async fn get_connection(
        &self,
        request: Request<pb::GetConnectionRequest>,
    ) -> Result<Response<pb::ConnectionResponse>, Status> {
        at_leader!(self, request, get_connection, writes: false, connection::get)
    }

    async fn list_connections(
        &self,
        request: Request<pb::ListConnectionsRequest>,
    ) -> Result<Response<pb::ListConnectionsResponse>, Status> {
        at_leader!(self, request, list_connections, writes: false, connection::list)
    }

    async fn test_connection(
        &self,
        request: Request<pb::TestConnectionRequest>,
    ) -> Result<Response<pb::TestConnectionResponse>, Status> {
        at_leader!(self, request, test_connection, writes: false, connection::test)
    }

    async fn discover_connection(
        &self,
        request: Request<pb::DiscoverConnectionRequest>,
    ) -> Result<Response<pb::DiscoverConnectionResponse>, Status> {
        at_leader!(self, request, discover_connection, writes: false, connection::discover)
    }

    async fn apply_channel(
        &self,
        request: Request<pb::ApplyChannelRequest>,
    ) -> Result<Response<pb::ApplyChannelResponse>, Status> {
        at_leader!(self, request, apply_channel, writes: true, alert::apply)
    }

    async fn delete_channel(
        &self,
        request: Request<pb::ChannelRequest>,
    ) -> Result<Response<pb::DeleteChannelResponse>, Status> {
        at_leader!(self, request, delete_channel, writes: true, alert::delete)
    }

    async fn get_channel(
        &self,
        request: Request<pb::GetChannelRequest>,
    ) -> Result<Response<pb::ChannelResponse>, Status> {
        at_leader!(self, request, get_channel, writes: false, alert::get)
    }

    async fn list_alerts(
        &self,
        request: Request<pb::ListAlertsRequest>,
    ) -> Result<Response<pb::ListAlertsResponse>, Status> {
        at_leader!(self, request, list_alerts, writes: false, alert::list)
    }

    async fn alert_history(
        &self,
        request: Request<pb::AlertHistoryRequest>,
    ) -> Result<Response<pb::AlertHistoryResponse>, Status> {
        at_leader!(self, request, alert_history, writes: false, alert::history)
    }

    async fn test_channel(
        &self,
        request: Request<pb::TestChannelRequest>,
    ) -> Result<Response<pb::TestChannelResponse>, Status> {
        at_leader!(self, request, test_channel, writes: true, alert::test)
    }

    async fn list_nodes(
        &self,
        request: Request<pb::ListNodesRequest>,
    ) -> Result<Response<pb::ListNodesResponse>, Status> {
        at_leader!(self, request, list_nodes, writes: false, nodes)
    }

    async fn drain_node(
        &self,
        request: Request<pb::NodeRequest>,
    ) -> Result<Response<pb::NodeResponse>, Status> {
        at_leader!(self, request, drain_node, writes: true, |l, r| change_node(l, r, drained))
    }

    async fn resume_node(
        &self,
        request: Request<pb::NodeRequest>,
    ) -> Result<Response<pb::NodeResponse>, Status> {
        at_leader!(self, request, resume_node, writes: true, |l, r| change_node(l, r, resumed))
    }

    async fn cluster_status(
        &self,
        request: Request<pb::ClusterStatusRequest>,
    ) -> Result<Response<pb::ClusterStatusResponse>, Status> {
        at_leader!(self, request, cluster_status, writes: false, cluster_status)
    }
}

async fn apply(
    leader: Leader,
    request: pb::ApplyTaskRequest,
) -> Result<pb::ApplyTaskResponse, Status> {
    let request_id = request_id(request.request_id)?;
    let spec: TaskSpec = required("spec", request.spec)?;
    let object = format!("task {}", spec.name());
    let decisions = Decisions::read(request.waive)?;
    let state = read(&leader).await?;
    if let Some(present) = state.task_named(spec.name()).map(|task| task.id().clone()) {
        decisions.keep(&leader, &request_id, &present, &object).await?;
        return life::modify(&leader, request_id, present, spec, &object).await;
    }
    let task = unused_task_id(&state)?;
    let kind = CommandKind::CreateTask { task, spec: Arc::new(spec) };
    let outcome = propose(&leader, request_id.clone(), kind, &object).await?;
    let (id, created) = match outcome {
        Outcome::Created(id) => (id, true),
        Outcome::Exists(id) => (id, false),
        // The same wish again, of which a later one has changed the document since.
        Outcome::Modified { task, .. } => (task, false),
        Outcome::Done | Outcome::Unchanged | Outcome::Epoch(_) | Outcome::Checkpointed { .. } => {
            return Err(error::used_before());
        }
    };
    decisions.keep(&leader, &request_id, &id, &object).await?;
    let task = view_task(&leader, &id, &object)?;
    Ok(pb::ApplyTaskResponse { revision: task.revision, task: Some(task), created })
}

fn unused_task_id(state: &ClusterState) -> Result<TaskId, Status> {
    loop {
        let id: TaskId = identity_text::random()
            .parse()
            .map_err(|_| Status::internal("an identity breaks its own rule"))?;
        if state.task(&id).is_none()
            && state.removed(&id).is_none()
            && state.leftovers_of(&id).is_none()
        {
            return Ok(id);
        }
    }
}

async fn precheck(
    leader: Leader,
    request: pb::PrecheckTaskRequest,
) -> Result<pb::PrecheckTaskResponse, Status> {
    use pb::precheck_task_request::Subject;
    let subject = request.subject.ok_or_else(|| ConvertError::new("subject", "is missing"))?;
    let decisions = Decisions::read(request.waive)?;
    let report = match subject {
        Subject::Spec(spec) => {
            let spec: TaskSpec = required("spec", Some(spec))?;
            let object = format!("task {}", spec.name());
            let spec = leader.handle().state().with_kept_secrets(&Arc::new(spec));
            let spec = spec.map_err(|rejection| error::rejected(&rejection))?;
            let report = leader.look(&spec, None).await;
            let report = report.map_err(|error| not_looked(&object, error))?;
            report.waived(&decisions.waivers(leader.caller()))
        }
        Subject::Name(name) => {
            let (id, object) = resolve(&leader, &name).await?;
            decisions.keep_for_look(&leader, &id, &object).await?;
            let state = leader.handle().state();
            let task = state.task(&id).ok_or_else(|| no_task(&object))?;
            let facts = Some((&id, task.started_before()));
            let report = leader.look(task.spec(), facts).await;
            let report = report.map_err(|error| not_looked(&object, error))?;
            let report = report.waived(task.waivers());
            let (revision, report_kept) = (task.revision(), report.clone());
            let kind = CommandKind::RecordPrecheck { task: id, revision, report: report_kept };
            let command = Command::internal(clock::wall_ms(), kind);
            if let Err(error) = leader.handle().propose(command).await {
                return Err(error::not_proposed(leader.handle(), &object, error).await);
            }
            report
        }
    };
    Ok(pb::PrecheckTaskResponse { report: Some(report.into()) })
}

pub(super) fn not_looked(object: &str, error: WorkError) -> Status {
    let remedy = match &error {
        WorkError::NotLeader => "ask again".to_owned(),
        WorkError::NoNode => "start a node: it looks from where the tasks will run".to_owned(),
        WorkError::Unresolved(rejection) => return error::rejected(rejection),
        WorkError::Failed(fault) => fault.remedy.clone(),
    };
    let message = match &error {
        WorkError::Failed(_) => error.to_string(),
        _ => format!("nobody could look: {error}"),
    };
    match &error {
        // Asking again would give the same answer.
        WorkError::Failed(fault) if fault.kind.persistence() != Persistence::Connection => {
            error::refused(object, &message, &remedy)
        }
        _ => error::unavailable(object, &message, &remedy),
    }
}

async fn wish(
    leader: Leader,
    request: pb::TaskRequest,
    wish: Move,
) -> Result<pb::TaskResponse, Status> {
    let request_id = request_id(request.request_id)?;
    let decisions = Decisions::read(request.waive)?;
    let (id, object) = resolve(&leader, &request.name).await?;
    decisions.keep(&leader, &request_id, &id, &object).await?;
    let kind = CommandKind::SetDesired { task: id.clone(), wish };
    propose(&leader, request_id, kind, &object).await?;
    Ok(pb::TaskResponse { task: Some(view_task(&leader, &id, &object)?) })
}

/// Answers when the task is gone, with what its clean-up had to leave.
async fn delete(
    leader: Leader,
    request: pb::TaskRequest,
) -> Result<pb::DeleteTaskResponse, Status> {
    let request_id = request_id(request.request_id)?;
    let resolved = resolve(&leader, &request.name).await;
    if resolved.is_err() && leader.handle().state().outcome_of(&request_id).is_some() {
        // The same wish again, after it came true.
        return Ok(pb::DeleteTaskResponse { left: Vec::new() });
    }
    let (task, object) = resolved?;
    let kind = CommandKind::SetDesired { task: task.clone(), wish: Move::Delete };
    propose(&leader, request_id, kind, &object).await?;
    let mut states = leader.handle().watch_state();
    loop {
        let state = Arc::clone(&states.borrow_and_update());
        if state.task(&task).is_none() {
            let left = state.removed(&task).map(|removed| removed.left.clone());
            return Ok(pb::DeleteTaskResponse { left: left.unwrap_or_default() });
        }
        let patience = std::time::Duration::from_millis(leader.timing().work_ms);
        match tokio::time::timeout(patience, states.changed()).await {
            Ok(Ok(())) if leader.leads() => {}
            Ok(_) | Err(_) => return Err(error::unknown_outcome(&object)),
        }
    }
}

async fn get(leader: Leader, request: pb::GetTaskRequest) -> Result<pb::TaskResponse, Status> {
    let (id, object) = resolve(&leader, &request.name).await?;
    Ok(pb::TaskResponse { task: Some(view_task(&leader, &id, &object)?) })
}

async fn list(leader: Leader, _: pb::ListTasksRequest) -> Result<pb::ListTasksResponse, Status> {
    let state = read(&leader).await?;
    let mut tasks: Vec<pb::Task> = with_term(&leader, |term| {
        state.tasks().map(|task| view::task(&state, task, term)).collect()
    })?;
    tasks.sort_by(|a, b| a.name.cmp(&b.name));
    let leftovers = state.leftovers().map(|(id, left)| view::leftovers(id, left)).collect();
    Ok(pb::ListTasksResponse { tasks, leftovers })
}

async fn nodes(leader: Leader, _: pb::ListNodesRequest) -> Result<pb::ListNodesResponse, Status> {
    let state = read(&leader).await?;
    Ok(pb::ListNodesResponse { nodes: view_nodes(&leader, &state)? })
}

fn drained(node: NodeName) -> CommandKind {
    CommandKind::DrainNode { node, cause: DrainCause::Asked }
}

fn resumed(node: NodeName) -> CommandKind {
    CommandKind::ResumeNode { node }
}

async fn change_node(
    leader: Leader,
    request: pb::NodeRequest,
    change: fn(NodeName) -> CommandKind,
) -> Result<pb::NodeResponse, Status> {
    let request_id = request_id(request.request_id)?;
    let name: NodeName = parsed("name", &request.name)?;
    let object = format!("node {name}");
    propose(&leader, request_id, change(name.clone()), &object).await?;
    let state = leader.handle().state();
    let nodes = view_nodes(&leader, &state)?;
    let node = nodes.into_iter().find(|node| node.name == name.as_str());
    Ok(pb::NodeResponse { node })
}

async fn cluster_status(
    leader: Leader,
    _: pb::ClusterStatusRequest,
) -> Result<pb::ClusterStatusResponse, Status> {
    let state = read(&leader).await?;
    let group = leader.handle().status();
    let tasks: Vec<pb::Task> = with_term(&leader, |term| {
        state.tasks().map(|task| view::task(&state, task, term)).collect()
    })?;
    let mut phases = std::collections::HashMap::new();
    for task in tasks {
        *phases.entry(task.phase).or_insert(0) += 1;
    }
    let members = group.members.into_iter().map(|member| pb::Member {
        id: member.name,
        address: member.address,
        role: member.role.to_owned(),
        healthy: member.healthy,
        lag: member.lag,
    });
    Ok(pb::ClusterStatusResponse {
        cluster_id: leader.handle().identity().cluster.to_string(),
        leader: group.leader.unwrap_or_default(),
        term: group.term,
        committed_index: group.committed_index,
        members: members.collect(),
        nodes: view_nodes(&leader, &state)?,
        tasks: phases,
        leftovers: u32::try_from(state.leftovers().count()).unwrap_or(u32::MAX),
    })
}

pub(super) fn request_id(text: String) -> Result<RequestId, Status> {
    RequestId::try_from(text).map_err(|error| ConvertError::new("request_id", error).into())
}

pub(super) async fn read(leader: &Leader) -> Result<Arc<ClusterState>, Status> {
    match leader.handle().read_linearizable().await {
        Ok(state) => Ok(state),
        Err(error) => Err(error::not_read(leader.handle(), error).await),
    }
}

/// The identity of the task that has this name now.
pub(super) async fn resolve(leader: &Leader, name: &str) -> Result<(TaskId, String), Status> {
    let name: TaskName = parsed("name", name)?;
    let object = format!("task {name}");
    let state = read(leader).await?;
    let task = state.task_named(&name).ok_or_else(|| no_task(&object))?;
    Ok((task.id().clone(), object))
}

pub(super) fn no_task(object: &str) -> Status {
    error::not_found(object, "look at `tidewire task list` for the tasks there are")
}

pub(super) async fn propose(
    leader: &Leader,
    request_id: RequestId,
    kind: CommandKind,
    object: &str,
) -> Result<Outcome, Status> {
    let command = Command::requested(clock::wall_ms(), request_id, kind).wished_by(leader.caller());
    match leader.handle().propose(command).await {
        Ok(outcome) => Ok(outcome),
        Err(error) => Err(error::not_proposed(leader.handle(), object, error).await),
    }
}

pub(super) fn with_term<T>(leader: &Leader, look: impl FnOnce(&Term) -> T) -> Result<T, Status> {
    let term = leader.lock();
    let term = term.as_ref();
    term.map(look).ok_or_else(|| error::unavailable("cluster", "the leader changes", "ask again"))
}

pub(super) fn view_task(leader: &Leader, id: &TaskId, object: &str) -> Result<pb::Task, Status> {
    let state = leader.handle().state();
    let task = state.task(id).ok_or_else(|| no_task(object))?;
    with_term(leader, |term| view::task(&state, task, term))
}

fn view_nodes(leader: &Leader, state: &ClusterState) -> Result<Vec<pb::Node>, Status> {
    let now_ms = clock::mono_ms();
    with_term(leader, |term| {
        state.nodes().map(|node| view::node(state, &term.observed, node, now_ms)).collect()
    })
}
