//! The tables of a shard at its source: which there are now, and that they are published.

mod change;
mod harm;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tidewire_node_core::facts::{
    OddPartition, PublicationFacts, ServerFacts, TableFacts, UniqueKey,
};
use tidewire_node_core::objects::{self, ListedTable};
use tidewire_node_core::publication_mark::Comparison;
use tidewire_node_core::publish::{
    self, Alignment, PublicationPlan, PublicationPlans, PublishTable,
};
use tidewire_node_core::reconnect::{DecodingOptions, ExpectedPublication, Fingerprint};
use tidewire_node_core::rewind::way_on;
use tidewire_node_core::schema::TaskTables;
use tidewire_postgres::publication;
use tidewire_postgres::{Sql, catalog, precheck, publication_mark, server};
use tidewire_shared::spec::PostgresTask;
use tidewire_shared::spec::{Managed, ObjectRule, TableName};
use tidewire_shared::{
    Fault, FaultKind, LogPlace, Lsn, PgPosition, PublicationMark, ShardId, TaskName,
};

use change::Change;
use harm::harmed;

/// What a shard takes from its source.
#[derive(Clone, Debug)]
pub(crate) struct SourceObjects {
    task: TaskName,
    rules: Vec<ObjectRule>,
    database: String,
    managed: bool,
    /// The heartbeat table, which no pattern takes.
    heartbeat: Option<TableName>,
    tables: TaskTables,
    /// Unique keys of the tables that are published, by object id, as they were when the stream began.
    keys: HashMap<u32, Vec<UniqueKey>>,
    /// The publication of all changes, and that of inserts where there is one.
    publications: Vec<Publication>,
    /// Where the shard stands, and how its publications were when it came there; `None` at its first start.
    known: Option<PgPosition>,
    /// Errors that its user has resumed it over.
    resumed_over: Vec<String>,
    /// What was changed, for the log of the task.
    told: Vec<String>,
}

/// A publication of a shard.
#[derive(Clone, Debug)]
struct Publication {
    name: String,
    plan: PublicationPlan,
    /// As it was seen last; the stream is watched against it.
    seen: Option<PublicationFacts>,
    /// Its rows in the catalog, as they were last found to have lost nothing.
    mark: Option<PublicationMark>,
}

impl SourceObjects {
    pub(crate) fn new(spec: &PostgresTask, shard: &ShardId) -> Self {
        let source = &spec.source;
        let tables = TaskTables::default();
        let PublicationPlans { changes: plan, .. } = PublicationPlans::existing(&tables);
        let name = source.publication.name(&shard.slot_name());
        let inserts = shard.inserts_publication_name();
        Self {
            task: spec.name.clone(),
            rules: spec.objects.clone(),
            database: source.database.clone(),
            managed: source.publication == Managed::Managed,
            heartbeat: source.heartbeat.beats_into(),
            tables,
            keys: HashMap::new(),
            publications: [name, inserts]
                .map(|name| Publication { name, plan: plan.clone(), seen: None, mark: None })
                .into(),
            known: None,
            resumed_over: Vec::new(),
            told: Vec::new(),
        }
    }

    /// The same of a task that its user has resumed over these errors.
    pub(crate) fn resumed_over(self, errors: &[String]) -> Self {
        Self { resumed_over: errors.to_vec(), ..self }
    }

    /// The shard stands here: what its publications lost since then is looked for.
    pub(crate) fn stands_at(&mut self, position: &PgPosition) {
        self.known = Some(position.clone());
    }

    /// Where the shard stood when it started; zero at its first start.
    pub(crate) fn stood_at(&self) -> Lsn {
        self.known.as_ref().map_or(Lsn::ZERO, |known| known.lsn)
    }

    /// How the publications are, for the position that says so.
    pub(crate) fn marks(&self) -> Arc<Vec<PublicationMark>> {
        Arc::new(self.publications.iter().filter_map(|it| it.mark.clone()).collect())
    }

