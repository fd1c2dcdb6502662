//! The PostgreSQL side of a start.

use std::time::Duration;

use tidewire_node_core::facts::ServerFacts;
use tidewire_node_core::reconnect::{
    ExpectedSlot, FirstSlot, Reconnect, SlotOrigin, first_position,
};
use tidewire_node_core::schema::TaskTables;
use tidewire_node_core::takeover::{Fact, Owner, Start};
use tidewire_postgres::{
    Feedback, ReplicationClient, Source, Sql, StreamReader, Writable, heartbeat, publication,
    server, slot,
};
use tidewire_shared::spec::{
    Managed, PostgresSource, PostgresTask, SlotFailover, StartAt, TableName,
};
use tidewire_shared::{ClusterId, Fault, FaultKind, Lsn, PgPosition};

use super::objects::SourceObjects;
use super::primary::Primary;
use crate::shard::Assignment;

/// A new slot waits for the transactions that are open; longer than this and the user hears of them.
pub(super) const SLOT_PATIENCE: Duration = Duration::from_secs(60);

/// The source of one shard during a start.
pub(super) struct SourceSide {
    spec: PostgresSource,
    start: StartAt,
    owner: Owner,
    objects: SourceObjects,
    slot: String,
    publication: String,
    heartbeat: Option<TableName>,
    /// Once there is a connection, at the primary alone.
    source: Source,
    ahead: Option<tokio::task::JoinHandle<Result<Vec<Writable>, Fault>>>,
    sql: Option<Sql>,
    /// How far the shard has come, where it has begun.
    position: Option<PgPosition>,
    /// What was seen of the servers, for the log of the task.
    told: Vec<String>,
    /// Confirmed by the slot when it was taken.
    confirmed: Lsn,
    client: Option<ReplicationClient>,
    server: Option<ServerFacts>,
}

/// An open stream and what is known of its source.
pub(super) struct OpenStream {
    pub(super) source: Source,
    pub(super) reader: StreamReader,
    pub(super) feedback: Feedback,
    pub(super) confirmed: Lsn,
    /// Its tables and publications; the stream is watched against them.
    pub(super) objects: SourceObjects,
    pub(super) slot: String,
    pub(super) owner: Owner,
    /// The heartbeat table, where there is one.
    pub(super) heartbeat: Option<TableName>,
    /// `server_version`, like `15.18`.
    pub(super) server_version: String,
}

impl SourceSide {
    pub(super) fn new(
        task: &PostgresTask,
        assignment: &Assignment,
        cluster: &ClusterId,
    ) -> Result<Self, Fault> {
        let spec = task.source.clone();
        let owner = Owner {
            cluster: cluster.clone(),
            shard: assignment.shard.clone(),
            epoch: assignment.epoch,
        };
        let ours = assignment.shard.slot_name();
        let source = Source::new(&spec, &owner.application_name())?;
        Ok(Self {
            objects: SourceObjects::new(task, &assignment.shard)
                .resumed_over(&assignment.resumed_over),
            slot: spec.slot.name(&ours),
            publication: spec.publication.name(&ours),
            heartbeat: spec.heartbeat.beats_into(),
            spec,
            start: task.start,
            owner,
            source,
            ahead: None,
            sql: None,
            position: None,
            told: Vec::new(),
            confirmed: Lsn::ZERO,
            client: None,
            server: None,
        })
    }

    /// Connects while the target is being asked: the two do not wait for each other.
    pub(super) fn connect_ahead(&mut self) {
        let source = self.source.clone();
        self.ahead = Some(actix_rt::spawn(async move { source.writable().await }));
    }

    /// The shard stands here.
    pub(super) fn stands_at(&mut self, position: &PgPosition) {
        self.objects.stands_at(position);
        self.position = Some(position.clone());
    }

