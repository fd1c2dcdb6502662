//! The state between messages: relations of the connection, the open transaction, the sequence.

use std::collections::HashMap;

use tidewire_shared::Lsn;
use tidewire_shared::position::InTransaction;
use tidewire_shared::spec::TableName;

use super::frames::{self, Frame, Next};
use super::pgoutput::{self, Message, RelationMessage, Rows, Truncate};
use super::relations::{Known, Relations, Wanted};
use super::rows::Images;
use super::{DecodeError, rows};
use crate::batch::{BatchEnd, ChangeBatch};
use crate::change::{Change, Operation, Transaction};
use crate::facts::{TableFacts, UniqueKey};
use crate::schema::TaskTables;

/// What a decoder is told when a stream begins.
#[derive(Clone, Debug)]
pub struct Options {
    /// The tables that the task wants.
    pub tables: TaskTables,
    /// The heartbeat table, whose changes are delivered to nobody and counted nowhere.
    pub heartbeat: Option<TableName>,
    /// Tables by object id, as they were called when the stream was started. One that is renamed
    /// stays the same table under that name until someone has decided what it is to be.
    pub names: HashMap<u32, TableName>,
    /// Their unique keys at that time, by object id: for those that are gone when their rows come.
    pub keys: HashMap<u32, Vec<UniqueKey>>,
    /// Where the stream was started: the durable position.
    pub start: Lsn,
    /// The durable part of the transaction that comes first, if one was broken off.
    pub resume: Option<InTransaction>,
    /// Keep transactions of up to 1,000 row messages whole in one batch, so that their size is known.
    pub hold: bool,
    /// A batch is full when it holds this many bytes of row text.
    pub batch_bytes: usize,
    /// A batch is full when it holds this many changes.
    pub batch_changes: usize,
}

impl Options {
    /// Batches of 1 MiB or 1,000 changes, whatever comes first.
    #[must_use]
    pub fn new(tables: TaskTables, start: Lsn) -> Self {
        Self {
            tables,
            heartbeat: None,
            names: HashMap::new(),
            keys: HashMap::new(),
            start,
            resume: None,
            hold: false,
            batch_bytes: 1 << 20,
            batch_changes: 1_000,
        }
    }
}

/// What one call of [`Decoder::feed`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// Bytes of the input that are done with. A rest without `need` or `full` is an incomplete frame.
    pub consumed: usize,
    /// Set when decoding waits for the facts of a table: look them up, call [`Decoder::provide`],
    /// then feed the rest.
    pub need: Option<NeedTable>,
    /// The batch is to be taken; the rest goes into the next one.
    pub full: bool,
    /// The batch must not be taken yet: it holds a part of a transaction that is kept whole.
    pub held: bool,
}

/// A table whose facts are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedTable {
    /// Its object id.
    pub oid: u32,
    /// Its schema when the change was made.
    pub schema: String,
    /// Its name when the change was made.
    pub name: String,
}

/// Up to how many row messages a transaction is kept whole when that is asked for.
const HOLD_CHANGES: u64 = 1_000;
/// Up to how many bytes of row messages: memory stays bounded however wide the rows are.
const HOLD_BYTES: u64 = 32 << 20;

/// How many tables are looked up at once, at most.
const TABLES_AHEAD: usize = 500;

/// Decodes the stream of one connection; a new connection takes a new decoder.
#[derive(Debug)]
pub struct Decoder {
    options: Options,
    relations: Relations,
    /// A Relation message that waits for facts.
    pending: Option<Pending>,
    open: Option<Open>,
    /// The durable part of the transaction that comes first; gone once that has ended.
    resume: Option<InTransaction>,
    lsn: Lsn,
    last_commit_time_us: i64,
    server_wal_end: Lsn,
}

#[derive(Debug)]
struct Pending {
    payload: Vec<u8>,
    need: NeedTable,
}

/// The transaction that is being received.
#[derive(Debug)]
struct Open {
    transaction: Transaction,
    /// Row messages so far.
    sequence: u64,
    /// Those of the heartbeat table.
    beats: u64,
    /// Their bytes.
    bytes: u64,
    /// Where the transaction stands in a batch: checked before use.
    slot: Option<u32>,
    /// All of it that was not durable before lies in one batch.
    whole: bool,
}

impl Open {
    /// Whether it is small enough to be kept whole.
    fn holdable(&self) -> bool {
        self.sequence <= HOLD_CHANGES && self.bytes <= HOLD_BYTES
    }