    /// What was changed since this was last asked, as lines for the log of the task.
    pub(crate) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Finds the tables that the task has now, and how they are to be published. The publications are
    /// judged first: what we do to them next must not hide what others did.
    pub(crate) async fn resolve(&mut self, sql: &mut Sql) -> Result<&TaskTables, Fault> {
        let listed = self.list(sql).await?;
        self.tables = TaskTables::resolve(&self.rules, &self.database, &listed)?;
        let plans = if self.managed {
            let facts = self.narrowed(sql).await?;
            PublicationPlans::managed(&self.tables, &listed, &facts, sql.version_num())
        } else {
            PublicationPlans::existing(&self.tables)
        };
        let plans: Vec<_> = std::iter::once(plans.changes).chain(plans.inserts).collect();
        self.publications.truncate(plans.len());
        for (publication, plan) in self.publications.iter_mut().zip(plans) {
            publication.plan = plan;
        }
        self.look(sql).await?;
        Ok(&self.tables)
    }

    /// What the catalog says of the tables of which the server may leave something out.
    async fn narrowed(&self, sql: &mut Sql) -> Result<Vec<TableFacts>, Fault> {
        let narrowed: Vec<_> = publish::narrowed(&self.tables).cloned().collect();
        match narrowed.as_slice() {
            [] => Ok(Vec::new()),
            names => catalog::tables(sql, names).await,
        }
    }

    /// The tables that patterns may take: of a publication that is not ours, those it holds.
    pub(crate) async fn list(&self, sql: &mut Sql) -> Result<Vec<ListedTable>, Fault> {
        let mut listed = catalog::list(sql).await?;
        listed.retain(|table| self.heartbeat.as_ref() != Some(&table.name));
        let first = self.publications.first().filter(|_| !self.managed);
        if let Some(Publication { name, .. }) = first
            && let Some(seen) = publication::look(sql, name).await?
        {
            listed.retain(|table| seen.tables.iter().any(|held| held.name == table.name));
        }
        Ok(listed)
    }

    /// Whether the database holds tables that the task has by a pattern and does not take yet; gives
    /// their names.
    pub(crate) async fn appeared(&self, sql: &mut Sql) -> Result<Vec<String>, Fault> {
        if !objects::has_patterns(&self.rules) {
            return Ok(Vec::new());
        }
        let listed = self.list(sql).await?;
        let now = objects::resolve(&self.rules, &self.database, &listed);
        let new = now.into_iter().filter(|table| self.tables.rule(&table.name).is_none());
        Ok(new.map(|table| table.name.to_string()).collect())
    }

    /// Tables that the server may not filter as it does any more, or may by now, because their replica
    /// identity or columns changed; gives their names. What it filters outside of a replica identity
    /// makes the application's UPDATE and DELETE fail.
    pub(crate) async fn reshaped(&self, sql: &mut Sql) -> Result<Vec<String>, Fault> {
        if !self.managed {
            return Ok(Vec::new());
        }
        let facts = self.narrowed(sql).await?;
        let now = PublicationPlans::managed(&self.tables, &[], &facts, sql.version_num());
        let now: Vec<_> =
            std::iter::once(now.changes).chain(now.inserts).flat_map(|plan| plan.tables).collect();
        let before = self.publications.iter().flat_map(|publication| &publication.plan.tables);
        let exists = |table: &&PublishTable| facts.iter().any(|it| it.name == table.name);
        let other = before.filter(exists).filter(|table| {
            now.iter().any(|it| it.name == table.name && publish::form(it) != publish::form(table))
        });
        Ok(other.map(|table| table.name.to_string()).collect())
    }

    /// Partitions whose replica identity is of another kind than that of their root, of tables whose
    /// updates or deletes are published: a partition does not inherit it.
    pub(crate) async fn odd_partitions(&self, sql: &Sql) -> Result<Vec<OddPartition>, Fault> {
        let guarded = self.tables.iter().filter(|(_, rule)| {
            let operations = rule.operations;
            operations.update || operations.delete
        });
        let names: Vec<_> = guarded.map(|(name, _)| name.clone()).collect();
        precheck::odd_partitions(sql, &names).await
    }

    /// First start only: makes the managed publications, or finds those there are.
    pub(crate) async fn create(&mut self, sql: &mut Sql) -> Result<(), Fault> {
        self.make_missing(sql).await?;
        // From where on their changes go out is for the slot to say.
        self.told.clear();
        self.align(sql).await?;
        self.look(sql).await
    }

