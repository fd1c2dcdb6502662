//! Coordinators of a test, each on a runtime of its own so that it can be killed as a process can.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidewire_coordinator::{Config, Spans};
use tidewire_proto::admin::v1::admin_service_client::AdminServiceClient;
use tidewire_proto::admin::v1::{
    ApplyTaskRequest, ApplyTaskResponse, ClusterStatusRequest, ClusterStatusResponse,
    GetTaskRequest, Task, TaskRequest,
};
use tidewire_proto::task::v1 as task_pb;
use tidewire_shared::spec::KafkaTask;
use tidewire_shared::{Fault, Period, TaskSpec};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::transport::Channel;

/// Nothing in a test takes longer unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A coordinator that runs.
struct Running {
    runtime: tokio::runtime::Runtime,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), Fault>>,
}

/// A group of coordinators with their directories.
pub(crate) struct Group {
    directory: TempDir,
    addresses: BTreeMap<String, String>,
    running: BTreeMap<String, Running>,
}

/// A free address on loopback, below the ports that outgoing connections get: none of those can take
/// it while its coordinator is down.
pub(crate) fn free_address() -> String {
    loop {
        let address = format!("127.0.0.1:{}", rand::random_range(10_000..32_000));
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// Shorter than in production, so that tests are quick.
fn spans() -> Spans {
    Spans {
        raft_heartbeat: Period(150),
        election_min: Period(600),
        election_max: Period(1_000),
        alert_clear: Period(2_000),
        ..Spans::default()
    }
}

impl Group {
    /// Coordinators c1 to cN that start at the same time.
    pub(crate) fn start(size: usize) -> Self {
        let log = tracing_subscriber::EnvFilter::from_default_env();
        drop(tracing_subscriber::fmt().with_env_filter(log).with_test_writer().try_init());
        let names = (1..=size).map(|number| format!("c{number}"));
        let addresses = names.map(|name| (name, free_address())).collect();
        let directory = TempDir::new().expect("directory");
        let mut group = Self { directory, addresses, running: BTreeMap::new() };
        for name in group.names() {
            group.start_one(&name);
        }
        group
    }

    /// The names of all members, running or not.
    pub(crate) fn names(&self) -> Vec<String> {
        self.addresses.keys().cloned().collect()
    }

    /// How a member of the first hour is configured.
    pub(crate) fn config(&self, name: &str) -> Config {
        Config {
            name: name.to_owned(),
            listen: self.addresses[name].clone(),
            advertise: None,
            data_dir: self.directory(name),
            bootstrap: false,
            join: Vec::new(),
            peers: self.addresses.clone(),
            timing: spans(),
        }
    }

    /// A newcomer that joins by asking `at`.
    pub(crate) fn newcomer(&self, name: &str, at: &str) -> Config {
        Config {
            name: name.to_owned(),
            listen: free_address(),
            advertise: None,
            data_dir: self.directory(name),
            bootstrap: false,
            join: vec![self.addresses[at].clone()],
            peers: BTreeMap::new(),
            timing: spans(),
        }
    }

    /// Where a member keeps its data.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a member of the first hour, for the first time or again.
    pub(crate) fn start_one(&mut self, name: &str) {
        let config = self.config(name);
        self.run(config);
    }

    /// Starts a coordinator.
    pub(crate) fn run(&mut self, config: Config) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        let (stop, stopped) = oneshot::channel::<()>();
        self.addresses.insert(config.name.clone(), config.listen.clone());
        let name = config.name.clone();
        let ended = runtime.spawn(tidewire_coordinator::run(config, async {
            drop(stopped.await);
        }));
        self.running.insert(name, Running { runtime, stop, ended });
    }

    /// Ends a coordinator as SIGTERM does.
    pub(crate) async fn stop(&mut self, name: &str) {
        let Running { runtime, stop, ended } = self.running.remove(name).expect("running");
        stop.send(()).expect("running");
        ended.await.expect("no panic").expect("no fault");
        runtime.shutdown_background();
    }

    /// Ends a coordinator as a power cut does: nothing is closed, nobody is told.
    pub(crate) fn kill(&mut self, name: &str) {
        let Running { runtime, .. } = self.running.remove(name).expect("running");
        // A killed process has let go of its port and files before it can be started again.
        let gone = std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE));
        gone.join().expect("no panic");
    }

    /// The fault a coordinator ends with.
    pub(crate) async fn fault(&mut self, name: &str) -> Fault {
        let Running { runtime, ended, stop } = self.running.remove(name).expect("running");
        let ended = tokio::time::timeout(PATIENCE, ended).await.expect("ends").expect("no panic");
        runtime.shutdown_background();
        drop(stop);
        ended.expect_err("a fault")
    }

    /// `host:port` of a member.
    pub(crate) fn address(&self, name: &str) -> String {
        self.addresses[name].clone()
    }

    /// Addresses of those that run.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.running.keys().map(|name| self.addresses[name].clone()).collect()
    }

    /// A client of one member.
    pub(crate) fn client(&self, name: &str) -> AdminServiceClient<Channel> {
        client(&self.addresses[name])
    }

    /// What a member says of the group.
    pub(crate) async fn status(&self, name: &str) -> Result<ClusterStatusResponse, Status> {
        let answer = self.client(name).cluster_status(ClusterStatusRequest {}).await;
        Ok(answer?.into_inner())
    }

    /// Waits until `size` healthy voters are led by one, and answers its name.
    pub(crate) async fn settled(&self, size: usize) -> String {
        let names: Vec<String> = self.running.keys().cloned().collect();
        eventually("the group settles", async || {
            let mut leader = None;
            for name in &names {
                let status = match self.status(name).await {
                    Ok(status) => status,
                    Err(status) => {
                        eprintln!("{name}: {}", status.message());
                        return None;
                    }
                };
                eprintln!("{name}: {:?}", status.members);
                let voters = status.members.iter().filter(|m| m.healthy && m.role != "learner");
                if voters.count() < size || status.leader.is_empty() {
                    return None;
                }
                leader = Some(status.leader);
            }
            leader
        })
        .await
    }

    /// Creates a task through a member.
    pub(crate) async fn apply(
        &self,
        at: &str,
        request_id: &str,
        name: &str,
    ) -> Result<ApplyTaskResponse, Status> {
        let request = ApplyTaskRequest {
            request_id: request_id.to_owned(),
            spec: Some(spec(name)),
            waive: None,
        };
        Ok(self.client(at).apply_task(request).await?.into_inner())
    }

    /// Starts a task through a member.
    pub(crate) async fn start_task(&self, at: &str, name: &str) -> Result<Task, Status> {
        let request =
            TaskRequest { request_id: format!("start-{name}"), name: name.to_owned(), waive: None };
        let answer = self.client(at).start_task(request).await?.into_inner();
        Ok(answer.task.expect("task"))
    }

    /// Looks at a task through a member.
    pub(crate) async fn task(&self, at: &str, name: &str) -> Result<Task, Status> {
        let request = GetTaskRequest { name: name.to_owned() };
        let answer = self.client(at).get_task(request).await?.into_inner();
        Ok(answer.task.expect("task"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for (_, running) in std::mem::take(&mut self.running) {
            running.runtime.shutdown_background();
        }
    }
}

/// A client of the coordinator at an address.
pub(crate) fn client(address: &str) -> AdminServiceClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("address");
    AdminServiceClient::new(endpoint.connect_lazy())
}

