//! What a node finds when it tries a connection, or looks what is behind one.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// What came of trying a connection, host by host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionTest {
    /// The node that tried.
    pub node: String,
    /// When it ended, milliseconds since 1970.
    pub at_ms: i64,
    /// Every host or broker of the connection, in its order.
    pub hosts: Vec<HostTest>,
    /// What our account may do; empty where nobody let us in or nobody says.
    pub rights: Vec<Right>,
}

impl ConnectionTest {
    /// Whether a task could use the connection: a host lets us in that is as tasks need it.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.hosts.iter().any(|host| host.verdict == Verdict::Usable)
    }
}

/// What came of trying one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostTest {
    /// `host:port`.
    pub address: String,
    /// What it is good for.
    pub verdict: Verdict,
    /// What the server says it is; empty where it says nothing.
    pub version: String,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// Milliseconds from the first packet to the first answer after login; 0 where none came.
    pub took_ms: u64,
    /// Why it is of no use, where it is.
    pub fault: Option<Fault>,
}

/// What a host is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It lets us in and takes what tasks write.
    Usable,
    /// It lets us in, but is a standby; tasks go to it once it is promoted.
    Standby,
    /// It does not let us in.
    Failed,
}

/// Something our account may do, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Right {
    /// What it is about, like `REPLICATION`.
    pub name: String,
    /// Whether we have it.
    pub granted: bool,
    /// What needs it, and how to get it where it is missing.
    pub remark: String,
}

/// What is behind a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// Databases of a PostgreSQL server, by name.
    pub databases: Vec<DatabaseRow>,
    /// The database whose tables are listed; empty for Kafka.
    pub database: String,
    /// Its tables, by schema and name.
    pub tables: Vec<TableRow>,
    /// Topics of a Kafka cluster, by name.
    pub topics: Vec<TopicRow>,
    /// There was more than is listed.
    pub truncated: bool,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseRow {
    /// Its name.
    pub name: String,
    /// Its size on disk; absent where our account may not ask.
    pub bytes: Option<u64>,
    /// Whether our account may connect to it.
    pub may_connect: bool,
}

/// A table, or the root of a partitioned one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableRow {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Columns of the primary key in key order; empty: it has none.
    pub key: Vec<String>,
    /// What is sent of an old row: `default`, `nothing`, `full`, `index NAME`.
    pub identity: String,
    /// Whether UPDATE and DELETE can be published.
    pub keyed: bool,
    /// `table`, `partitioned`, `unlogged`.
    pub kind: String,
    /// Size on disk with its partitions, indexes and TOAST.
    pub bytes: u64,
    /// Rows as the planner estimates them; absent where the table was never analyzed.
    pub rows: Option<u64>,
    /// Whether our account may read it.
    pub may_select: bool,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicRow {
    /// Its name.
    pub name: String,
    /// Number of partitions.
    pub partitions: u32,
    /// Replicas of its first partition.
    pub replicas: u32,
    /// Kafka's own, like `__consumer_offsets`.
    pub internal: bool,
    /// What our account may do with it; absent where the brokers do not say.
    pub rights: Option<Vec<String>>,
}
