//! The order of a start: what a new owner of a shard does, step by step, before its first record.
//!
//! ```text
//! InitProducer ► ReadPositions ► ConfirmOwnership ► VerifyTopics ─┬──────────────► CommitClaim ► TakeSource
//!      ▲              │ higher epoch: Stop     first start only:  └ PrepareSource ► FindStart ┘  │
//!      └ ConfirmOwnership ◄── claim or any later transaction not ended cleanly ◄── Stream ◄ VerifySource
//! ```
//!
//! Why it is safe: a predecessor that is past its confirmation is fenced by our InitProducerId; one
//! that initialises late fences us, but then reads our claim with its higher epoch and stops, while we
//! start over. The claim makes our epoch readable for it before our first output (docs/delivery.md).

mod entry;
mod holder;
mod missing;
mod pins;

pub use entry::{PositionEntry, PositionHint, SourcePosition};
pub use holder::{Holder, Owner};
pub use missing::{WITHOUT_POSITIONS, missing_record};
pub use pins::{PinPolicy, TopicDifference, TopicPin, accepted_changes, inherit_pins, judge_pins};

use tidewire_shared::{Epoch, Fault, FaultKind, ShardId};

use crate::facts::TopicFacts;
use crate::reconnect::Verdict;
use crate::transaction::EndVerdict;

/// What the coordinators know of earlier starts of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remembered {
    /// Nothing: it may be the first start.
    Nothing,
    /// It has streamed before, so a record must be there.
    Started,
    /// A record with this serial, or a later one, must be there.
    Position(PositionHint),
}

/// What the shell does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<P: SourcePosition> {
    /// Drop the producer if there is one, make another with the shard's `transactional.id` and
    /// initialise its transactions: this fences every predecessor and ends what it left open.
    InitProducer,
    /// Ask for the read_uncommitted end of the shard's partition of the positions topic, then read
    /// read_committed until the position has reached it. The last stable offset is not enough: someone's
    /// open transaction may hold it below our own newest record. Reading may begin at the hint's offset
    /// if the topic has the hint's id, else it begins at the start.
    ReadPositions {
        /// Where to begin.
        hint: Option<PositionHint>,
    },
    /// Ask the coordinators, linearizably, whether our epoch is current.
    ConfirmOwnership,
    /// Look at every target topic of the task, which stands at this position, unless it is its first start.
    /// Kafka: make copies that are missing, and find places for what appeared ([`crate::copy::Appeared`]).
    VerifyTopics(Option<P>),
    /// First start only: make at the source what the task needs there. PostgreSQL: the publication,
    /// unless one is given.
    PrepareSource,
    /// First start only: find the position to begin at. PostgreSQL: make the slot, or find the one of
    /// our name, and judge where it stands ([`crate::reconnect::first_position`]). Kafka: fence the
    /// shards that this one replaces and ask how far they came ([`crate::copy::Heritage`]); ask for the
    /// offsets that the task's start means where none of them began.
    FindStart,
    /// Commit this record alone in a transaction and judge its end; where nothing fences
    /// ([`crate::leased`]), wait until the coordinators keep it.
    CommitClaim(PositionEntry<P>),
    /// Be alone at the source. PostgreSQL: end the session of an older owner ([`Owner::judge`]) until
    /// nobody holds the slot. Kafka: nothing to do.
    TakeSource,
    /// Judge the source against this position ([`crate::reconnect`]).
    VerifySource(P),
    /// Start replication and produce.
    Stream(Start<P>),
    /// Give the shard up; touch nothing.
    Stop(Stop),
}

/// From where to stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start<P: SourcePosition> {
    /// The claim that this owner has committed; the next record has the serial after it.
    pub claim: PositionEntry<P>,
    /// With what to open the source.
    pub opening: P::Opening,
}

/// Why a start ends without streaming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The target shows a higher epoch: we are the zombie. The coordinators must be told
    /// (`seen_epoch`): if they know of no such epoch, they were restored and assign one above it.
    HigherEpoch(Epoch),
    /// The coordinators have assigned the shard again, under this epoch.
    NotOwner(Epoch),
    /// Something is in the way; its kind says whether trying again can help.
    Fault(Fault),
}

impl Stop {
    /// The stop as a fault of `shard`.
    #[must_use]
    pub fn into_fault(self, shard: &ShardId) -> Fault {
        match self {
            Self::HigherEpoch(epoch) => Fault::new(
                FaultKind::Fenced,
                format!("shard {shard}"),
                format!("the positions topic shows a later owner, {epoch}"),
            ),
            Self::NotOwner(epoch) => Fault::new(
                FaultKind::Fenced,
                format!("shard {shard}"),
                format!("the coordinators have assigned it again, as {epoch}"),
            ),
            Self::Fault(fault) => fault,
        }
    }
}

