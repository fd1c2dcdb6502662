//! Registered connections: tasks that name them, changes that reach owners, refusals.

use std::sync::Arc;

use tidewire_coordinator_core::{
    Command, CommandKind, Move, Outcome, Rejection, RejectionCode, apply, phase_of,
};
use tidewire_shared::connection::{Endpoint, HIDDEN, KafkaEndpoint, PostgresEndpoint};
use tidewire_shared::spec::{
    Flavor, KafkaSecurity, KafkaTarget, PostgresSource, PostgresTask, Tls,
};
use tidewire_shared::{Connection, Epoch, Phase, SecretRef, TaskSpec};

use crate::sample;
use crate::simulation::Cluster;

fn shop_db(password: &str) -> Connection {
    Connection {
        name: "shop-db".parse().expect("a name"),
        display_name: String::new(),
        endpoint: Endpoint::Postgres(PostgresEndpoint {
            hosts: vec!["db1:5432".to_owned()],
            database: Some("shop".to_owned()),
            user: "tidewire".to_owned(),
            password: Some(SecretRef::Value(password.to_owned())),
            tls: Tls::default(),
            flavor: Flavor::Auto,
        }),
    }
}

fn kafka(name: &str) -> Connection {
    Connection {
        name: name.parse().expect("a name"),
        display_name: String::new(),
        endpoint: Endpoint::Kafka(KafkaEndpoint {
            brokers: vec!["k1:9092".to_owned()],
            security: KafkaSecurity::default(),
            properties: [("linger.ms".to_owned(), "5".to_owned())].into(),
        }),
    }
}

/// A task that names `shop-db` and `bus`.
fn spec() -> Arc<TaskSpec> {
    let mut spec = sample::postgres(&sample::spec("task-0"));
    spec.source = PostgresSource {
        connection: Some("shop-db".parse().expect("a name")),
        ..PostgresSource::default()
    };
    spec.target =
        KafkaTarget { connection: Some("bus".parse().expect("a name")), ..KafkaTarget::default() };
    Arc::new(spec.into())
}

fn ask(cluster: &mut Cluster, kind: CommandKind) -> Result<Outcome, Rejection> {
    apply(&mut cluster.state, &Command::internal(0, kind)).outcome
}

fn register(cluster: &mut Cluster, connection: Connection) -> Result<Outcome, Rejection> {
    ask(cluster, CommandKind::ApplyConnection { connection: Arc::new(connection) })
}

fn delete(cluster: &mut Cluster, name: &str) -> Result<Outcome, Rejection> {
    ask(cluster, CommandKind::DeleteConnection { name: name.parse().expect("a name") })
}

fn create(cluster: &mut Cluster) -> Result<Outcome, Rejection> {
    ask(cluster, CommandKind::CreateTask { task: sample::task(0), spec: spec() })
}

/// One running task that names both connections.
fn running() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.join(sample::node(0));
    cluster.join(sample::node(1));
    cluster.steps(5);
    register(&mut cluster, shop_db("old")).expect("registered");
    register(&mut cluster, kafka("bus")).expect("registered");
    create(&mut cluster).expect("created");
    cluster.propose(CommandKind::SetDesired { task: sample::task(0), wish: Move::Start });
    cluster.until("running", is_running);
    cluster
}

fn is_running(cluster: &Cluster) -> bool {
    let task = cluster.state.task(&sample::task(0)).expect("the task");
    phase_of(task, &cluster.observed) == Phase::Synchronizing
}

#[test]
fn nodes_get_the_fields_of_the_connections_and_no_names() {
    let cluster = running();
    let filled = sample::postgres(&cluster.state.resolve(&spec()).expect("resolved"));
    assert_eq!((filled.source.connection.clone(), filled.target.connection.clone()), (None, None));
    assert_eq!(filled.source.hosts, ["db1:5432"]);
    assert_eq!(
        (filled.source.user.as_str(), filled.source.database.as_str()),
        ("tidewire", "shop")
    );
    assert_eq!(filled.target.brokers, ["k1:9092"]);
    assert_eq!(filled.target.properties["linger.ms"], "5");
    let inline = sample::spec("inline");
    assert!(Arc::ptr_eq(&cluster.state.resolve(&inline).expect("resolved"), &inline));
}

#[test]
fn a_changed_connection_is_given_to_the_same_owner_under_the_next_epoch() {
    let mut cluster = running();
    let shard = sample::shard(0);
    let owner = |it: &Cluster| it.state.shard(&shard).and_then(|it| it.assignment()).cloned();
    let before = owner(&cluster).expect("an owner");
    assert_eq!(register(&mut cluster, shop_db("new")), Ok(Outcome::Done));
    let took_ms = cluster.until("the new epoch runs", |it| {
        it.processes[&before.node].shards.get(&shard).is_some_and(|(epoch, _)| *epoch == Epoch(2))
    });
    assert!(took_ms <= 500, "{took_ms} ms");
    let after = owner(&cluster).expect("an owner");
    assert_eq!((after.node, after.instance), (before.node, before.instance));
    assert_eq!(after.given.source, 2);
    cluster.steps(100);
    assert_eq!(cluster.state.shard(&shard).expect("the shard").epoch(), Epoch(2), "only once");
    assert!(is_running(&cluster));
}

