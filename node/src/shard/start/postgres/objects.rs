//! The tables of a shard at its source: which there are now, and that they are published.

use std::collections::{BTreeMap, HashMap};

use tidewire_node_core::facts::{PublicationFacts, ServerFacts};
use tidewire_node_core::objects::{self, ListedTable};
use tidewire_node_core::precheck::qualified;
use tidewire_node_core::publish::{
    self, Alignment, PublicationPlan, PublicationPlans, PublishTable,
};
use tidewire_node_core::reconnect::{DecodingOptions, ExpectedPublication, Fingerprint};
use tidewire_node_core::rewind::way_on;
use tidewire_node_core::schema::TaskTables;
use tidewire_postgres::publication::{self, Step};
use tidewire_postgres::{PublicationMark, Sql, catalog, server};
use tidewire_shared::spec::PostgresTask;
use tidewire_shared::spec::{Managed, ObjectRule, TableName};
use tidewire_shared::{Fault, FaultKind, LogPlace, Lsn, ShardId};

/// What a shard takes from its source.
#[derive(Clone, Debug)]
pub(crate) struct SourceObjects {
    rules: Vec<ObjectRule>,
    database: String,
    managed: bool,
    /// The heartbeat table, which no pattern takes.
    heartbeat: Option<TableName>,
    tables: TaskTables,
    /// The publication of all changes, and that of inserts where there is one.
    publications: Vec<Publication>,
    /// What was changed, for the log of the task.
    told: Vec<String>,
    /// How far the shard has come, where it has begun.
    reached: Option<Lsn>,
}

/// A publication of a shard.
#[derive(Clone, Debug)]
struct Publication {
    name: String,
    plan: PublicationPlan,
    /// As it was seen last; the stream is watched against it.
    seen: Option<PublicationFacts>,
    /// Its rows in the catalog, seen before that.
    mark: PublicationMark,
}

impl SourceObjects {
    pub(crate) fn new(spec: &PostgresTask, shard: &ShardId) -> Self {
        let source = &spec.source;
        let tables = TaskTables::default();
        let PublicationPlans { changes: plan, .. } = PublicationPlans::existing(&tables);
        let name = source.publication.name(&shard.slot_name());
        let inserts = shard.inserts_publication_name();
        Self {
            rules: spec.objects.clone(),
            database: source.database.clone(),
            managed: source.publication == Managed::Managed,
            heartbeat: source.heartbeat.beats_into(),
            tables,
            publications: [name, inserts]
                .map(|name| Publication {
                    name,
                    plan: plan.clone(),
                    seen: None,
                    mark: PublicationMark::default(),
                })
                .into(),
            told: Vec::new(),
            reached: None,
        }
    }

    /// The shard has come so far.
    pub(crate) fn reached(&mut self, lsn: Lsn) {
        self.reached = Some(lsn);
    }