/// What the shell has seen when it did a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<P: SourcePosition> {
    /// `init_transactions` returned success.
    ProducerInitialised,
    /// The newest committed record of the shard below the end that was asked for, if there is one.
    PositionsRead(Option<PositionEntry<P>>),
    /// What the coordinators said.
    Ownership(Ownership),
    /// The topics of the task; `None` is one that does not exist.
    TopicsSeen(Vec<(String, Option<TopicFacts>)>),
    /// As before, and the position with the places of what appeared at the source. Fits any start but the
    /// first one.
    TopicsAppeared(Vec<(String, Option<TopicFacts>)>, P),
    /// What the task needs at the source is there.
    SourcePrepared,
    /// This is where the first start begins.
    StartFound(P),
    /// This is where a shard begins that takes over from others, and the topics as they knew them: one
    /// may stand there several times.
    StartInherited(P, Vec<TopicPin>),
    /// How the claim's transaction ended.
    ClaimEnded(EndVerdict),
    /// Nobody else streams from the source for this shard.
    SourceTaken,
    /// The verdict on the source.
    SourceJudged(Verdict<P::Opening>),
    /// The producer cannot be used any more: fenced, failed, or a transaction did not end cleanly.
    /// Fits at any time.
    ProducerLost,
    /// The step could not be done. Fits at any time.
    Failed(Fault),
}

/// The coordinators' answer to "is this epoch current?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ownership {
    /// Yes, by a linearizable read.
    Current,
    /// No, this one is.
    Superseded(Epoch),
    /// No quorum answered: wait and ask again.
    Unreachable,
}

/// One start of a shard, from InitProducer to Stream; starts over by itself when the producer is lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Takeover<P> {
    shard: ShardId,
    epoch: Epoch,
    remembered: Remembered,
    policy: PinPolicy,
    state: State<P>,
}

/// What the shell was told to do and has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State<P> {
    /// Confirm before a producer is initialised again, so that a zombie fences nobody.
    Reentering,
    Initialising,
    Reading,
    Confirming(Option<PositionEntry<P>>),
    VerifyingTopics(Option<PositionEntry<P>>),
    PreparingSource(Vec<TopicPin>),
    FindingStart(Vec<TopicPin>),
    Claiming(PositionEntry<P>),
    TakingSource(PositionEntry<P>),
    VerifyingSource(PositionEntry<P>),
    Streaming,
    Stopped,
}

impl<P: SourcePosition> Takeover<P> {
    /// A start of `shard` under `epoch`, and its first step.
    #[must_use]
    pub fn begin(
        shard: ShardId,
        epoch: Epoch,
        remembered: Remembered,
        policy: PinPolicy,
    ) -> (Self, Step<P>) {
        (Self { shard, epoch, remembered, policy, state: State::Initialising }, Step::InitProducer)
    }

    /// Another start under the same epoch, after the one before failed or its stream broke. Somebody
    /// else may own the shard by now, so it confirms before it fences anybody.
    #[must_use]
    pub fn again(
        shard: ShardId,
        epoch: Epoch,
        remembered: Remembered,
        policy: PinPolicy,
    ) -> (Self, Step<P>) {
        (
            Self { shard, epoch, remembered, policy, state: State::Reentering },
            Step::ConfirmOwnership,
        )
    }