/// Asks again until there is an answer.
pub(crate) async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A small task, as requests carry it.
pub(crate) fn spec(name: &str) -> task_pb::TaskSpec {
    carried(postgres_task(name))
}

pub(crate) fn carried(task: task_pb::PostgresTask) -> task_pb::TaskSpec {
    task_pb::TaskSpec { kind: Some(task_pb::task_spec::Kind::PostgresToKafka(task)) }
}

/// A copy of all topics in one shard.
pub(crate) fn kafka_task(name: &str) -> task_pb::TaskSpec {
    let text = r#"{
        "name": "NAME",
        "source": {"brokers": ["127.0.0.1:9092"], "properties": {}},
        "target": {"brokers": ["127.0.0.1:9093"], "compression": "keep", "properties": {}},
        "start": "earliest",
        "existingData": "stop",
        "topics": [{"topics": [], "exclude": [], "rename": "{topic}"}],
        "syncConfigs": {"enabled": true, "exclude": []},
        "shards": {"count": 1},
        "retry": {"connection": "720m", "other": "10m"},
        "limits": {"recordBytes": "1MiB"}
    }"#;
    let task: KafkaTask = serde_json::from_str(&text.replace("NAME", name)).expect("a document");
    TaskSpec::KafkaToKafka(task).into()
}

