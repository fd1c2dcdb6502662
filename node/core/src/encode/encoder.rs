//! Turns changes into records: which rows a change becomes, in which order, and where they go.

use std::collections::HashMap;
use std::sync::Arc;

use tidewire_shared::spec::{Format, FormatKind, KeyChange, PartitionPolicy, RecordKey, TableName};
use tidewire_shared::{Counters, Fault, FaultKind, Lsn};

use super::dead_letter::{DeadLetterTopic, DeadLetters, Refused};
use super::placement::{self, NotSent, Placement};
use super::row::{OldImage, Row};
use super::{
    EncodeError, EncodedBatch, KeyHeader, Record, canal_json, debezium_json, dts_avro,
    shareplex_json,
};
use crate::batch::{ChangeBatch, Image};
use crate::change::{Change, Flaw, Identity, OldRow, Operation};
use crate::key::KeyPlan;
use crate::partition::JavaHash;
use crate::schema::Relation;

/// What an encoder has to know of its task.
#[derive(Clone, Debug)]
pub struct EncodeConfig {
    /// Family and options.
    pub format: Format,
    /// Name of the source database.
    pub database: String,
    /// `server_version` of the source, as text.
    pub server_version: String,
    /// Which partition a record goes to.
    pub partition: PartitionPolicy,
    /// What an update of the partitioning columns becomes.
    pub key_change: KeyChange,
    /// Partition counts, by topic index of [`crate::schema::TaskTables::topics`].
    pub partitions: Vec<u32>,
    /// Largest record, key and value together, in bytes.
    pub record_bytes: u64,
    /// Ordinal of the next record, from the durable position.
    pub next_ordinal: u64,
    /// Where changes go that cannot become records; `None`: the first of them is an error.
    pub dead_letters: Option<DeadLetterTopic>,
}

/// Turns changes into records.
#[derive(Debug)]
pub struct Encoder {
    placement: Placement,
    key_change: KeyChange,
    identity_headers: bool,
    record_bytes: usize,
    dead_letters: Option<DeadLetters>,
    partitions: Vec<i32>,
    database: String,
    next_ordinal: u64,
    writer: Writer,
    /// The newest plan of each table, by object id.
    plans: HashMap<u32, Arc<Plan>>,
    /// The plans of the relations of the batch at hand, in their order.
    in_batch: Vec<Arc<Plan>>,
}

/// What is worked out once per table.
#[derive(Debug)]
struct Plan {
    relation: Arc<Relation>,
    table_hash: i32,
    partitions: i32,
    key: KeyPlan,
    value: ValuePlan,
}

#[derive(Debug)]
enum ValuePlan {
    DtsAvro(dts_avro::Plan),
    ShareplexJson(shareplex_json::Plan),
    CanalJson(canal_json::Plan),
    DebeziumJson(debezium_json::Plan),
}

#[derive(Debug)]
enum Writer {
    DtsAvro(dts_avro::Writer),
    ShareplexJson(shareplex_json::Writer),
    CanalJson(canal_json::Writer),
    DebeziumJson(Box<debezium_json::Writer>),
}

/// Why one row cannot be written.
enum Refusal {
    NotSent(usize),
    NotText(usize),
    /// What the condition says of the row is not known.
    Unjudged(Option<usize>),
    NoOldRow,
    KeyUnknown,
    Invalid(dts_avro::Invalid),
    TooLarge(usize),
    /// The relation has a topic that the configuration does not have, or another format.
    Unplanned,
}

impl From<NotSent> for Refusal {
    fn from(NotSent(index): NotSent) -> Self {
        Self::NotSent(index)
    }
}