    /// Whether this owner has claimed the shard and may produce.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.state == State::Streaming
    }

    /// What to do after `fact` was seen.
    #[must_use = "the step must be done"]
    pub fn step(&mut self, fact: Fact<P>) -> Step<P> {
        let (state, step) = match (std::mem::replace(&mut self.state, State::Stopped), fact) {
            (State::Stopped, _) => return self.stop("was already stopped"),
            (_, Fact::Failed(fault)) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
            (_, Fact::ProducerLost) => (State::Reentering, Step::ConfirmOwnership),
            (State::Reentering, Fact::Ownership(answer)) => self.reenter(answer),
            (State::Initialising, Fact::ProducerInitialised) => {
                (State::Reading, Step::ReadPositions { hint: self.hint() })
            }
            (State::Reading, Fact::PositionsRead(newest)) => self.judge_newest(newest),
            (State::Confirming(newest), Fact::Ownership(answer)) => confirm(newest, answer),
            (State::VerifyingTopics(newest), Fact::TopicsSeen(seen)) => {
                self.judge_topics(newest, &seen)
            }
            (State::VerifyingTopics(Some(newest)), Fact::TopicsAppeared(seen, position)) => {
                self.judge_topics(Some(PositionEntry { position, ..newest }), &seen)
            }
            (State::PreparingSource(topics), Fact::SourcePrepared) => {
                (State::FindingStart(topics), Step::FindStart)
            }
            (State::FindingStart(topics), Fact::StartFound(position)) => {
                self.claim(0, position, topics)
            }
            (State::FindingStart(topics), Fact::StartInherited(position, pins)) => {
                match inherit_pins(topics, &pins, self.policy) {
                    Ok(topics) => self.claim(0, position, topics),
                    Err(fault) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
                }
            }
            (State::Claiming(entry), Fact::ClaimEnded(EndVerdict::Clean)) => {
                (State::TakingSource(entry), Step::TakeSource)
            }
            (State::Claiming(_), Fact::ClaimEnded(EndVerdict::DropProducer)) => {
                (State::Reentering, Step::ConfirmOwnership)
            }
            (State::TakingSource(entry), Fact::SourceTaken) => {
                let step = Step::VerifySource(entry.position.clone());
                (State::VerifyingSource(entry), step)
            }
            (State::VerifyingSource(entry), Fact::SourceJudged(verdict)) => stream(entry, verdict),
            _ => return self.stop("got an answer to a step that it was not at"),
        };
        self.state = state;
        step
    }

    fn hint(&self) -> Option<PositionHint> {
        match self.remembered {
            Remembered::Position(hint) => Some(hint),
            Remembered::Nothing | Remembered::Started => None,
        }
    }

    fn reenter(&self, answer: Ownership) -> (State<P>, Step<P>) {
        match answer {
            Ownership::Current => (State::Initialising, Step::InitProducer),
            Ownership::Superseded(epoch) => (State::Stopped, Step::Stop(Stop::NotOwner(epoch))),
            Ownership::Unreachable => (State::Reentering, Step::ConfirmOwnership),
        }
    }

    fn judge_newest(&self, newest: Option<PositionEntry<P>>) -> (State<P>, Step<P>) {
        if let Some(entry) = &newest
            && entry.epoch > self.epoch
        {
            return (State::Stopped, Step::Stop(Stop::HigherEpoch(entry.epoch)));
        }
        match missing_record(&self.shard, self.remembered, newest.as_ref()) {
            Some(fault) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
            None => (State::Confirming(newest), Step::ConfirmOwnership),
        }
    }

    fn judge_topics(
        &self,
        newest: Option<PositionEntry<P>>,
        seen: &[(String, Option<TopicFacts>)],
    ) -> (State<P>, Step<P>) {
        let pins = newest.as_ref().map_or(&[][..], |entry| &entry.topics);
        match (judge_pins(pins, seen, self.policy), newest) {
            (Err(fault), _) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
            (Ok(topics), None) => (State::PreparingSource(topics), Step::PrepareSource),
            (Ok(topics), Some(entry)) => self.claim(entry.serial, entry.position, topics),
        }
    }

    fn claim(&self, serial: u64, position: P, topics: Vec<TopicPin>) -> (State<P>, Step<P>) {
        let Some(serial) = serial.checked_add(1) else {
            let fault = Fault::new(
                FaultKind::TargetHistory,
                format!("positions of shard {}", self.shard),
                "the serial of the newest record is the largest there is",
            )
            .remedy("somebody else wrote to the positions topic: restore it");
            return (State::Stopped, Step::Stop(Stop::Fault(fault)));
        };
        let entry = PositionEntry { serial, epoch: self.epoch, claim: true, position, topics };
        (State::Claiming(entry.clone()), Step::CommitClaim(entry))
    }

    fn stop(&self, what: &str) -> Step<P> {
        let object = format!("shard {}", self.shard);
        let fault = Fault::new(FaultKind::Internal, object, format!("its start {what}"));
        Step::Stop(Stop::Fault(fault))
    }
}

fn confirm<P: SourcePosition>(
    newest: Option<PositionEntry<P>>,
    answer: Ownership,
) -> (State<P>, Step<P>) {
    match answer {
        Ownership::Current => {
            let position = newest.as_ref().map(|entry| entry.position.clone());
            (State::VerifyingTopics(newest), Step::VerifyTopics(position))
        }
        Ownership::Superseded(epoch) => (State::Stopped, Step::Stop(Stop::NotOwner(epoch))),
        Ownership::Unreachable => (State::Confirming(newest), Step::ConfirmOwnership),
    }
}

fn stream<P: SourcePosition>(
    claim: PositionEntry<P>,
    verdict: Verdict<P::Opening>,
) -> (State<P>, Step<P>) {
    match verdict {
        Verdict::Stream(opening) => (State::Streaming, Step::Stream(Start { claim, opening })),
        Verdict::Stop(fault) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
    }
}

#[cfg(test)]
mod tests;