/// The value of the password of its source, if the task has one.
pub(crate) fn password_of(spec: Option<task_pb::TaskSpec>) -> Option<String> {
    let task_pb::task_spec::Kind::PostgresToKafka(task) = spec?.kind? else { return None };
    match task.source?.password?.place? {
        task_pb::secret_ref::Place::Value(password) => Some(password),
        _ => None,
    }
}

/// A small task.
pub(crate) fn postgres_task(name: &str) -> task_pb::PostgresTask {
    task_pb::PostgresTask {
        name: name.to_owned(),
        display_name: String::new(),
        source: Some(task_pb::PostgresSource {
            hosts: vec!["db1:5432".to_owned()],
            database: "shop".to_owned(),
            user: "tidewire".to_owned(),
            password: Some(task_pb::SecretRef {
                place: Some(task_pb::secret_ref::Place::Value("secret".to_owned())),
            }),
            tls: Some(task_pb::Tls {
                mode: task_pb::TlsMode::Disable.into(),
                ..task_pb::Tls::default()
            }),
            existing_slot: String::new(),
            existing_publication: String::new(),
            heartbeat: Some(task_pb::Heartbeat {
                mode: task_pb::HeartbeatMode::Auto.into(),
                interval_ms: 10_000,
                table: None,
            }),
            flavor: task_pb::Flavor::Auto.into(),
            slot_failover: task_pb::SlotFailover::Auto.into(),
            wal_budget: Some(task_pb::WalBudget {
                warn_bytes: 1,
                limit_bytes: 2,
                at_limit: task_pb::AtLimit::Alert.into(),
            }),
            ..task_pb::PostgresSource::default()
        }),
        target: Some(task_pb::KafkaTarget {
            brokers: vec!["k1:9092".to_owned()],
            compression: task_pb::Compression::Lz4.into(),
            security: Some(task_pb::KafkaSecurity {
                protocol: task_pb::SecurityProtocol::Plaintext.into(),
                ..task_pb::KafkaSecurity::default()
            }),
            ..task_pb::KafkaTarget::default()
        }),
        objects: vec![task_pb::ObjectRule {
            tables: vec![task_pb::TableName {
                schema: "public".to_owned(),
                table: name.to_owned(),
            }],
            topic: name.to_owned(),
            rename: Some(task_pb::Rename::default()),
            operations: Some(task_pb::Operations {
                insert: true,
                ..task_pb::Operations::default()
            }),
            ..task_pb::ObjectRule::default()
        }],
        format: Some(task_pb::Format {
            kind: task_pb::FormatKind::DtsAvro.into(),
            key: task_pb::RecordKey::Json.into(),
            identity_headers: false,
            source_timestamp_unit: task_pb::TimestampUnit::Milliseconds.into(),
            debezium: Some(tidewire_shared::spec::DebeziumOptions::default().into()),
        }),
        partition: task_pb::PartitionPolicy::ByPrimaryKey.into(),
        key_change: task_pb::KeyChange::Split.into(),
        retry: Some(task_pb::Retry { connection_ms: 43_200_000, other_ms: 600_000 }),
        limits: Some(task_pb::Limits { record_bytes: 1 << 20, ..task_pb::Limits::default() }),
        delivery: task_pb::Delivery::ExactlyOnce.into(),
        ..task_pb::PostgresTask::default()
    }
}