    /// What was changed since this was last asked, as lines for the log of the task.
    pub(crate) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Finds the tables that the task has now, and how they are to be published.
    pub(crate) async fn resolve(&mut self, sql: &mut Sql) -> Result<&TaskTables, Fault> {
        let listed = self.list(sql).await?;
        self.tables = TaskTables::resolve(&self.rules, &self.database, &listed)?;
        let plans = if self.managed {
            let narrowed: Vec<_> = publish::narrowed(&self.tables).cloned().collect();
            let facts = match narrowed.as_slice() {
                [] => Vec::new(),
                names => catalog::tables(sql, names).await?,
            };
            PublicationPlans::managed(&self.tables, &listed, &facts, sql.version_num())
        } else {
            PublicationPlans::existing(&self.tables)
        };
        let plans: Vec<_> = std::iter::once(plans.changes).chain(plans.inserts).collect();
        self.publications.truncate(plans.len());
        for (publication, plan) in self.publications.iter_mut().zip(plans) {
            publication.plan = plan;
        }
        Ok(&self.tables)
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

    /// First start only: makes the managed publications, or finds those there are.
    pub(crate) async fn create(&mut self, sql: &mut Sql) -> Result<(), Fault> {
        self.make_missing(sql).await?;
        // From where on their changes go out is for the slot to say.
        self.told.clear();
        self.align(sql).await
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
            let mut alignment = publish::mend(plan, there, noted.as_deref());
            // Somebody else may have made it, so that partitions appear under names of their own.
            alignment.publish |= !there.via_root;
            if !alignment.is_empty() || noted.as_deref() != Some(alignment.note.as_str()) {
                changes.push(Change::new(name, plan, Some(alignment)));
            }
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

    /// Looks at the publications as they are when the stream begins.
    pub(crate) async fn look(&mut self, sql: &Sql) -> Result<(), Fault> {
        for publication in &mut self.publications {
            publication.mark = PublicationMark::look(sql, &publication.name).await?;
            publication.seen = publication::look(sql, &publication.name).await?;
        }
        Ok(())
    }

    async fn look_again(&mut self, sql: &Sql) -> Result<(), Fault> {
        for publication in &mut self.publications {
            publication.seen = publication::look(sql, &publication.name).await?;
        }
        Ok(())
    }

    /// Brings the managed publications to what the task has now: tables that appeared are added,
    /// those that left it are taken out. Changes of a table are delivered from its addition on.
    pub(crate) async fn align(&mut self, sql: &mut Sql) -> Result<(), Fault> {
        self.look_again(sql).await?;
        let started = self.publications.first().is_some_and(|first| first.seen.is_some());
        if !self.managed || !started {
            return Ok(());
        }
        self.without_idle();
        let mut changes = Vec::new();
        for Publication { name, plan, seen, .. } in &self.publications {
            let alignment = match seen {
                Some(there) => {
                    let noted = publication::note(sql, name).await?;
                    Some(
                        publish::align(plan, there, noted.as_deref())
                            .map_err(|lost| self.put_back(lost))?,
                    )
                }
                None => None,
            };
            if alignment.as_ref().is_some_and(Alignment::is_empty) {
                continue;
            }
            changes.push(Change::new(name, plan, alignment));
        }
        self.carry_out(sql, &changes).await
    }

    /// A task from before there always was one of inserts does without until it has such tables.
    fn without_idle(&mut self) {
        if self.publications.first().is_some_and(|first| first.seen.is_some()) {
            self.publications.retain(|it| it.seen.is_some() || !it.plan.tables.is_empty());
        }
    }

    /// A table was taken out by someone: all others lose nothing where the task goes on from its position.
    fn put_back(&self, lost: Fault) -> Fault {
        let Some(reached) = self.reached else { return lost };
        let how = way_on(LogPlace::Lsn(reached));
        lost.remedy(format!("to have it put back, and go on without what is lost: {how}"))
    }

    async fn carry_out(&mut self, sql: &mut Sql, changes: &[Change]) -> Result<(), Fault> {
        if changes.is_empty() {
            return Ok(());
        }
        for change in changes {
            if change.plan.publish.update {
                harmless(sql, change.added(), &self.tables).await?;
            }
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

    /// Looks at the publications and compares them with what they were when the stream began.
    pub(crate) async fn compare(&self, sql: &mut Sql) -> Result<(), Fault> {
        for Publication { name, seen, plan, mark } in &self.publications {
            let Some(before) = seen else { continue };
            mark.compare(name, &PublicationMark::look(sql, name).await?)?;
            let now = publication::look(sql, name).await?;
            let mut before = before.clone();
            let gone = self.dropped(sql, &before, now.as_ref(), plan).await?;
            // Only what the task still has: of anything else nothing is lost.
            before.tables.retain(|held| {
                plan.tables.iter().any(|table| table.name == held.name) && !gone.contains(&held.oid)
            });
            publication::compare(&before, now.as_ref())?;
        }
        Ok(())
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

/// What is to be done to a publication.
#[derive(Debug)]
struct Change {
    name: String,
    plan: PublicationPlan,
    /// `None`: it is to be made.
    alignment: Option<Alignment>,
}

impl Change {
    fn new(name: &str, plan: &PublicationPlan, alignment: Option<Alignment>) -> Self {
        Self { name: name.to_owned(), plan: plan.clone(), alignment }
    }

    fn step(&self) -> Step<'_> {
        Step { name: &self.name, plan: &self.plan, alignment: self.alignment.as_ref() }
    }

    fn added(&self) -> &[PublishTable] {
        let all = self.plan.tables.as_slice();
        self.alignment.as_ref().map_or(all, |alignment| alignment.add.as_slice())
    }

    fn dropped(&self) -> &[TableName] {
        self.alignment.as_ref().map_or(&[][..], |alignment| alignment.drop.as_slice())
    }

    /// Lines for the log of the task, once it was done at this place.
    fn told(&self, at: Lsn) -> Vec<String> {
        let name = &self.name;
        let came = self.added().iter().map(|table| {
            format!("table {} is published by {name}: changes made after {at} go out", table.name)
        });
        let stays = |table: &TableName| self.plan.tables.iter().any(|it| it.name == *table);
        let left = self.dropped().iter().filter(|&table| !stays(table));
        let went = left.map(|table| format!("table {table} is not published by {name} any more"));
        came.chain(went).collect()
    }
}

/// Refuses to publish updates and deletes of tables whose rows the server cannot name: those of the
/// application would fail. Also of tables whose condition could not be told from what they bring.
async fn harmless(
    sql: &mut Sql,
    tables: &[PublishTable],
    of_task: &TaskTables,
) -> Result<(), Fault> {
    let names: Vec<_> = tables.iter().map(|table| table.name.clone()).collect();
    for table in catalog::tables(sql, &names).await? {
        let fault = |what: String| {
            Fault::new(FaultKind::SourceState, format!("table {}", table.name), what)
        };
        let name = qualified(&table.name);
        if !publish::identifies(&table) {
            let what = "appeared under a pattern of the task without a usable replica identity: \
                        publishing it would make the application's UPDATE and DELETE fail";
            return Err(fault(what.to_owned()).remedy(format!(
                "give it a primary key, or ALTER TABLE {name} REPLICA IDENTITY FULL; or exclude \
                 it; then resume the task"
            )));
        }
        let untold = of_task.rule(&table.name).map(|rule| publish::untold(rule, &table));
        if let Some(column) = untold.and_then(|columns| columns.first().copied()) {
            let what = format!(
                "is not published: its condition `where` needs column {column}, which is not in \
                 its replica identity, so nobody could tell which updates go out"
            );
            return Err(fault(what).remedy(format!(
                "ALTER TABLE {name} REPLICA IDENTITY FULL; or exclude it; then resume the task"
            )));
        }
    }
    Ok(())
}
