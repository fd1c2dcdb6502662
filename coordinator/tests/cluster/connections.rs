//! Registered connections through any coordinator: applied once, shown without secrets, kept while used,
//! tried on a node, and handed to the owner of a task when they change.

use tidewire_proto::admin::v1::{
    ApplyConnectionRequest, ApplyConnectionResponse, ApplyTaskRequest, ConnectionRequest,
    DiscoverConnectionRequest, GetConnectionRequest, ListConnectionsRequest, TestConnectionRequest,
    test_connection_request,
};
use tidewire_proto::connection::v1 as pb;
use tidewire_proto::convert::detail_of;
use tidewire_proto::task::v1 as task_pb;
use tonic::{Code, Status};

use crate::group::{Group, carried, eventually, postgres_task};
use crate::node_client::NodeClient;

fn secret(text: &str) -> Option<task_pb::SecretRef> {
    Some(task_pb::SecretRef { place: Some(task_pb::secret_ref::Place::Value(text.to_owned())) })
}

fn shop_db(password: &str) -> pb::Connection {
    let account = postgres_task("any").source.expect("a source");
    pb::Connection {
        name: "shop-db".to_owned(),
        display_name: String::new(),
        endpoint: Some(pb::connection::Endpoint::Postgres(pb::PostgresEndpoint {
            hosts: account.hosts,
            database: account.database,
            user: account.user,
            password: secret(password),
            tls: account.tls,
            flavor: account.flavor,
        })),
    }
}

/// A task that names `shop-db`.
fn named(name: &str) -> task_pb::TaskSpec {
    let mut spec = postgres_task(name);
    let source = spec.source.take().expect("a source");
    spec.source = Some(task_pb::PostgresSource {
        connection: "shop-db".to_owned(),
        hosts: Vec::new(),
        database: String::new(),
        user: String::new(),
        password: None,
        ..source
    });
    carried(spec)
}

impl Group {
    async fn register(
        &self,
        at: &str,
        request_id: &str,
        connection: pb::Connection,
    ) -> Result<ApplyConnectionResponse, Status> {
        let request_id = request_id.to_owned();
        let request = ApplyConnectionRequest { request_id, connection: Some(connection) };
        Ok(self.client(at).apply_connection(request).await?.into_inner())
    }

    async fn apply_named(&self, at: &str, name: &str) -> Result<(), Status> {
        let request = ApplyTaskRequest {
            request_id: format!("apply-{name}"),
            spec: Some(named(name)),
            ..ApplyTaskRequest::default()
        };
        self.client(at).apply_task(request).await.map(drop)
    }

    async fn unregister(&self, at: &str, request_id: &str) -> Result<(), Status> {
        let request =
            ConnectionRequest { request_id: request_id.to_owned(), name: "shop-db".to_owned() };
        self.client(at).delete_connection(request).await.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_applied_once_shown_without_secrets_and_kept_while_used() {
    let group = Group::start(3);
    group.settled(3).await;
    let refused = group.apply_named("c1", "orders").await.expect_err("no connection yet");
    assert_eq!(
        (refused.code(), detail_of(&refused).expect("detail").object.as_str()),
        (Code::NotFound, "connection shop-db")
    );
    for name in group.names() {
        let answer = group.register(&name, "wish-1", shop_db("old")).await.expect("applied");
        assert_eq!(answer.outcome, "created");
    }
    let same = group.register("c2", "wish-2", shop_db("***")).await.expect("applied");
    assert_eq!(same.outcome, "unchanged");
    let changed = group.register("c3", "wish-3", shop_db("new")).await.expect("applied");
    assert_eq!(
        (changed.outcome.as_str(), changed.connection.expect("it").revision),
        ("changed", 2)
    );

    group.apply_named("c2", "payments").await.expect("created");
    for name in group.names() {
        let request = GetConnectionRequest { name: "shop-db".to_owned() };
        let shown = group.client(&name).get_connection(request).await.expect("shown").into_inner();
        let shown = shown.connection.expect("a connection");
        assert_eq!(shown.tasks, ["payments"]);
        assert_eq!(shown.connection, Some(shop_db("***")), "secrets are shown to nobody");
        let request = ListConnectionsRequest {};
        let listed = group.client(&name).list_connections(request).await.expect("list");
        assert_eq!(listed.into_inner().connections.len(), 1);
    }
    let refused = group.unregister("c1", "wish-4").await.expect_err("in use");
    let detail = detail_of(&refused).expect("detail");
    assert_eq!(
        (detail.code.as_str(), detail.message.as_str()),
        ("refused", "tasks payments use it")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_tried_and_explored_on_a_node() {
    let group = Group::start(1);
    group.settled(1).await;
    group.register("c1", "wish-1", shop_db("old")).await.expect("applied");
    let test = |subject| TestConnectionRequest { subject: Some(subject) };
    let by_name = || test(test_connection_request::Subject::Name("shop-db".to_owned()));
    let alone = group.client("c1").test_connection(by_name()).await.expect_err("no node");
    assert_eq!(detail_of(&alone).expect("detail").code, "unavailable");

    let node = NodeClient::connect(&group.endpoints(), "node-1", 7).await;
    let tested = eventually("a node takes the order", async || {
        group.client("c1").test_connection(by_name()).await.ok()
    })
    .await;
    let tested = tested.into_inner().test.expect("a test");
    assert_eq!((tested.node.as_str(), tested.hosts.len()), (node.name.as_str(), 1));
    let inline = test(test_connection_request::Subject::Connection(shop_db("x")));
    group.client("c1").test_connection(inline).await.expect("a document can be tried, too");

    let request =
        DiscoverConnectionRequest { name: "shop-db".to_owned(), database: "billing".to_owned() };
    let found = group.client("c1").discover_connection(request).await.expect("found").into_inner();
    assert_eq!(found.discovery.expect("a discovery").database, "billing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_connection_reaches_the_owner_under_the_next_epoch() {
    let group = Group::start(1);
    group.settled(1).await;
    group.register("c1", "wish-1", shop_db("old")).await.expect("applied");
    let node = NodeClient::connect(&group.endpoints(), "node-1", 7).await;
    group.apply_named("c1", "orders").await.expect("created");
    group.start_task("c1", "orders").await.expect("started");
    let epoch = || node.shards.lock().expect("lock").values().copied().max();
    eventually("it runs", async || epoch().filter(|epoch| *epoch == 1)).await;
    assert_eq!(node.passwords(), ["old"], "the node gets the fields of the connection");
    group.register("c1", "wish-2", shop_db("new")).await.expect("applied");
    eventually("it runs anew", async || epoch().filter(|epoch| *epoch == 2)).await;
    assert_eq!(node.passwords(), ["old", "new"]);
}
