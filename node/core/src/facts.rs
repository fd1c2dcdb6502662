//! What the shells have seen and the cores judge: plain facts, gathered by I/O, without opinions.

mod copy;

pub use copy::{
    ClusterFacts, CopyPrecheck, EndLook, Operation, Release, Setting, TopicLook, TopicSettings,
};

use tidewire_shared::spec::{TableName, TopicRule};
use tidewire_shared::{Fault, Lsn};

/// A source server as seen on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// `system_identifier`.
    pub system_id: u64,
    /// Current timeline.
    pub timeline: u32,
    /// Flush position of the WAL (`IDENTIFY_SYSTEM`).
    pub flush_lsn: Lsn,
    /// `server_version_num`, like 150018.
    pub version_num: u32,
    /// `pg_is_in_recovery()`: a standby.
    pub in_recovery: bool,
    /// `wal_level`.
    pub wal_level: String,
}

/// One line of a timeline history file: `timeline` ended at `switch_lsn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineEnd {
    /// The timeline that ended.
    pub timeline: u32,
    /// Where its successor begins.
    pub switch_lsn: Lsn,
}

/// A replication slot, from `pg_replication_slots`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotFacts {
    /// Name.
    pub name: String,
    /// Output plugin; empty for a physical slot.
    pub plugin: String,
    /// Database; empty for a physical slot.
    pub database: String,
    /// Vanishes with its session.
    pub temporary: bool,
    /// Decodes prepared transactions at PREPARE.
    pub two_phase: bool,
    /// Where decoding has to begin to serve `confirmed_flush`.
    pub restart_lsn: Option<Lsn>,
    /// Everything before it was confirmed by a consumer.
    pub confirmed_flush: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved`, `lost`; empty before version 13.
    pub wal_status: String,
    /// Why it was invalidated, on versions that tell (16+: conflicting, 17+: the reason).
    pub invalidation: Option<String>,
    /// Backend that streams from it.
    pub active_pid: Option<i32>,
    /// `application_name` of that backend.
    pub active_application: Option<String>,
    /// 17+: copied to standbys.
    pub failover: bool,
    /// 17+: a copy that a standby keeps.
    pub synced: bool,
}

/// A publication, from `pg_publication` and its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationFacts {
    /// Object id: another one means dropped and made again.
    pub oid: u32,
    /// Name.
    pub name: String,
    /// FOR ALL TABLES.
    pub all_tables: bool,
    /// Operations it publishes.
    pub insert: bool,
    /// See `insert`.
    pub update: bool,
    /// See `insert`.
    pub delete: bool,
    /// See `insert`.
    pub truncate: bool,
    /// 13+: changes of partitions appear under their root.
    pub via_root: bool,
    /// The published tables, in name order.
    pub tables: Vec<PublishedTable>,
}

/// One table of a publication.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedTable {
    /// Which.
    pub name: TableName,
    /// Object id of the table.
    pub oid: u32,
    /// 15+: a row filter, as SQL.
    pub row_filter: Option<String>,
    /// 15+: published columns, when not all.
    pub columns: Option<Vec<String>>,
    /// 18+: generated columns that are published.
    pub generated: Vec<String>,
}

/// A table of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFacts {
    /// Which.
    pub name: TableName,
    /// Object id.
    pub oid: u32,
    /// `pg_class.relkind`: `r` table, `p` partitioned, `f` foreign, `v` view, …
    pub kind: char,
    /// `pg_class.relpersistence`: `p` permanent, `u` unlogged, `t` temporary.
    pub persistence: char,
    /// `pg_class.relreplident`: `d` default, `n` nothing, `f` full, `i` index.
    pub identity: char,
    /// Whether the role of the task may SELECT it.
    pub selectable: bool,
    /// Whether the role of the task owns it (directly or by membership).
    pub owned: bool,
    /// Columns by attribute number, dropped ones left out.
    pub columns: Vec<ColumnFacts>,
    /// Unique indexes that can serve as keys: valid, not partial, no expressions, not deferrable.
    pub unique_keys: Vec<UniqueKey>,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnFacts {
    /// Name.
    pub name: String,
    /// Declared type.
    pub type_oid: u32,
    /// Type modifier, −1 for none.
    pub type_modifier: i32,
    /// NOT NULL.
    pub not_null: bool,
    /// GENERATED … STORED or VIRTUAL.
    pub generated: bool,
    /// DEFAULT, as PostgreSQL prints it.
    pub default: Option<String>,
    /// What the declared type comes down to.
    pub base: TypeFacts,
}

/// A type after domains were followed down to their base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeFacts {
    /// Object id of the base type.
    pub oid: u32,
    /// Name of the base type.
    pub name: String,
    /// Schema of the base type.
    pub schema: String,
    /// `pg_type.typtype` of the base type: `b` base, `e` enum, `c` composite, `r` range, `m` multirange, `p` pseudo.
    pub kind: char,
    /// Element type when it is an array, else 0.
    pub element: u32,
    /// `pg_type.typtype` of the element type; `b` for what is no array.
    pub element_kind: char,
    /// Labels in their order, of an enum or of an array of enums.
    pub labels: Vec<String>,
}

/// A unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueKey {
    /// Name of the index.
    pub name: String,
    /// PRIMARY KEY.
    pub primary: bool,
    /// Chosen as replica identity.
    pub replica_identity: bool,
    /// Every column is NOT NULL.
    pub not_null: bool,
    /// Key columns in key order (INCLUDE columns left out).
    pub columns: Vec<String>,
}

/// What a precheck saw of the source, besides the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePrecheck {
    /// The server.
    pub server: ServerFacts,
    /// `server_version`, as text.
    pub version: String,
    /// `rolreplication` of the role, or superuser.
    pub may_replicate: bool,
    /// `has_database_privilege(…, 'CREATE')`: needed to make a publication.
    pub may_create: bool,
    /// `max_replication_slots` and how many are used.
    pub slots: (u32, u32),
    /// `max_wal_senders` and how many are used.
    pub wal_senders: (u32, u32),
    /// Our slot, if it is there.
    pub slot: Option<SlotFacts>,
    /// Our publication, if it is there.
    pub publication: Option<PublicationFacts>,
    /// The tables of the task that exist.
    pub tables: Vec<TableFacts>,
    /// Leaves of its partitioned tables whose replica identity is of another kind than their root's.
    pub odd_partitions: Vec<OddPartition>,
    /// `server_encoding` of the database.
    pub encoding: String,
    /// What is around the objects of the task.
    pub around: Surroundings,
}

/// What is around the objects of a task on its source, and may trouble it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The oldest transactions that hold a transaction id, oldest first, those of unknown age last.
    pub open_transactions: Vec<OpenTransaction>,
    /// The database holds large objects.
    pub large_objects: bool,
    /// Logical slots of the same database, but for ours, in name order.
    pub other_slots: Vec<String>,
    /// Physical slots, in name order, and whether a standby streams from them.
    pub physical_slots: Vec<(String, bool)>,
    /// `synchronized_standby_slots` (17+).
    pub synchronized_standby_slots: Vec<String>,
    /// `max_slot_wal_keep_size` (13+), bytes; none: without bound.
    pub wal_keep_bytes: Option<u64>,
    /// `idle_replication_slot_timeout` (18+), milliseconds; 0: never.
    pub idle_slot_timeout_ms: u64,
    /// Variants of `pg_logical_emit_message` that the role may not call, with their parameters.
    pub refused_emitters: Vec<String>,
    /// Where the heartbeat table is or would be.
    pub heartbeat: HeartbeatPlace,
    /// How far the server's clock is ahead of ours, milliseconds.
    pub clock_ahead_ms: i64,
    /// How wrong that may be, milliseconds.
    pub clock_error_ms: i64,
}

/// A transaction that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The session, or the name under which it is prepared.
    pub who: String,
    /// It is prepared: no session holds it, and it may stay for ever.
    pub prepared: bool,
    /// Its age, milliseconds; none where the role may not see it.
    pub age_ms: Option<u64>,
    /// The statement that ends it.
    pub end: String,
}

/// What the role may do where the heartbeat table is or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatPlace {
    /// Whether it may create in the schema; none: there is no such schema.
    pub schema: Option<bool>,
    /// Whether it may use the schema.
    pub usage: bool,
    /// Whether it may read and write the table; none: there is no such table.
    pub table: Option<bool>,
    /// Whether it owns the table, which takes part in a publication by its owner's hand alone.
    pub owned: bool,
}

/// A partition whose replica identity is of another kind than that of its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddPartition {
    /// The partition.
    pub name: TableName,
    /// The partitioned table that the task names.
    pub root: TableName,
    /// `pg_class.relreplident` of the root.
    pub root_identity: char,
}

/// A topic of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// Name.
    pub name: String,
    /// Kafka's topic id as two halves; (0, 0) where brokers have none.
    pub id: (i64, i64),
    /// Number of partitions.
    pub partitions: u32,
    /// `cleanup.policy`.
    pub cleanup_policy: String,
    /// `max.message.bytes`.
    pub max_message_bytes: u64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// Replicas of partition 0.
    pub replication_factor: u32,
}

/// How the partitions of a topic are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionHealth {
    /// Name of the topic.
    pub topic: String,
    /// Partitions that no broker leads.
    pub leaderless: Vec<u32>,
    /// Replicas in sync, of the partition that has the fewest; none where brokers do not say.
    pub least_in_sync: Option<u32>,
}

/// A slot that another task of the cluster holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotOwner {
    /// Name of the slot.
    pub slot: String,
    /// Name of the task.
    pub task: String,
    /// The task was deleted: the slot is dropped as soon as that can be done.
    pub deleted: bool,
}

/// Another task of the cluster, as far as it matters to this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub task: String,
    /// `host:port` of brokers of its target.
    pub brokers: Vec<String>,
    /// Names of its topics, with `*` and `?` where the tables of a pattern decide.
    pub topics: Vec<String>,
    /// Of a task from Kafka, `host:port` of brokers of its source.
    pub source_brokers: Vec<String>,
    /// Of a task from Kafka, what it takes there.
    pub rules: Vec<TopicRule>,
}

impl TopicFacts {
    /// Whether the brokers are older than 0.11: they tell no configuration, and know neither idempotent
    /// producers nor headers.
    #[must_use]
    pub fn is_of_old_brokers(&self) -> bool {
        self.cleanup_policy.is_empty()
    }
}

/// What a precheck saw of the target. A probe that failed carries its fault.
#[derive(Clone, Debug)]
pub struct TargetPrecheck {
    /// Brokers that answered, or why none did.
    pub brokers: Result<u32, Fault>,
    /// `host:port` of every broker of the cluster, as they call themselves.
    pub addresses: Vec<String>,
    /// How the partitions of the topics that are there are.
    pub health: Vec<PartitionHealth>,
    /// Each topic of the task: there, absent (`Ok(None)`), or not to be seen.
    pub topics: Vec<(String, Result<Option<TopicFacts>, Fault>)>,
    /// Whether the topics may be written, topic by topic.
    pub writable: Vec<(String, Result<(), Fault>)>,
    /// Whether transactions work: a transactional producer could be initialised under an id of ours.
    pub transactions: Result<(), Fault>,
    /// The positions topic: there and right, absent, or with what is wrong.
    pub positions_topic: Result<Option<TopicFacts>, Fault>,
}