impl Encoder {
    /// An encoder for one run of a shard.
    ///
    /// # Errors
    /// A topic without partitions, or with more than Kafka can number.
    pub fn new(config: EncodeConfig) -> Result<Self, Fault> {
        let counts = config.partitions.iter().map(|count| {
            i32::try_from(*count).ok().filter(|count| *count > 0).ok_or_else(|| {
                Fault::new(FaultKind::TargetState, "topic", format!("has {count} partitions"))
                    .remedy("create the topics of the task")
            })
        });
        let partitions = counts.collect::<Result<Vec<_>, _>>()?;
        let writer = match config.format.kind {
            FormatKind::DtsAvro => Writer::DtsAvro(dts_avro::Writer::new(
                config.format.source_timestamp_unit,
                &config.server_version,
            )),
            FormatKind::ShareplexJson => Writer::ShareplexJson(shareplex_json::Writer::default()),
            FormatKind::CanalJson => Writer::CanalJson(canal_json::Writer::default()),
            FormatKind::DebeziumJson => {
                Writer::DebeziumJson(Box::new(debezium_json::Writer::new(&config.format.debezium)))
            }
        };
        let placement = Placement {
            policy: config.partition,
            record_key: config.format.key,
            key_splits: config.format.kind == FormatKind::DebeziumJson,
        };
        let record_bytes = usize::try_from(config.record_bytes).unwrap_or(usize::MAX);
        let dead_letters = config.dead_letters.map(|to| {
            let partitions = partitions.get(usize::from(to.topic)).copied().unwrap_or(1);
            DeadLetters { to, partitions, placement, record_bytes }
        });
        Ok(Self {
            placement,
            key_change: config.key_change,
            identity_headers: config.format.identity_headers,
            record_bytes,
            dead_letters,
            partitions,
            database: config.database,
            next_ordinal: config.next_ordinal,
            writer,
            plans: HashMap::new(),
            in_batch: Vec::new(),
        })
    }

    /// Encodes `batch` into `out`, which is cleared first. `now_us` is the wall clock, microseconds
    /// since 1970 UTC.
    ///
    /// # Errors
    /// A record that is too large or that the format cannot hold, where there is no dead-letter topic.
    /// Nothing of the batch is to be sent;
    /// the encoder stands where it stood before.
    pub fn encode(
        &mut self,
        batch: &ChangeBatch,
        now_us: i64,
        out: &mut EncodedBatch,
    ) -> Result<(), EncodeError> {
        out.clear();
        self.plan(batch);
        let ordinal = self.next_ordinal;
        for change in batch.changes() {
            if let Err(error) = self.change(batch, change, now_us, out) {
                self.next_ordinal = ordinal;
                out.clear();
                return Err(error);
            }
        }
        out.end = batch.end;
        out.next_ordinal = self.next_ordinal;
        out.identity_headers = self.identity_headers;
        out.counters.records = out.records.len() as u64;
        out.counters.bytes = out.buf.len() as u64;
        out.counters.transactions = batch.end.transactions;
        out.counters.filtered = batch.end.filtered;
        Ok(())
    }

    /// Finds or makes the plan of each relation of the batch.
    fn plan(&mut self, batch: &ChangeBatch) {
        self.in_batch.clear();
        for relation in batch.relations() {
            let known = self.plans.get(&relation.oid);
            let plan = match known.filter(|plan| Arc::ptr_eq(&plan.relation, relation)) {
                Some(plan) => Arc::clone(plan),
                None => {
                    let plan = Arc::new(self.new_plan(relation));
                    self.plans.insert(relation.oid, Arc::clone(&plan));
                    plan
                }
            };
            self.in_batch.push(plan);
        }
    }

    fn new_plan(&self, relation: &Arc<Relation>) -> Plan {
        Plan {
            table_hash: JavaHash::of(&format!("{}.{}", self.database, relation.name)),
            partitions: self.partitions.get(usize::from(relation.topic)).copied().unwrap_or(0),
            key: KeyPlan::new(relation),
            value: match self.writer {
                Writer::DtsAvro(_) => {
                    ValuePlan::DtsAvro(dts_avro::Plan::new(&self.database, relation))
                }
                Writer::ShareplexJson(_) => {
                    ValuePlan::ShareplexJson(shareplex_json::Plan::new(relation))
                }
                Writer::CanalJson(_) => {
                    ValuePlan::CanalJson(canal_json::Plan::new(&self.database, relation))
                }
                Writer::DebeziumJson(ref writer) => ValuePlan::DebeziumJson(
                    debezium_json::Plan::new(&self.database, relation, writer.options()),
                ),
            },
            relation: Arc::clone(relation),
        }
    }

