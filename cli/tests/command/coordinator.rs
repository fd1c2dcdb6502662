//! A coordinator for tests: the real gRPC service with answers made up.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};

use tidewire_proto::admin::v1::admin_service_server::{AdminService, AdminServiceServer};
use tidewire_proto::admin::v1::{self as pb, ErrorDetail};
use tidewire_proto::convert::status;
use tidewire_proto::task::v1 as wire;
use tidewire_shared::TaskSpec;
use tonic::codegen::tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// Knows the task `orders`, whose precheck fails, and `broken`, which is Failed.
#[derive(Default)]
pub(crate) struct Coordinator {
    /// How often `orders` was looked at; it synchronizes from the third look on.
    looks: AtomicU32,
}

/// Serves a coordinator until the test ends; answers its address.
pub(crate) fn serve() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a listener");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            tonic::transport::Server::builder()
                .add_service(AdminServiceServer::new(Coordinator::default()))
                .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener))
                .await
        })
    });
    address
}

fn refusal<T>(code: Code, word: &str, object: &str, message: &str, remedy: &str) -> Answer<T> {
    let detail = ErrorDetail {
        code: word.into(),
        message: message.into(),
        remedy: remedy.into(),
        object: object.into(),
    };
    Err(status(code, &detail))
}

fn task(name: &str, phase: &str) -> pb::Task {
    pb::Task {
        name: name.into(),
        id: "k3v9".into(),
        kind: "postgres_to_kafka".into(),
        phase: phase.into(),
        desired: "running".into(),
        ..pb::Task::default()
    }
}

fn failed_precheck() -> wire::PrecheckReport {
    wire::PrecheckReport {
        at_ms: 1,
        items: vec![wire::CheckItem {
            name: "wal_level".into(),
            result: wire::CheckResult::Fail.into(),
            found: "replica".into(),
            message: "the server writes no logical log".into(),
            remedy: "ALTER SYSTEM SET wal_level = logical, then restart".into(),
            ..wire::CheckItem::default()
        }],
    }
}

/// Calls that no test here makes.
macro_rules! unused {
    ($($call:ident($request:ident) -> $answer:ident;)+) => {
        $(
            fn $call<'life, 'made>(
                &'life self,
                _: Request<pb::$request>,
            ) -> Pin<Box<dyn Future<Output = Answer<pb::$answer>> + Send + 'made>>
            where
                'life: 'made,
            {
                Box::pin(async { Err(Status::unimplemented("no test needs it")) })
            }
        )+
    };
}

#[tonic::async_trait]
impl AdminService for Coordinator {
    type TaskLogsStream = Pin<Box<dyn Stream<Item = Result<pb::TaskLogLine, Status>> + Send>>;

    async fn task_logs(&self, _: Request<pb::TaskLogsRequest>) -> Answer<Self::TaskLogsStream> {
        Err(Status::unimplemented("no test needs it"))
    }

    unused! {
        task_history(GetTaskRequest) -> TaskHistoryResponse;
        task_indicators(GetTaskRequest) -> TaskIndicatorsResponse;
        rewind_task(RewindTaskRequest) -> RewindTaskResponse;
        move_task(MoveTaskRequest) -> TaskResponse;
        forget_leftovers(TaskRequest) -> ForgetLeftoversResponse;
        remove_node(NodeRequest) -> RemoveNodeResponse;
        apply_connection(ApplyConnectionRequest) -> ApplyConnectionResponse;
        delete_connection(ConnectionRequest) -> DeleteConnectionResponse;
        get_connection(GetConnectionRequest) -> ConnectionResponse;
        list_connections(ListConnectionsRequest) -> ListConnectionsResponse;
        test_connection(TestConnectionRequest) -> TestConnectionResponse;
        discover_connection(DiscoverConnectionRequest) -> DiscoverConnectionResponse;
        apply_channel(ApplyChannelRequest) -> ApplyChannelResponse;
        delete_channel(ChannelRequest) -> DeleteChannelResponse;
        get_channel(GetChannelRequest) -> ChannelResponse;
        alert_history(AlertHistoryRequest) -> AlertHistoryResponse;
    }

    async fn list_alerts(
        &self,
        _: Request<pb::ListAlertsRequest>,
    ) -> Answer<pb::ListAlertsResponse> {
        let rule = wire::AlertRule {
            name: "late".into(),
            delay_above_ms: Some(30_000),
            to: vec!["ops".into()],
            ..wire::AlertRule::default()
        };
        let alert = tidewire_proto::alert::v1::Alert {
            task: "orders".into(),
            rule: Some(rule),
            condition: "delay above 30s".into(),
            state: "firing".into(),
            since_ms: 1_000,
            held_back: 2,
        };
        let alerts = vec![alert];
        Ok(Response::new(pb::ListAlertsResponse { channels: Vec::new(), alerts }))
    }

    async fn test_channel(
        &self,
        request: Request<pb::TestChannelRequest>,
    ) -> Answer<pb::TestChannelResponse> {
        use pb::test_channel_request::Subject;
        let channel = match request.into_inner().subject {
            Some(Subject::Name(name)) => name,
            _ => "of-a-document".into(),
        };
        let why = if channel == "dead" { "https://host answered 500" } else { "" };
        let result = if why.is_empty() { "delivered" } else { "failed" };
        let push = tidewire_proto::alert::v1::Push {
            channel,
            result: result.into(),
            at_ms: 1_000,
            attempts: 1,
            why: why.into(),
        };
        Ok(Response::new(pb::TestChannelResponse { push: Some(push) }))
    }