    /// Brings the managed publications back to what is planned, whatever became of them: their user goes
    /// on without what was lost.
    pub(crate) async fn mend(&mut self, sql: &mut Sql) -> Result<(), Fault> {
        self.look_again(sql).await?;
        self.without_idle();
        self.make_missing(sql).await?;
        let mut changes = Vec::new();
        for Publication { name, plan, seen, .. } in
            self.publications.iter().filter(|_| self.managed)
        {
            let Some(there) = seen else { continue };
            let noted = publication::note(sql, name).await?;
            let mut alignment = publish::mend(plan, there, noted.as_ref());
            // Somebody else may have made it, so that partitions appear under names of their own.
            alignment.publish |= !there.via_root;
            // The note is written anew in any case.
            changes.push(Change::new(name, plan, Some(alignment)));
        }
        self.carry_out(sql, &changes).await
    }

    async fn make_missing(&mut self, sql: &mut Sql) -> Result<(), Fault> {
        self.look_again(sql).await?;
        let missing = self.publications.iter().filter(|it| it.seen.is_none());
        let missing: Vec<_> = missing.map(|it| Change::new(&it.name, &it.plan, None)).collect();
        if let Some(first) = missing.first().filter(|_| !self.managed) {
            let object = format!("publication {}", first.name);
            return Err(Fault::new(FaultKind::SourceState, object, "does not exist")
                .remedy("create it, or let the task manage one"));
        }
        self.carry_out(sql, &missing).await
    }

    /// Looks at the publications, and whether they lost anything since they were looked at before, by us
    /// or by whoever ran the task last.
    pub(crate) async fn look(&mut self, sql: &Sql) -> Result<(), Fault> {
        self.look_again(sql).await?;
        for at in 0..self.publications.len() {
            self.mark(sql, at).await?;
        }
        Ok(())
    }

    /// Looks up the keys of the tables that are published: of those that are dropped before their rows
    /// come nobody else knows them.
    pub(crate) async fn look_up_keys(&mut self, sql: &Sql) -> Result<(), Fault> {
        let oids: Vec<u32> = self.published().into_keys().collect();
        let mut found = catalog::keys(sql, &oids).await?;
        self.keys =
            oids.into_iter().map(|oid| (oid, found.remove(&oid).unwrap_or_default())).collect();
        Ok(())
    }

    /// Unique keys of the tables that are published, by object id.
    pub(crate) fn keys(&self) -> &HashMap<u32, Vec<UniqueKey>> {
        &self.keys
    }

    async fn mark(&mut self, sql: &Sql, at: usize) -> Result<(), Fault> {
        let Some(publication) = self.publications.get(at) else { return Ok(()) };
        let Publication { name, plan, seen: Some(seen), mark } = publication else { return Ok(()) };
        let look = publication_mark::look(sql, seen, plan, self.managed).await?;
        let Some(now) = look else { return Ok(()) };
        let known = self.known.as_ref().map_or(&[][..], |known| known.publications.as_slice());
        let told = match mark.as_ref().or_else(|| known.iter().find(|it| it.oid == now.mark.oid)) {
            Some(before) => {
                self.judge(sql, Comparison { publication: name, before, now: &now }).await?
            }
            None => (self.known.is_some() && known.is_empty()).then(|| {
                format!(
                    "keeps from now on how publication {name} is: whether it lost anything before, \
                     while the task did not run, is not known"
                )
            }),
        };
        self.told.extend(told);
        if let Some(publication) = self.publications.get_mut(at) {
            publication.mark = Some(now.mark);
        }
        Ok(())
    }

    /// Stops at a gap, unless the user has resumed the task over it: then that is to be told.
    async fn judge(&self, sql: &Sql, rows: Comparison<'_>) -> Result<Option<String>, Fault> {
        let Some(gap) = rows.gap() else { return Ok(None) };
        if rows.is_answered(&gap, &self.resumed_over) {
            return Ok(Some(format!(
                "goes on behind a gap: publication {} {gap}",
                rows.publication
            )));
        }
        let server = server::facts(sql).await?;
        // That another server has other rows is no wonder: that it is another one is told later.
        if self.known.as_ref().is_some_and(|known| known.system_id != server.system_id) {
            return Ok(None);
        }
        Err(rows.fault(&gap, (self.stood_at(), server.flush_lsn), self.task.as_str()))
    }