#[test]
fn a_changed_connection_that_nobody_uses_moves_nothing() {
    let mut cluster = running();
    register(&mut cluster, kafka("other")).expect("registered");
    cluster.steps(50);
    assert_eq!(register(&mut cluster, shop_db("old")), Ok(Outcome::Unchanged));
    cluster.steps(50);
    assert_eq!(cluster.state.shard(&sample::shard(0)).expect("the shard").epoch(), Epoch(1));
}

#[test]
fn an_owner_that_drains_with_nowhere_to_go_still_gets_the_new_document() {
    let mut cluster = running();
    let owner = cluster.state.shard(&sample::shard(0)).and_then(|it| it.assignment()).cloned();
    let owner = owner.expect("an owner").node;
    let other = if owner == sample::node(0) { sample::node(1) } else { sample::node(0) };
    cluster.kill(&other);
    let cause = tidewire_coordinator_core::DrainCause::Asked;
    cluster.propose(CommandKind::DrainNode { node: owner.clone(), cause });
    cluster.steps(20);
    register(&mut cluster, shop_db("new")).expect("changed");
    cluster.until("the new epoch runs", |it| {
        it.processes[&owner].shards.values().any(|(epoch, _)| *epoch == Epoch(2))
    });
}

#[test]
fn a_connection_in_use_is_not_deleted_and_its_users_are_named() {
    let mut cluster = running();
    let refused = delete(&mut cluster, "shop-db").expect_err("refused");
    assert_eq!(
        (refused.code.as_str(), refused.message.as_str()),
        ("refused", "tasks task-0 use it")
    );
    cluster.propose(CommandKind::SetDesired { task: sample::task(0), wish: Move::Delete });
    cluster.until("deleted", |it| it.state.task(&sample::task(0)).is_none());
    assert_eq!(delete(&mut cluster, "shop-db"), Ok(Outcome::Done));
    assert_eq!(
        delete(&mut cluster, "shop-db").map_err(|it| it.code),
        Err(RejectionCode::NoConnection)
    );
}

#[test]
fn a_task_without_its_connection_is_refused() {
    let mut cluster = Cluster::new();
    let refused = create(&mut cluster).expect_err("refused");
    assert_eq!(
        (refused.code.as_str(), refused.object.as_str()),
        ("not_found", "connection shop-db")
    );
    register(&mut cluster, shop_db("old")).expect("registered");
    register(&mut cluster, Connection { name: "bus".parse().expect("a name"), ..shop_db("x") })
        .expect("registered");
    let refused = create(&mut cluster).expect_err("refused");
    assert_eq!(
        refused.message,
        "it leads to postgres; the task needs a kafka_connection as its target"
    );
}

#[test]
fn a_change_that_would_spoil_a_task_is_refused() {
    let mut cluster = running();
    let mut bare = shop_db("old");
    if let Endpoint::Postgres(to) = &mut bare.endpoint {
        to.database = None;
    }
    let refused = register(&mut cluster, bare).expect_err("refused");
    assert_eq!(
        refused.message,
        "tasks task-0 use it: it names no database, and neither does connection shop-db"
    );
    let refused = register(&mut cluster, kafka("shop-db")).expect_err("refused");
    assert_eq!(refused.code, RejectionCode::InUse);
}

#[test]
fn a_task_that_ran_is_not_taken_to_another_database_by_its_connection() {
    let mut cluster = running();
    let mut other = shop_db("old");
    if let Endpoint::Postgres(to) = &mut other.endpoint {
        to.database = Some("warehouse".to_owned());
    }
    let refused = register(&mut cluster, other.clone()).expect_err("refused");
    let expected = "`source.database` of task task-0, which ran, cannot change: \
                    a slot decodes one database";
    assert_eq!((refused.code, refused.message.as_str()), (RejectionCode::InUse, expected));
    let name = "warehouse-db";
    register(&mut cluster, Connection { name: name.parse().expect("a name"), ..other })
        .expect("nobody uses it");
    let mut wanted = sample::postgres(&spec());
    wanted.source.connection = Some(name.parse().expect("a name"));
    let modify = |wanted: &PostgresTask| CommandKind::ModifyTask {
        task: sample::task(0),
        spec: Arc::new(wanted.clone().into()),
    };
    let refused = ask(&mut cluster, modify(&wanted)).expect_err("refused");
    assert!(refused.message.starts_with("`source.database` of a task that ran"), "{refused}");
    wanted.source.database = "shop".to_owned();
    ask(&mut cluster, modify(&wanted)).expect("the same database by another way");
}

#[test]
fn a_hidden_secret_given_back_stays_as_it_is() {
    let mut cluster = Cluster::new();
    let refused = register(&mut cluster, shop_db(HIDDEN)).expect_err("refused");
    assert_eq!(refused.code, RejectionCode::Invalid);
    register(&mut cluster, shop_db("old")).expect("registered");
    assert_eq!(register(&mut cluster, shop_db("old").hidden()), Ok(Outcome::Unchanged));
    let mut moved = shop_db("old").hidden();
    if let Endpoint::Postgres(to) = &mut moved.endpoint {
        to.hosts.push("elsewhere:5432".to_owned());
    }
    let refused = register(&mut cluster, moved).expect_err("refused");
    assert!(refused.message.contains("elsewhere:5432, which is new"), "{refused}");
    let mut shown = shop_db("old").hidden();
    shown.display_name = "The shop".to_owned();
    assert_eq!(register(&mut cluster, shown), Ok(Outcome::Done));
    let kept = cluster.state.connections().next().expect("registered").document();
    let expected = Connection { display_name: "The shop".to_owned(), ..shop_db("old") };
    assert_eq!(**kept, expected);
}