    async fn apply_task(
        &self,
        request: Request<pb::ApplyTaskRequest>,
    ) -> Answer<pb::ApplyTaskResponse> {
        let spec = request.into_inner().spec.unwrap_or_default();
        let spec: TaskSpec = spec.try_into().expect("a task");
        let task = Some(task(spec.name().as_str(), "NotStarted"));
        Ok(Response::new(pb::ApplyTaskResponse { task, created: true, revision: 1 }))
    }

    async fn precheck_task(
        &self,
        _: Request<pb::PrecheckTaskRequest>,
    ) -> Answer<pb::PrecheckTaskResponse> {
        Ok(Response::new(pb::PrecheckTaskResponse { report: Some(failed_precheck()) }))
    }

    async fn start_task(&self, request: Request<pb::TaskRequest>) -> Answer<pb::TaskResponse> {
        let task = task(&request.into_inner().name, "Prechecking");
        Ok(Response::new(pb::TaskResponse { task: Some(task) }))
    }

    async fn pause_task(&self, _: Request<pb::TaskRequest>) -> Answer<pb::TaskResponse> {
        refusal(
            Code::FailedPrecondition,
            "refused",
            "task orders",
            "is NotStarted and cannot be paused; legal are start, terminate, delete",
            "start it first",
        )
    }

    async fn resume_task(&self, _: Request<pb::TaskRequest>) -> Answer<pb::TaskResponse> {
        Err(Status::permission_denied("viewers may not resume"))
    }

    async fn terminate_task(&self, _: Request<pb::TaskRequest>) -> Answer<pb::TaskResponse> {
        refusal(Code::Unknown, "unknown_outcome", "task orders", "no quorum answered", "look again")
    }

    async fn delete_task(&self, _: Request<pb::TaskRequest>) -> Answer<pb::DeleteTaskResponse> {
        let left =
            vec!["slot tidewire_k3v9: SELECT pg_drop_replication_slot('tidewire_k3v9')".into()];
        Ok(Response::new(pb::DeleteTaskResponse { left }))
    }

    async fn get_task(&self, request: Request<pb::GetTaskRequest>) -> Answer<pb::TaskResponse> {
        let name = request.into_inner().name;
        let found = match name.as_str() {
            "orders" => {
                pb::Task { precheck: Some(failed_precheck()), ..task("orders", "PrecheckFailed") }
            }
            "broken" => pb::Task {
                error: Some(wire::Fault {
                    kind: "SourceState".into(),
                    object: "slot tidewire_k3v9".into(),
                    message: "was dropped".into(),
                    remedy: "delete the task and create it again".into(),
                }),
                ..task("broken", "Failed")
            },
            "resting" => pb::Task { desired: "paused".into(), ..task("resting", "Paused") },
            "slow" => match self.looks.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => task("slow", "Initializing"),
                _ => task("slow", "Synchronizing"),
            },
            _ => {
                let object = format!("task {name}");
                return refusal(
                    Code::NotFound,
                    "not_found",
                    &object,
                    "there is none",
                    "see `tidewire task list`",
                );
            }
        };
        Ok(Response::new(pb::TaskResponse { task: Some(found) }))
    }

    async fn list_tasks(&self, _: Request<pb::ListTasksRequest>) -> Answer<pb::ListTasksResponse> {
        let tasks = vec![task("broken", "Failed"), task("orders", "PrecheckFailed")];
        Ok(Response::new(pb::ListTasksResponse { tasks, leftovers: Vec::new() }))
    }

    async fn list_nodes(&self, _: Request<pb::ListNodesRequest>) -> Answer<pb::ListNodesResponse> {
        Ok(Response::new(pb::ListNodesResponse { nodes: vec![node("node-1", "ready")] }))
    }

    async fn drain_node(&self, request: Request<pb::NodeRequest>) -> Answer<pb::NodeResponse> {
        let node = node(&request.into_inner().name, "draining");
        Ok(Response::new(pb::NodeResponse { node: Some(node) }))
    }

    async fn resume_node(&self, request: Request<pb::NodeRequest>) -> Answer<pb::NodeResponse> {
        let node = node(&request.into_inner().name, "ready");
        Ok(Response::new(pb::NodeResponse { node: Some(node) }))
    }

    async fn cluster_status(
        &self,
        _: Request<pb::ClusterStatusRequest>,
    ) -> Answer<pb::ClusterStatusResponse> {
        Ok(Response::new(pb::ClusterStatusResponse {
            cluster_id: "t1".into(),
            leader: "c1".into(),
            term: 2,
            committed_index: 9,
            members: vec![pb::Member {
                id: "c1".into(),
                address: "127.0.0.1:7400".into(),
                role: "leader".into(),
                healthy: true,
                lag: 0,
            }],
            nodes: vec![node("node-1", "ready")],
            tasks: [("Failed".to_owned(), 1)].into(),
            ..pb::ClusterStatusResponse::default()
        }))
    }
}

fn node(name: &str, state: &str) -> pb::Node {
    pb::Node { name: name.into(), state: state.into(), capacity: 100, ..pb::Node::default() }
}
