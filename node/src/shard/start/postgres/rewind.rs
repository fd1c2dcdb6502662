//! Having a shard that nobody runs go on from elsewhere: the errand of `tidewire task rewind`.
//!
//! Safe beside a start that begins at the same time. exactly_once: whoever initialises the producer last
//! fences the other, and a later owner is known by the epoch of its claim (`tidewire_node_core::rewind`).
//! at_least_once: the coordinators keep no position under an epoch that is not current any more.

use tidewire_node_core::reconnect::{ExpectedSlot, is_lost, stands_at};
use tidewire_node_core::rewind::{Rewind, Rewound, may_move};
use tidewire_node_core::takeover::{Owner, PositionEntry};
use tidewire_postgres::{Source, Sql, slot};
use tidewire_proto::node::v1 as pb;
use tidewire_shared::spec::{Delivery, Managed, PostgresTask};
use tidewire_shared::{ClusterId, Fault, LogPlace, Lsn, NodeName, PgPosition};

use super::super::target::{TargetSide, core_hint};
use super::objects::SourceObjects;
use super::primary::Primary;
use super::source::SLOT_PATIENCE;
use super::target;
use crate::shard::Assignment;
use crate::wal;

/// Has the shard of this assignment go on at `place`; with `look_only` nothing is touched, and what it
/// would mean is told.
pub(crate) async fn rewind(
    spec: &PostgresTask,
    assignment: &Assignment,
    (cluster, node): (&ClusterId, &NodeName),
    place: LogPlace,
    look_only: bool,
) -> Result<pb::RewindDone, Fault> {
    let mut target = target(spec, assignment, cluster, node)?;
    let newest = newest(&mut target, spec.delivery, assignment, look_only).await?;
    let owner = Owner {
        cluster: cluster.clone(),
        shard: assignment.shard.clone(),
        epoch: assignment.epoch,
    };
    let all = Source::new(&spec.source, &owner.application_name())?;
    let Primary { source, sql, .. } =
        Primary::of(all.writable().await?, Some(&newest.position)).await?;
    let mut at = AtSource { spec, owner, source, sql, look_only, told: Vec::new() };
    let Rewound { entry, told } = at.judge(&newest, place).await?;
    let mut done = pb::RewindDone { moved: at.told, ..pb::RewindDone::default() };
    done.moved.extend(told);
    if look_only {
        return Ok(done);
    }
    let lsn = entry.position.lsn.0;
    let kept = target.go_on_from(entry, spec.delivery, &assignment.shard).await?;
    done.kept.extend(kept.map(|kept| pb::Rewound { lsn, ..kept }));
    Ok(done)
}

/// The newest position of the shard. Whoever is still about to write one is fenced before that.
async fn newest(
    target: &mut TargetSide,
    delivery: Delivery,
    assignment: &Assignment,
    look_only: bool,
) -> Result<PositionEntry<PgPosition>, Fault> {
    let newest = match delivery {
        Delivery::ExactlyOnce => {
            if !look_only {
                target.init_producer().await?;
            }
            target.read_positions(assignment.hint.as_ref().map(core_hint)).await?
        }
        Delivery::AtLeastOnce => target.kept_position(&assignment.record)?,
    };
    may_move(newest, assignment.epoch)
}

/// The source of a shard that goes on from elsewhere.
struct AtSource<'a> {
    spec: &'a PostgresTask,
    owner: Owner,
    source: Source,
    sql: Sql,
    look_only: bool,
    /// What was done there, as lines for people.
    told: Vec<String>,
}

impl AtSource<'_> {
    async fn judge(
        &mut self,
        newest: &PositionEntry<PgPosition>,
        place: LogPlace,
    ) -> Result<Rewound, Fault> {
        let objects = self.objects().await?;
        let name = self.spec.source.slot.name(&self.owner.shard.slot_name());
        // Last, so that the log has come at least to the place.
        let (confirmed, to) = self.resolve(place, &name, newest.position.lsn).await?;
        let mut client = self.source.replicate().await?;
        let server = client.server().await?;
        let history = client.timeline_history(server.timeline).await?;
        let to = to.unwrap_or(server.flush_lsn);
        Rewind {
            newest,
            epoch: self.owner.epoch,
            server: &server,
            history: &history,
            slot_name: &name,
            confirmed: confirmed.unwrap_or(to),
            fingerprint: objects.fingerprint(&server),
            publications: objects.marks(),
            to,
        }
        .judge()
    }

    /// The publications: managed ones are brought back to what is planned, before the place is looked
    /// for, so that servers which cannot decode without them need not.
    async fn objects(&mut self) -> Result<SourceObjects, Fault> {
        let mut objects = SourceObjects::new(self.spec, &self.owner.shard);
        objects.resolve(&mut self.sql).await?;
        if !self.look_only {
            objects.mend(&mut self.sql).await?;
            self.told.extend(objects.told());
        }
        objects.look(&self.sql).await?;
        if !self.look_only {
            objects.expected().iter().try_for_each(|publication| publication.judge(None))?;
        }
        Ok(objects)
    }

    /// From where on the slot has the log, and the place; none: the end of the log, where nothing is made.
    async fn resolve(
        &mut self,
        place: LogPlace,
        name: &str,
        reached: Lsn,
    ) -> Result<(Option<Lsn>, Option<Lsn>), Fault> {
        let managed = self.spec.source.slot == Managed::Managed;
        let expected = ExpectedSlot { name, database: &self.spec.source.database, managed };
        let seen = slot::look(&self.sql, name).await?;
        if place == LogPlace::Now && managed && is_lost(seen.as_ref()) {
            self.told.push(format!("slot {name} is made anew"));
            return Ok((None, self.slot_made_anew(name).await?));
        }
        let confirmed = stands_at(expected, seen.as_ref(), Some(reached))?;
        let to = match place {
            LogPlace::Lsn(lsn) => Some(lsn),
            LogPlace::Slot => Some(confirmed),
            LogPlace::Now if self.look_only => None,
            LogPlace::Now => Some(slot::end_of_open(&self.source, SLOT_PATIENCE).await?),
        };
        Ok((Some(confirmed), to))
    }

    async fn slot_made_anew(&self, name: &str) -> Result<Option<Lsn>, Fault> {
        if self.look_only {
            return Ok(None);
        }
        wal::drop_now(&self.sql, name, &self.owner).await?;
        let failover = self.spec.source.slot_failover.wanted(self.sql.version_num())?;
        slot::create(&self.source, name, failover, SLOT_PATIENCE).await.map(Some)
    }
}