    /// The index of the transaction in `batch`, where it is put when it is not there.
    #[inline]
    fn slot_in(&mut self, batch: &mut ChangeBatch) -> u32 {
        let same = |t: &Transaction| t.final_lsn == self.transaction.final_lsn;
        if let Some(slot) = self.slot {
            if batch.transactions.get(slot as usize).is_some_and(same) {
                return slot;
            }
            self.whole = false;
        }
        // A batch has fewer transactions than changes, and those are numbered by u32 too.
        let slot = u32::try_from(batch.transactions.len()).unwrap_or(u32::MAX);
        batch.transactions.push(self.transaction);
        self.slot = Some(slot);
        slot
    }
}

impl Decoder {
    /// A decoder for a stream that begins.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            relations: Relations::with_heartbeat(options.heartbeat.clone()),
            pending: None,
            open: None,
            resume: options.resume,
            lsn: options.start,
            last_commit_time_us: 0,
            server_wal_end: Lsn::ZERO,
            options,
        }
    }

    /// Decodes whole frames from the front of `bytes` and appends to `batch`.
    ///
    /// # Errors
    /// The stream is malformed, does not continue what is durable, or a table cannot be taken as the
    /// task asks. The decoder is of no use afterwards.
    pub fn feed(&mut self, bytes: &[u8], batch: &mut ChangeBatch) -> Result<Fed, DecodeError> {
        let mut fed = Fed::default();
        loop {
            fed.need = self.retry_pending()?;
            fed.held = self.holds(batch);
            fed.full = !fed.held && self.is_full(batch);
            if fed.need.is_some() || fed.full {
                break;
            }
            match frames::next(bytes.get(fed.consumed..).unwrap_or_default()) {
                Next::Frame(frame, length) => {
                    self.frame(frame, batch)?;
                    fed.consumed += length;
                }
                Next::Partial => break,
                Next::Malformed(what) => return Err(DecodeError::malformed(self.at(), what)),
            }
        }
        self.write_end(&mut batch.end);
        Ok(fed)
    }

    /// Answers [`Fed::need`]: what the catalog says of the table with that object id, `None` when it
    /// is gone. Facts may be given ahead too; each Relation message of the stream uses them up.
    pub fn provide(&mut self, oid: u32, facts: Option<TableFacts>) {
        self.relations.provide(oid, facts);
    }

    /// Object ids of the tables that `bytes`, the rest of what was fed, describes and whose facts will
    /// be asked for: whoever looks one up can look all of them up at once. At most 500 of them.
    #[must_use]
    pub fn tables_ahead(&self, mut bytes: &[u8]) -> Vec<u32> {
        let mut ahead = Vec::new();
        while let Next::Frame(frame, length) = frames::next(bytes) {
            bytes = bytes.get(length..).unwrap_or_default();
            let Frame::XLogData { payload: payload @ [b'R', ..], .. } = frame else { continue };
            let Ok(Message::Relation(relation)) = pgoutput::parse(payload) else { break };
            let wanted = self.relations.asks_for(&relation, &self.options.tables);
            if wanted && !ahead.contains(&relation.oid) {
                ahead.push(relation.oid);
            }
            if ahead.len() == TABLES_AHEAD {
                break;
            }
        }
        ahead
    }

    /// Where the stream is, for errors.
    fn at(&self) -> Lsn {
        self.open.as_ref().map_or(self.lsn, |open| open.transaction.final_lsn)
    }

    #[inline]
    fn holds(&self, batch: &ChangeBatch) -> bool {
        let holdable = |open: &Open| open.whole && open.slot.is_some() && open.holdable();
        self.options.hold && !batch.is_empty() && self.open.as_ref().is_some_and(holdable)
    }

    #[inline]
    fn is_full(&self, batch: &ChangeBatch) -> bool {
        batch.changes.len() >= self.options.batch_changes
            || batch.bytes.len() >= self.options.batch_bytes
    }

    fn write_end(&self, end: &mut BatchEnd) {
        end.lsn = self.lsn;
        end.inside = self.inside();
        end.last_commit_time_us = self.last_commit_time_us;
        end.server_wal_end = self.server_wal_end;
    }

    fn inside(&self) -> Option<InTransaction> {
        let Some(open) = &self.open else { return self.resume };
        let sequence = open.sequence.max(self.resume.map_or(0, |resume| resume.sequence));
        let Transaction { final_lsn, xid, .. } = open.transaction;
        (sequence > 0).then_some(InTransaction { final_lsn, xid, sequence })
    }

    #[inline]
    fn frame(&mut self, frame: Frame<'_>, batch: &mut ChangeBatch) -> Result<(), DecodeError> {
        match frame {
            Frame::XLogData { wal_end, payload } => {
                self.server_wal_end = self.server_wal_end.max(wal_end);
                let message = pgoutput::parse(payload)
                    .map_err(|what| DecodeError::malformed(self.at(), what))?;
                self.message(message, payload, batch)
            }
            Frame::Keepalive { wal_end, reply_requested } => {
                self.server_wal_end = self.server_wal_end.max(wal_end);
                batch.end.reply_requested |= reply_requested;
                self.keepalive(wal_end)
            }
        }
    }

    /// Between transactions everything before a keepalive's position has been received.
    fn keepalive(&mut self, wal_end: Lsn) -> Result<(), DecodeError> {
        match self.resume {
            _ if self.open.is_some() => {}
            Some(resume) if wal_end > resume.final_lsn => {
                return Err(DecodeError::history(
                    resume.final_lsn,
                    "the transaction that is partly durable was not sent again",
                ));
            }
            Some(_) => {}
            None => self.lsn = self.lsn.max(wal_end),
        }
        Ok(())
    }

    #[inline]
    fn message(
        &mut self,
        message: Message<'_>,
        payload: &[u8],
        batch: &mut ChangeBatch,
    ) -> Result<(), DecodeError> {
        let length = payload.len() as u64;
        match message {
            Message::Insert { relation, rows } => {
                self.row(Operation::Insert, relation, rows, length, batch)
            }
            Message::Update { relation, rows } => {
                self.row(Operation::Update, relation, rows, length, batch)
            }
            Message::Delete { relation, rows } => {
                self.row(Operation::Delete, relation, rows, length, batch)
            }
            Message::Begin { final_lsn, commit_time_us, xid } => {
                self.begin(Transaction { final_lsn, commit_time_us, xid, size: 0 })
            }
            Message::Commit { commit_lsn, end_lsn, .. } => self.commit(commit_lsn, end_lsn, batch),
            Message::Relation(relation) => self.relation(&relation, payload),
            Message::Truncate(truncate) => self.truncate(truncate, length, batch),
            Message::Origin { .. } | Message::Type { .. } | Message::Message { .. } => Ok(()),
        }
    }

    fn begin(&mut self, transaction: Transaction) -> Result<(), DecodeError> {
        let Transaction { final_lsn, xid, .. } = transaction;
        if self.open.is_some() {
            return Err(DecodeError::malformed(self.at(), "transaction begins inside another"));
        }
        if final_lsn < self.lsn {
            return Err(DecodeError::history(final_lsn, "a transaction was sent that is durable"));
        }
        if let Some(resume) = self.resume
            && (resume.final_lsn, resume.xid) != (final_lsn, xid)
        {
            return Err(DecodeError::history(
                resume.final_lsn,
                format!(
                    "another transaction, at {final_lsn}, came in place of the partly durable one"
                ),
            ));
        }
        self.last_commit_time_us = transaction.commit_time_us;
        self.open =
            Some(Open { transaction, sequence: 0, beats: 0, bytes: 0, slot: None, whole: true });
        Ok(())
    }

    fn commit(
        &mut self,
        commit_lsn: Lsn,
        end_lsn: Lsn,
        batch: &mut ChangeBatch,
    ) -> Result<(), DecodeError> {
        let at = self.at();
        let Some(open) = self.open.take() else {
            return Err(DecodeError::malformed(at, "commit without a transaction"));
        };
        let Transaction { final_lsn, .. } = open.transaction;
        if commit_lsn != final_lsn || end_lsn <= final_lsn {
            return Err(DecodeError::malformed(at, "commit does not fit its transaction"));
        }
        if self.resume.take().is_some_and(|resume| resume.sequence > open.sequence) {
            return Err(DecodeError::history(at, "the partly durable transaction lost changes"));
        }
        if self.options.hold && open.whole && open.holdable() {
            let of_batch = open.slot.and_then(|slot| batch.transactions.get_mut(slot as usize));
            if let Some(transaction) = of_batch.filter(|t| t.final_lsn == final_lsn) {
                transaction.size = open.sequence;
            }
        }
        self.lsn = end_lsn;
        let heartbeat = open.beats > 0 && open.beats == open.sequence;
        batch.end.transactions += u64::from(!heartbeat);
        Ok(())
    }

    fn relation(
        &mut self,
        message: &RelationMessage<'_>,
        payload: &[u8],
    ) -> Result<(), DecodeError> {
        let at = self.at();
        let renamed = self.options.names.get(&message.oid).map(|name| RelationMessage {
            schema: &name.schema,
            name: &name.table,
            ..message.clone()
        });
        let message = renamed.as_ref().unwrap_or(message);
        let keys = self.options.keys.get(&message.oid).map(Vec::as_slice);
        if !self.relations.describe(message, &self.options.tables, keys, at)? {
            let need = NeedTable {
                oid: message.oid,
                schema: message.schema.to_owned(),
                name: message.name.to_owned(),
            };
            self.pending = Some(Pending { payload: payload.to_vec(), need });
        }
        Ok(())
    }

    /// Takes in the Relation message that waited, if its facts are there; else says what it needs.
    #[inline]
    fn retry_pending(&mut self) -> Result<Option<NeedTable>, DecodeError> {
        let Some(pending) = self.pending.take() else { return Ok(None) };
        if let Ok(Message::Relation(message)) = pgoutput::parse(&pending.payload) {
            self.relation(&message, &pending.payload)?;
        }
        Ok(self.pending.as_ref().map(|pending| pending.need.clone()))
    }

    /// Counts a row message; whether it is to be taken, or durable already.
    #[inline]
    fn count(&mut self, length: u64) -> Result<Option<&mut Open>, DecodeError> {
        let at = self.at();
        let Some(open) = &mut self.open else {
            return Err(DecodeError::malformed(at, "row outside a transaction"));
        };
        open.sequence += 1;
        open.bytes = open.bytes.saturating_add(length);
        let durable = self.resume.is_some_and(|resume| open.sequence <= resume.sequence);
        Ok((!durable).then_some(open))
    }

    #[inline]
    fn row(
        &mut self,
        operation: Operation,
        oid: u32,
        rows: Rows<'_>,
        length: u64,
        batch: &mut ChangeBatch,
    ) -> Result<(), DecodeError> {
        if self.count(length)?.is_none() {
            return Ok(());
        }
        let at = self.at();
        let Some(known) = self.relations.get(oid) else {
            return Err(undescribed(at));
        };
        let wanted = match known {
            Known::Wanted(wanted) => wanted.as_it_comes(operation, rows),
            Known::Unwanted => {
                batch.end.filtered += 1;
                return Ok(());
            }
            Known::Heartbeat => {
                if let Some(open) = &mut self.open {
                    open.beats += 1;
                }
                return Ok(());
            }
            Known::NewTopic(name, topic) => return Err(DecodeError::new_topic(at, name, topic)),
        };
        let Some(open) = &mut self.open else { return Ok(()) };
        match rows::copy(operation, rows, wanted, batch) {
            Ok(Some((operation, images))) => push(operation, images, wanted, open, batch),
            Ok(None) => batch.end.filtered += 1,
            Err(rows::Unfit { what, remedy }) => {
                let error = DecodeError::malformed(at, what).of_table(&wanted.relation.name);
                return Err(match remedy {
                    Some(remedy) => error.remedy(remedy),
                    None => error,
                });
            }
        }
        Ok(())
    }

    fn truncate(
        &mut self,
        truncate: Truncate<'_>,
        length: u64,
        batch: &mut ChangeBatch,
    ) -> Result<(), DecodeError> {
        if self.count(length)?.is_none() {
            return Ok(());
        }
        let at = self.at();
        for oid in truncate.relations() {
            let (Some(known), Some(open)) = (self.relations.get(oid), &mut self.open) else {
                return Err(undescribed(at));
            };
            match known {
                Known::Wanted(wanted) if wanted.operations.truncate => {
                    push(Operation::Truncate, Images::NONE, wanted, open, batch);
                }
                Known::Wanted(_) | Known::Unwanted => batch.end.filtered += 1,
                Known::Heartbeat => {}
                Known::NewTopic(name, topic) => {
                    return Err(DecodeError::new_topic(at, name, topic));
                }
            }
        }
        Ok(())
    }
}

#[inline]
fn push(
    operation: Operation,
    images: Images,
    wanted: &mut Wanted,
    open: &mut Open,
    batch: &mut ChangeBatch,
) {
    let relation = wanted.slot_in(batch);
    let transaction = open.slot_in(batch);
    let Images { old_row, old, new, flaw } = images;
    let sequence = open.sequence;
    let change = Change { operation, old_row, relation, transaction, sequence, old, new, flaw };
    batch.changes.push(change);
}

fn undescribed(at: Lsn) -> DecodeError {
    DecodeError::malformed(at, "change of a table that was not described on this connection")
}
