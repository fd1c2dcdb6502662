//! A task document and names for trials.

use std::sync::Arc;

use tidewire_shared::alert::When;
use tidewire_shared::channel::{Shape, Way, Webhook};
use tidewire_shared::spec::{KafkaTask, PostgresTask, Shards, TableName};
use tidewire_shared::{
    AlertRule, Channel, NodeName, Period, Phase, SecretRef, ShardId, TaskId, TaskSpec,
};

/// A document of one table under this name.
pub(crate) fn spec(name: &str) -> Arc<TaskSpec> {
    spec_of(name, 0)
}

/// A whole document under this name, with so many tables more than one, as the log keeps it.
pub(crate) fn spec_of(name: &str, more: u8) -> Arc<TaskSpec> {
    let text = r#"{
        "name": "NAME",
        "source": {
            "hosts": ["127.0.0.1:5432"], "database": "shop", "user": "tidewire", "password": null,
            "tls": {"mode": "disable", "ca": null, "cert": null, "key": null},
            "slot": "managed", "publication": "managed",
            "heartbeat": {"mode": "auto", "interval": "10s", "table": null}
        },
        "target": {"brokers": ["127.0.0.1:9092"], "compression": "lz4", "properties": {}},
        "objects": [
            {"tables": [{"schema": "public", "table": "orders"}], "topic": "orders", "partitionBy": []}
        ],
        "format": {
            "kind": "dts_avro", "key": "json", "identityHeaders": false, "sourceTimestampUnit": "ms"
        },
        "partition": "by_primary_key",
        "keyChange": "split",
        "retry": {"connection": "720m", "other": "10m"},
        "limits": {"recordBytes": "1MiB"}
    }"#;
    let document = text.replace("NAME", name);
    let mut spec: PostgresTask = serde_json::from_str(&document).expect("a document");
    for number in 0..more {
        let table = TableName { schema: "public".to_owned(), table: format!("more_{number}") };
        spec.objects[0].tables.push(table);
    }
    Arc::new(spec.into())
}

/// A document of a copy of topics under this name, in so many shards.
pub(crate) fn copy(name: &str, shards: u32) -> Arc<TaskSpec> {
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
    let document = text.replace("NAME", name);
    let mut spec: KafkaTask = serde_json::from_str(&document).expect("a document");
    spec.shards = Shards::Count(shards);
    Arc::new(TaskSpec::KafkaToKafka(spec))
}

/// The task in it.
pub(crate) fn postgres(spec: &TaskSpec) -> PostgresTask {
    spec.as_postgres().expect("a task from PostgreSQL").clone()
}

/// A document with an alert for each of these channels, `alert-0` and so on.
pub(crate) fn alerting(name: &str, channels: &[String]) -> Arc<TaskSpec> {
    let mut spec = spec(name).as_ref().clone();
    let rule = |(at, channel): (usize, &String)| AlertRule {
        name: format!("alert-{at}").parse().expect("an alert name"),
        when: When {
            delay_above: None,
            phases: vec![Phase::Failed],
            wal_above: None,
            lasting: Period(0),
        },
        to: vec![channel.parse().expect("a channel name")],
        repeat: Period(0),
    };
    *spec.alerts_mut() = channels.iter().enumerate().map(rule).collect();
    Arc::new(spec)
}

/// A webhook with this secret in its address.
pub(crate) fn channel(name: &str, secret: &str) -> Channel {
    Channel {
        name: name.parse().expect("a channel name"),
        display_name: String::new(),
        way: Way::Webhook(Webhook {
            url: SecretRef::Value(format!("https://hooks.example.com/{secret}")),
            shape: Shape::Plain,
            sign: None,
            ca: None,
        }),
    }
}

pub(crate) fn node(number: u8) -> NodeName {
    format!("node-{number}").parse().expect("a node name")
}

pub(crate) fn task(number: u64) -> TaskId {
    format!("t{number}").parse().expect("a task id")
}

pub(crate) fn shard(number: u64) -> ShardId {
    ShardId { task: task(number), index: 0 }
}