    /// Waits for the connection that was begun ahead, whatever comes of it.
    pub(super) async fn warm(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            drop(ahead.await);
        }
    }

    async fn sql(&mut self) -> Result<&mut Sql, Fault> {
        let sql = match self.sql.take().filter(|sql| !sql.is_closed()) {
            Some(sql) => sql,
            None => self.primary().await?,
        };
        Ok(self.sql.insert(sql))
    }

    /// Connects to the primary, and keeps to it from then on.
    async fn primary(&mut self) -> Result<Sql, Fault> {
        let ahead = match self.ahead.take() {
            Some(ahead) => ahead.await.ok(),
            None => None,
        };
        let writable = match ahead {
            Some(connected) => connected?,
            None => self.source.writable().await?,
        };
        let Primary { source, sql, told } = Primary::of(writable, self.position.as_ref()).await?;
        self.source = source;
        self.told.extend(told);
        Ok(sql)
    }

    /// Finds the tables that the task has now. From the second start on the managed publications get
    /// those that appeared, before anything can keep the start from going on: what changes from then
    /// on waits in the log.
    pub(super) async fn resolve(&mut self) -> Result<TaskTables, Fault> {
        self.sql().await?;
        let sql = self.sql.as_mut().ok_or_else(unverified)?;
        let tables = self.objects.resolve(sql).await?.clone();
        self.objects.align(sql).await?;
        Ok(tables)
    }

    /// What was seen and changed at the source, as lines for the log of the task.
    pub(super) fn told(&mut self) -> Vec<String> {
        let mut told = std::mem::take(&mut self.told);
        told.extend(self.objects.told());
        told
    }

    /// First start only: makes the managed publications, or finds those there are.
    pub(super) async fn ensure_publication(&mut self) -> Result<Fact<PgPosition>, Fault> {
        self.sql().await?;
        let sql = self.sql.as_mut().ok_or_else(unverified)?;
        self.objects.create(sql).await?;
        Ok(Fact::SourcePrepared)
    }

    /// First start only: makes the managed slot, or finds the one there is.
    pub(super) async fn ensure_slot(&mut self) -> Result<Fact<PgPosition>, Fault> {
        let (name, source) = (self.slot.clone(), self.source.clone());
        let managed = self.spec.slot == Managed::Managed;
        let (failover, ours) = (self.spec.slot_failover, self.owner.clone());
        let sql = self.sql().await?;
        let facts = server::facts(sql).await?;
        let failover = failover.wanted(facts.version_num)?;
        let found = match slot::look(sql, &name).await? {
            // An earlier first start was cut off while the server waited for open transactions, and
            // its session waits on.
            Some(slot) if slot.confirmed_flush.is_none() => slot::free(sql, &name, &ours).await?,
            found => found,
        };
        let origin = match found {
            Some(found) => SlotOrigin::Found(found),
            None if managed => SlotOrigin::Created {
                consistent_point: slot::create(&source, &name, failover, SLOT_PATIENCE).await?,
            },
            None => return Err(missing("slot", &name, "create it, or let the task manage one")),
        };
        let position = first_position(&FirstSlot {
            server: &facts,
            expected: self.expected_slot(),
            origin,
            start: self.start,
            fingerprint: self.objects.fingerprint(&facts),
            publications: self.objects.marks(),
        })?;
        self.objects.stands_at(&position);
        Ok(Fact::StartFound(position))
    }

    pub(super) async fn take_slot(&mut self) -> Result<Fact<PgPosition>, Fault> {
        let (name, ours) = (self.slot.clone(), self.owner.clone());
        let sql = self.sql().await?;
        if slot::look(sql, &name).await?.is_some_and(|slot| slot.active_pid.is_some()) {
            slot::take(sql, &name, &ours).await?;
        }
        self.match_failover().await?;
        Ok(Fact::SourceTaken)
    }

    /// Has a managed slot copied to standbys, or not, as the task asks by now.
    async fn match_failover(&mut self) -> Result<(), Fault> {
        let (name, demanded) = (self.slot.clone(), self.spec.slot_failover);
        let sql = self.sql().await?;
        let wanted = demanded.wanted(sql.version_num())?;
        let there = slot::look(sql, &name).await?;
        let Some(there) = there.filter(|slot| slot.failover != wanted && !slot.temporary) else {
            return Ok(());
        };
        if self.spec.slot == Managed::Managed {
            tracing::info!(slot = name, failover = wanted, "changing whether standbys copy it");
            return self.source.replicate().await?.set_failover(&name, wanted).await;
        }
        match demanded {
            SlotFailover::On => {
                let message = "is not copied to standbys, which slot.failover: on asks for";
                Err(Fault::new(FaultKind::SourceState, format!("slot {}", there.name), message)
                    .remedy("ALTER_REPLICATION_SLOT … (FAILOVER) over a replication connection, or set slot.failover to auto"))
            }
            SlotFailover::Auto | SlotFailover::Off => Ok(()),
        }
    }

    /// Makes the heartbeat table and has it published, so that its changes confirm.
    async fn ensure_heartbeat(&mut self) -> Result<(), Fault> {
        let Some(table) = self.heartbeat.clone() else { return Ok(()) };
        let name = self.publication.clone();
        let managed = self.spec.publication == Managed::Managed;
        let sql = self.sql().await?;
        heartbeat::ensure_table(sql, &table).await?;
        let Some(seen) = publication::look(sql, &name).await? else { return Ok(()) };
        if seen.all_tables || seen.tables.iter().any(|published| published.name == table) {
            return Ok(());
        }
        if managed {
            return publication::add_table(sql, &name, &table).await;
        }
        let message = format!("does not publish the heartbeat table {table}");
        Err(Fault::new(FaultKind::SourceState, format!("publication {name}"), message).remedy(
            format!("ALTER PUBLICATION … ADD TABLE {table}, or set source.heartbeat.mode to auto"),
        ))
    }

    /// Looks at everything that decides whether the stream may go on, and has it judged.
    pub(super) async fn verify(
        &mut self,
        position: &PgPosition,
    ) -> Result<Fact<PgPosition>, Fault> {
        self.sql().await?;
        let mut client = self.source.replicate().await?;
        let facts = client.server().await?;
        let history = match facts.timeline {
            same if same == position.timeline => Vec::new(),
            other => client.timeline_history(other).await?,
        };
        self.ensure_heartbeat().await?;
        self.sql().await?;
        let sql = self.sql.as_mut().ok_or_else(unverified)?;
        same_server(&server::facts(sql).await?, &facts, sql.host())?;
        let slot = slot::look(sql, &self.slot).await?;
        self.objects.look(sql).await?;
        self.objects.look_up_keys(sql).await?;
        let verdict = Reconnect {
            position,
            server: &facts,
            history: &history,
            expected_slot: self.expected_slot(),
            slot: slot.as_ref(),
            publications: &self.objects.expected(),
            fingerprint: self.objects.fingerprint(&facts),
        }
        .judge();
        self.confirmed = slot.and_then(|slot| slot.confirmed_flush).unwrap_or(Lsn::ZERO);
        self.client = Some(client);
        self.server = Some(facts);
        Ok(Fact::SourceJudged(verdict))
    }

    /// Starts replication.
    pub(super) async fn stream(self, start: &Start<PgPosition>) -> Result<OpenStream, Fault> {
        let client = self.client.ok_or_else(unverified)?;
        let server = self.server.ok_or_else(unverified)?;
        let (reader, feedback) =
            client.start(&self.slot, start.opening.from, &self.objects.names()).await?;
        Ok(OpenStream {
            source: self.source,
            reader,
            feedback,
            confirmed: self.confirmed,
            objects: self.objects,
            slot: self.slot,
            owner: self.owner,
            heartbeat: self.heartbeat,
            server_version: version(server.version_num),
        })
    }

    fn expected_slot(&self) -> ExpectedSlot<'_> {
        ExpectedSlot {
            name: &self.slot,
            database: &self.spec.database,
            managed: self.spec.slot == Managed::Managed,
        }
    }
}

/// One address may lead to several servers, and one of them may be promoted in between.
fn same_server(sql: &ServerFacts, stream: &ServerFacts, host: &str) -> Result<(), Fault> {
    if (sql.system_id, sql.timeline) == (stream.system_id, stream.timeline) {
        return Ok(());
    }
    let message = format!(
        "two connections led to two servers: to timeline {} of system {}, and to timeline {} of \
         system {}",
        sql.timeline, sql.system_id, stream.timeline, stream.system_id
    );
    Err(Fault::new(FaultKind::SourceBusy, host, message)
        .remedy("name an address that leads to the primary alone"))
}

fn unverified() -> Fault {
    Fault::new(FaultKind::Internal, "start", "took a step before the one it rests on")
}

fn missing(what: &str, name: &str, remedy: &str) -> Fault {
    Fault::new(FaultKind::SourceState, format!("{what} {name}"), "does not exist").remedy(remedy)
}

/// `server_version` from `server_version_num` (10 and later: major and minor).
fn version(number: u32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}