    async fn look_again(&mut self, sql: &Sql) -> Result<(), Fault> {
        for publication in &mut self.publications {
            publication.seen = publication::look(sql, &publication.name).await?;
        }
        Ok(())
    }

    /// Brings the managed publications to what the task has now: tables that appeared are added,
    /// those that left it are taken out. Changes of a table are delivered from its addition on.
    ///
    /// A table that may not be published keeps none of the others from being brought up to date: until
    /// then the server may refuse the application's statements for what it filters.
    pub(crate) async fn align(&mut self, sql: &mut Sql) -> Result<(), Fault> {
        self.look_again(sql).await?;
        let started = self.publications.first().is_some_and(|first| first.seen.is_some());
        if !self.managed || !started {
            return Ok(());
        }
        self.without_idle();
        let (mut changes, mut faults) = (Vec::new(), Vec::new());
        for Publication { name, plan, seen, .. } in &self.publications {
            let noted = match seen {
                Some(_) => publication::note(sql, name).await?,
                None => None,
            };
            let align = |plan: &PublicationPlan| {
                let there = seen.as_ref();
                let aligned = there.map(|there| publish::align(plan, there, noted.as_ref()));
                aligned.transpose().map_err(|lost| self.put_back(lost))
            };
            let mut change = Change::new(name, plan, align(plan)?);
            if plan.publish.update {
                let harmed = harmed(sql, change.added(), &self.tables).await?;
                let is_new = |(table, _): &&(TableName, Fault)| !change.dropped().contains(table);
                let new: Vec<_> = harmed.iter().filter(is_new).collect();
                // Out of the other publication it must not go before it comes into this one.
                if let Some((_, fault)) = new.iter().find(|(table, _)| self.publishes(table)) {
                    return Err(fault.clone());
                }
                if !new.is_empty() {
                    let mut rest = plan.clone();
                    rest.tables.retain(|table| !new.iter().any(|(name, _)| *name == table.name));
                    change = Change::new(name, &rest, align(&rest)?);
                }
                faults.extend(harmed.into_iter().map(|(_, fault)| fault));
            }
            if !change.alignment.as_ref().is_some_and(Alignment::is_empty) {
                changes.push(change);
            }
        }
        self.apply(sql, &changes).await?;
        faults.into_iter().next().map_or(Ok(()), Err)
    }

    /// A task from before there always was one of inserts does without until it has such tables.
    fn without_idle(&mut self) {
        if self.publications.first().is_some_and(|first| first.seen.is_some()) {
            self.publications.retain(|it| it.seen.is_some() || !it.plan.tables.is_empty());
        }
    }

    /// A table was taken out by someone: all others lose nothing where the task goes on from its position.
    fn put_back(&self, lost: Fault) -> Fault {
        let Some(known) = &self.known else { return lost };
        if !lost.remedy.contains(&way_on(LogPlace::Now)) {
            return lost;
        }
        let how = way_on(LogPlace::Lsn(known.lsn));
        lost.remedy(format!("to have it put back, and go on without what is lost: {how}"))
    }

    /// Whether one of the publications held the table when it was last looked at.
    fn publishes(&self, table: &TableName) -> bool {
        let seen = self.publications.iter().filter_map(|publication| publication.seen.as_ref());
        seen.flat_map(|seen| &seen.tables).any(|held| held.name == *table)
    }

    /// Makes these changes, unless one of them would make statements of the application fail. Looked at
    /// now: the precheck may be long ago, as a target that is away keeps a first start for hours.
    async fn carry_out(&mut self, sql: &mut Sql, changes: &[Change]) -> Result<(), Fault> {
        for change in changes.iter().filter(|change| change.plan.publish.update) {
            let harmed = harmed(sql, change.added(), &self.tables).await?;
            if let Some((_, fault)) = harmed.into_iter().next() {
                return Err(fault);
            }
        }
        self.apply(sql, changes).await
    }

    async fn apply(&mut self, sql: &Sql, changes: &[Change]) -> Result<(), Fault> {
        if changes.is_empty() {
            return Ok(());
        }
        for change in changes {
            for table in change.added() {
                tracing::info!(publication = change.name, table = %table.name, "adding a table");
            }
            for table in change.dropped() {
                tracing::info!(publication = change.name, %table, "taking a table out");
            }
        }
        let steps: Vec<_> = changes.iter().map(Change::step).collect();
        publication::align(sql, &steps).await?;
        let at = server::facts(sql).await?.flush_lsn;
        self.told.extend(changes.iter().flat_map(|change| change.told(at)));
        self.look_again(sql).await
    }