    /// Writes the records of one change.
    fn change(
        &mut self,
        batch: &ChangeBatch,
        change: &Change,
        now_us: i64,
        out: &mut EncodedBatch,
    ) -> Result<(), EncodeError> {
        let (old, new) = (batch.old_image(change), batch.new_image(change));
        let known = batch.relation(change).zip(batch.transaction(change));
        let (relation, transaction) = known.ok_or_else(|| stray(batch, change))?;
        let row = |operation, before, after| Row {
            operation,
            before,
            after,
            change,
            transaction,
            ordinal: 0,
            now_us,
        };
        let Counters { insert, update, delete, truncate, .. } = &mut out.counters;
        *match change.operation {
            Operation::Insert => insert,
            Operation::Update => update,
            Operation::Delete => delete,
            Operation::Truncate => truncate,
        } += 1;
        let placed = relation.key_known || !self.placement.needs_key();
        let result = match (change.flaw, change.operation) {
            (Some(Flaw::NotText(column)), _) => Err(Refusal::NotText(usize::from(column))),
            (Some(Flaw::NoOldRow), _) => Err(Refusal::NoOldRow),
            (Some(Flaw::Unjudged(column)), _) => Err(Refusal::Unjudged(column.map(usize::from))),
            (None, operation) if !placed && operation != Operation::Truncate => {
                Err(Refusal::KeyUnknown)
            }
            (None, Operation::Insert) => {
                self.record(row(Operation::Insert, None, Some(new)), new, out)
            }
            (None, Operation::Delete) => {
                self.record(row(Operation::Delete, Some(OldImage::sent(old)), None), old, out)
            }
            (None, Operation::Update) => self.update(row, change, old, new, out),
            (None, Operation::Truncate) => self.truncate(row(Operation::Truncate, None, None), out),
        };
        let Err(refusal) = result else { return Ok(()) };
        let of_new = matches!(change.operation, Operation::Insert | Operation::Update);
        let image = if of_new { new } else { old };
        let error = self.error(&refusal, change, transaction.final_lsn, image, relation);
        if matches!(refusal, Refusal::Unplanned) {
            return Err(error);
        }
        let plan = self.in_batch.get(change.relation as usize);
        let (Some(plan), Some(dead_letters)) = (plan, &self.dead_letters) else {
            return Err(error);
        };
        // What was written of the record that failed.
        out.buf.truncate(out.records.last().map_or(0, |record| record.value.end));
        let (key, reason) = (&plan.key, error.what.as_str());
        let refused = Refused { change, transaction, relation, key, old, new, reason };
        self.next_ordinal += dead_letters.write(out, &refused);
        out.counters.dead_letters += 1;
        out.refused.get_or_insert_with(|| Box::new(error));
        Ok(())
    }

