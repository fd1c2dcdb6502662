//! A node that runs one shard with the real verdicts; it may be delayed for ever before any step.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use tidewire_node_core::progress::{Progress, Reached};
use tidewire_node_core::reconnect::{Resume, resume_at};
use tidewire_node_core::takeover::{
    Fact, PinPolicy, PositionEntry, Remembered, Start, Step, Takeover,
};
use tidewire_shared::spec::TopicChange;
use tidewire_shared::{Epoch, InTransaction, Lsn, PgPosition, ShardId};

use super::source::History;

pub(crate) const NOW: Duration = Duration::ZERO;

/// A position that can be hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub PgPosition);

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0.timeline, self.0.lsn).hash(state);
        self.0.inside.map(|inside| (inside.final_lsn, inside.xid, inside.sequence)).hash(state);
    }
}

/// What a node has to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Todo {
    InitProducer,
    FindEnd,
    ReadTo(usize),
    Confirm,
    FindStart,
    Claim(PositionEntry<PgPosition>),
    TakeSource,
    Verify(Place),
    Stream(Box<Stream>),
}

/// One owner of the shard on a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub(crate) epoch: u64,
    pub(crate) takeover: Takeover<PgPosition>,
    /// Its producer is the newest one; else it is fenced.
    pub(crate) current: bool,
    pub(crate) todo: Todo,
}

impl Run {
    pub(crate) fn begin(epoch: u64) -> Self {
        let policy = PinPolicy::Spread(TopicChange::Stop);
        let (takeover, _) = Takeover::begin(shard(), Epoch(epoch), Remembered::Nothing, policy);
        Self { epoch, takeover, current: false, todo: Todo::InitProducer }
    }

    /// Tells the takeover a fact and does what touches nobody else at once; `None` is the end.
    pub(crate) fn tell(mut self, fact: Fact<PgPosition>, history: History) -> Option<Self> {
        let mut fact = fact;
        loop {
            self.todo = match self.takeover.step(fact) {
                Step::InitProducer => Todo::InitProducer,
                Step::ReadPositions { .. } => Todo::FindEnd,
                Step::ConfirmOwnership => Todo::Confirm,
                Step::FindStart => Todo::FindStart,
                Step::CommitClaim(entry) => Todo::Claim(entry),
                Step::TakeSource => Todo::TakeSource,
                Step::VerifySource(position) => Todo::Verify(Place(position)),
                Step::Stream(start) => Todo::Stream(Box::new(Stream::new(&start, history)?)),
                Step::Stop(_) => return None,
                Step::VerifyTopics(_) => {
                    fact = Fact::TopicsSeen(Vec::new());
                    continue;
                }
                Step::PrepareSource => {
                    fact = Fact::SourcePrepared;
                    continue;
                }
            };
            return Some(self);
        }
    }

    /// A newer producer was initialised: what this one has open can do nothing any more.
    pub(crate) fn fence(&mut self) {
        self.current = false;
        let epoch = self.epoch;
        if let Some(stream) = self.stream_mut()
            && let Some(rewound) = stream.rewound(epoch)
        {
            *stream = rewound;
        }
    }

    pub(crate) fn stream(&self) -> Option<&Stream> {
        match &self.todo {
            Todo::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn stream_mut(&mut self) -> Option<&mut Stream> {
        match &mut self.todo {
            Todo::Stream(stream) => Some(stream),
            _ => None,
        }
    }
}

pub(crate) fn shard() -> ShardId {
    ShardId { task: "t".parse().expect("id"), index: 0 }
}

/// A replication session and the transaction it feeds. The log that it was opened on may be history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stream {
    pub(crate) progress: Progress,
    pub(crate) history: History,
    /// Transaction that is being received, and its next row.
    pub(crate) at: (usize, u64),
    /// Rows were handed to the producer since the last end of a transaction.
    pub(crate) produced: bool,
    /// The position record was handed over too.
    pub(crate) sealed: bool,
}

impl Stream {
    fn new(start: &Start<PgPosition>, history: History) -> Option<Self> {
        Self::from(&start.claim, start.opening.from, start.opening.timeline, history)
    }

    /// `START_REPLICATION`, and the skip inside an unfinished transaction.
    pub(crate) fn from(
        claim: &PositionEntry<PgPosition>,
        from: Lsn,
        timeline: u32,
        history: History,
    ) -> Option<Self> {
        let progress = Progress::resume(claim, timeline, Lsn::ZERO, NOW).ok()?;
        let next = history.txns().iter().position(|txn| txn.end_lsn > from);
        let next = next.unwrap_or_else(|| history.txns().len());
        let mut row = 1;
        if let (Some(inside), Some(txn)) = (claim.position.inside, history.txns().get(next)) {
            match resume_at(inside, txn.final_lsn, txn.xid).ok()? {
                Resume::Skip(rows) => row = rows + 1,
                Resume::MustBeEmpty => return None,
            }
        }
        Some(Self { progress, history, at: (next, row), produced: false, sealed: false })
    }

    /// The next row, and the place it reaches.
    pub(crate) fn peek(&self) -> Option<((u32, u64), Reached)> {
        let txn = self.history.txns().get(self.at.0)?;
        let row = self.at.1;
        let reached = if row == txn.rows {
            Reached::End(txn.end_lsn)
        } else {
            Reached::Inside(InTransaction { final_lsn: txn.final_lsn, xid: txn.xid, sequence: row })
        };
        Some(((txn.xid, row), reached))
    }

    pub(crate) fn advance(&mut self, reached: Reached) {
        self.at = match reached {
            Reached::End(_) => (self.at.0 + 1, 1),
            Reached::Inside(_) => (self.at.0, self.at.1 + 1),
        };
        self.produced = true;
    }

    /// The same session again from its durable position, with the same producer.
    pub(crate) fn rewound(&self, epoch: u64) -> Option<Self> {
        let position = self.progress.durable().position().clone();
        let entry = PositionEntry {
            serial: self.progress.serial(),
            epoch: Epoch(epoch),
            claim: false,
            topics: Vec::new(),
            position,
        };
        Self::from(&entry, entry.position.lsn, entry.position.timeline, self.history)
    }
}