    pub(crate) fn expected(&self) -> Vec<ExpectedPublication<'_>> {
        let expected = self.publications.iter().map(|publication| ExpectedPublication {
            name: &publication.name,
            oid: None,
            managed: self.managed,
            plan: &publication.plan,
            seen: publication.seen.as_ref(),
        });
        expected.collect()
    }

    pub(crate) fn fingerprint(&self, server: &ServerFacts) -> Fingerprint {
        let mut oids = self
            .publications
            .iter()
            .map(|publication| publication.seen.as_ref().map(|seen| seen.oid));
        DecodingOptions {
            options: BTreeMap::from([("proto_version".to_owned(), "1".to_owned())]),
            publication: oids.next().flatten(),
            inserts: oids.next().flatten(),
            server_major: server.version_num / 10_000,
        }
        .fingerprint()
    }

    /// Names of the publications.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.publications.iter().map(|publication| publication.name.as_str()).collect()
    }

    /// Object ids and names of the tables that are published now.
    pub(crate) fn published(&self) -> HashMap<u32, TableName> {
        let seen = self.publications.iter().filter_map(|publication| publication.seen.as_ref());
        let tables = seen.flat_map(|seen| &seen.tables);
        tables.map(|table| (table.oid, table.name.clone())).collect()
    }

    /// Looks at the publications and compares them with what they were when the stream began. They were
    /// looked at before when the log had come to `from`; now it has come to `to`. Gives the tables that
    /// were attached to another one that is published: from 15 on a publication shows them no more,
    /// though it has them as before, and their changes come under the name of their root.
    pub(crate) async fn compare(
        &self,
        sql: &mut Sql,
        from: Lsn,
        to: Lsn,
    ) -> Result<Vec<String>, Fault> {
        let mut attached = Vec::new();
        for Publication { name, seen, plan, mark } in &self.publications {
            let Some(before) = seen else { continue };
            let look = publication_mark::look(sql, before, plan, self.managed).await?;
            if let Some((now, before)) = look.as_ref().zip(mark.as_ref()) {
                let comparison = Comparison { publication: name, before, now };
                if let Some(gap) = comparison.gap() {
                    return Err(comparison.fault(&gap, (from, to), self.task.as_str()));
                }
            }
            let now = publication::look(sql, name).await?;
            let mut before = before.clone();
            let gone = self.dropped(sql, &before, now.as_ref(), plan).await?;
            // Only what the task still has: of anything else nothing is lost.
            before.tables.retain(|held| {
                plan.tables.iter().any(|table| table.name == held.name) && !gone.contains(&held.oid)
            });
            let shown = |oid| now.iter().flat_map(|now| &now.tables).any(|table| table.oid == oid);
            before.tables.retain(|held| {
                let has = look.as_ref().is_some_and(|it| it.mark.tables.contains_key(&held.oid));
                let hidden = has && !shown(held.oid);
                attached.extend(hidden.then(|| held.name.to_string()));
                !hidden
            });
            publication::compare(&before, now.as_ref())?;
        }
        Ok(attached)
    }

    /// Tables taken by a pattern that left a publication because they were dropped altogether.
    async fn dropped(
        &self,
        sql: &mut Sql,
        before: &PublicationFacts,
        now: Option<&PublicationFacts>,
        plan: &PublicationPlan,
    ) -> Result<Vec<u32>, Fault> {
        let Some(now) = now else { return Ok(Vec::new()) };
        let by_pattern =
            |held: &TableName| plan.tables.iter().any(|table| table.name == *held && !table.named);
        let left: Vec<u32> = before
            .tables
            .iter()
            .filter(|held| now.tables.iter().all(|table| table.oid != held.oid))
            .filter(|held| by_pattern(&held.name))
            .map(|held| held.oid)
            .collect();
        if left.is_empty() {
            return Ok(left);
        }
        let exist = catalog::tables_by_oid(sql, &left).await?;
        Ok(left.into_iter().filter(|oid| exist.iter().all(|table| table.oid != *oid)).collect())
    }
}