    /// An update that moves its row is a delete where it was and an insert where it is.
    #[inline]
    fn update<'a>(
        &mut self,
        row: impl Fn(Operation, Option<OldImage<'a>>, Option<Image<'a>>) -> Row<'a>,
        change: &Change,
        old: Image<'a>,
        new: Image<'a>,
        out: &mut EncodedBatch,
    ) -> Result<(), Refusal> {
        let relation = &self.plan_of(change)?.relation;
        let moves = self.key_change == KeyChange::Split
            && self.placement.moves(relation, change.old_row, old, new)?;
        if moves {
            let delete = row(Operation::Delete, Some(OldImage::sent(old)), None);
            self.half(delete, old, ("__debezium.newkey", new), out)?;
            let insert = row(Operation::Insert, None, Some(new));
            return self.half(insert, new, ("__debezium.oldkey", old), out);
        }
        let before = match change.old_row {
            OldRow::Absent => OldImage::identity_of(new),
            OldRow::Identity | OldRow::Full => OldImage::sent(old),
        };
        self.record(row(Operation::Update, Some(before), Some(new)), new, out)
    }

    /// A truncate concerns every partition of its topic.
    fn truncate(&mut self, row: Row<'_>, out: &mut EncodedBatch) -> Result<(), Refusal> {
        for partition in 0..self.plan_of(row.change)?.partitions {
            let start = out.buf.len();
            self.value(row, partition, start, out)?;
        }
        Ok(())
    }

    fn plan_of(&self, change: &Change) -> Result<&Arc<Plan>, Refusal> {
        self.in_batch.get(change.relation as usize).ok_or(Refusal::Unplanned)
    }

    /// Writes a half of a key change; in `debezium_json` a header names the key of `other`.
    fn half(
        &mut self,
        row: Row<'_>,
        image: Image<'_>,
        (name, other): (&'static str, Image<'_>),
        out: &mut EncodedBatch,
    ) -> Result<(), Refusal> {
        let keyed = self.placement.record_key == RecordKey::Json;
        let plan = self.in_batch.get(row.change.relation as usize).ok_or(Refusal::Unplanned)?;
        let (Writer::DebeziumJson(writer), ValuePlan::DebeziumJson(of), true) =
            (&mut self.writer, &plan.value, keyed)
        else {
            return self.record(row, image, out);
        };
        let (start, first) = (out.buf.len(), out.records.len());
        writer.key_header(&mut out.buf, of, other).map_err(Refusal::Invalid)?;
        let value = start..out.buf.len();
        self.record(row, image, out)?;
        let index = u32::try_from(out.key_headers.len()).ok();
        out.key_headers.push(KeyHeader { name, value });
        for record in out.records.iter_mut().skip(first) {
            record.key_header = index;
        }
        Ok(())
    }

    /// Writes one record of a row; `image` is the row that its key and partition come from.
    #[inline]
    fn record(
        &mut self,
        row: Row<'_>,
        image: Image<'_>,
        out: &mut EncodedBatch,
    ) -> Result<(), Refusal> {
        let plan = self.in_batch.get(row.change.relation as usize).ok_or(Refusal::Unplanned)?;
        self.placement.check_key(&plan.relation, image)?;
        let start = out.buf.len();
        let has_key = self.placement.record_key == RecordKey::Json
            && match (&mut self.writer, &plan.value) {
                (Writer::DebeziumJson(writer), ValuePlan::DebeziumJson(of)) => {
                    writer.key(&mut out.buf, of, image).map_err(Refusal::Invalid)?
                }
                _ => plan.key.write(&mut out.buf, image),
            };
        let key = has_key.then(|| out.buf.get(start..).unwrap_or_default());
        let partition = self.placement.partition(
            &plan.relation,
            plan.table_hash,
            image,
            key,
            plan.partitions,
        )?;
        self.value(row, partition, start, out)?;
        if row.operation == Operation::Delete {
            self.tombstone(out);
        }
        Ok(())
    }

    /// Where the format has them, a record without value follows a delete, under the same key.
    #[inline]
    fn tombstone(&mut self, out: &mut EncodedBatch) {
        let Writer::DebeziumJson(writer) = &self.writer else { return };
        let wanted = writer.options().tombstones && self.placement.record_key == RecordKey::Json;
        if let Some(deleted) = out.records.last().filter(|_| wanted) {
            let end = deleted.value.end;
            let tombstone = Record { value: end..end, tombstone: true, ..deleted.clone() };
            out.records.push(tombstone);
            self.next_ordinal += 1;
        }
    }

    /// Writes the value of a record whose key begins at `start` and ends where the buffer does.
    #[inline]
    fn value(
        &mut self,
        row: Row<'_>,
        partition: i32,
        start: usize,
        out: &mut EncodedBatch,
    ) -> Result<(), Refusal> {
        let plan = self.in_batch.get(row.change.relation as usize).ok_or(Refusal::Unplanned)?;
        if plan.partitions == 0 {
            return Err(Refusal::Unplanned);
        }
        let row = Row { ordinal: self.next_ordinal, ..row };
        let value = out.buf.len();
        match (&mut self.writer, &plan.value) {
            (Writer::DtsAvro(writer), ValuePlan::DtsAvro(of)) => {
                writer.write(&mut out.buf, of, &plan.relation, &row).map_err(Refusal::Invalid)?;
            }
            (Writer::ShareplexJson(writer), ValuePlan::ShareplexJson(of)) => {
                writer.write(&mut out.buf, of, &plan.relation, &row);
            }
            (Writer::CanalJson(writer), ValuePlan::CanalJson(of)) => {
                writer.write(&mut out.buf, of, &plan.relation, &row);
            }
            (Writer::DebeziumJson(writer), ValuePlan::DebeziumJson(of)) => {
                writer.write(&mut out.buf, of, &row).map_err(Refusal::Invalid)?;
            }
            _ => return Err(Refusal::Unplanned),
        }
        let end = out.buf.len();
        let size = end - start;
        if size > self.record_bytes {
            return Err(Refusal::TooLarge(size));
        }
        out.largest = out.largest.max(size);
        self.next_ordinal += 1;
        out.records.push(Record {
            topic: plan.relation.topic,
            partition,
            key: (value > start).then_some(start..value),
            value: value..end,
            identity: Identity {
                commit_lsn: row.transaction.final_lsn,
                sequence: row.change.sequence,
                xid: row.transaction.xid,
            },
            dead_letter: false,
            tombstone: false,
            key_header: None,
        });
        Ok(())
    }

    #[cold]
    fn error(
        &self,
        refusal: &Refusal,
        change: &Change,
        lsn: Lsn,
        image: Image<'_>,
        relation: &Relation,
    ) -> EncodeError {
        let column = |index: usize| relation.columns.get(index).map_or("", |c| c.name.as_str());
        let (what, remedy) = match refusal {
            Refusal::NotSent(index) => (
                format!("column {} decides key or partition but was not sent", column(*index)),
                "make it part of the replica identity, or set REPLICA IDENTITY FULL",
            ),
            Refusal::NotText(index) => (
                format!(
                    "column {} holds bytes that are not UTF-8, as databases with the encoding \
                     SQL_ASCII allow",
                    column(*index)
                ),
                "write onBadRecord: {deadLetterTopic: …}: the row goes there, such values in \
                 hexadecimal; then resume the task",
            ),
            Refusal::Unjudged(index) => (
                format!(
                    "the condition `where` looks at column {}, which holds bytes that are not UTF-8",
                    index.map_or("(one that does not go out)", column)
                ),
                "write onBadRecord: {deadLetterTopic: …}: the row goes there, such values in \
                 hexadecimal; or take `where` of the table out of the document; then resume the task",
            ),
            Refusal::NoOldRow => (
                "update lacks its old row, though the table has REPLICA IDENTITY FULL: one of its \
                 partitions has another one"
                    .to_owned(),
                "give every partition the replica identity of the table, which helps later changes; for \
                 this one write onBadRecord: {deadLetterTopic: …}: its new row goes there; then resume \
                 the task",
            ),
            Refusal::KeyUnknown => (
                "the table was dropped before this change was decoded, so its key is not known any more"
                    .to_owned(),
                "write onBadRecord: {deadLetterTopic: …}: the row goes there; or take the table out of \
                 objects, by which its last changes do not go out; then resume the task",
            ),
            Refusal::Invalid(invalid) => (
                format!("column {} does not hold {}", column(invalid.index), invalid.what),
                "check that nothing resets DateStyle or bytea_output of the replication session",
            ),
            Refusal::TooLarge(size) => (
                format!("record of {size} bytes is over the limit of {}", self.record_bytes),
                "raise limits.recordBytes, and max.message.bytes of the topic if that is lower",
            ),
            Refusal::Unplanned => {
                ("topic is not among those of the task".to_owned(), "start the task again")
            }
        };
        EncodeError {
            table: relation.name.clone(),
            lsn,
            sequence: change.sequence,
            key_hash: placement::key_hash(relation, image),
            what,
            remedy: remedy.to_owned(),
        }
    }
}

/// A change that its batch does not explain: the decoder makes none, so this is a defect.
#[cold]
fn stray(batch: &ChangeBatch, change: &Change) -> EncodeError {
    let nameless = TableName { schema: String::new(), table: String::new() };
    EncodeError {
        table: batch.relation(change).map_or(nameless, |relation| relation.name.clone()),
        lsn: batch.end.lsn,
        sequence: change.sequence,
        key_hash: 0,
        what: "change belongs to no table or transaction of its batch".to_owned(),
        remedy: "report this defect".to_owned(),
    }
}
