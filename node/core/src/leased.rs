//! The order of a start that nobody fences: at_least_once, where the coordinators' log holds the position.
//!
//! ```text
//! ConfirmOwnership ► VerifyTopics ─┬──────────────────────────────────► TakeSlot ► VerifySource ► Stream
//!                    no checkpoint: └ EnsurePublication ► EnsureSlot ─┘
//! ```
//!
//! No claim is written and no producer is fenced: that two owners do not write at the same time rests on
//! leases alone (docs/delivery.md). The steps and facts are those of [`crate::takeover`], so that one
//! shell does both; the checkpoint takes the place of the claim.

use tidewire_shared::{Epoch, Fault, FaultKind, PgPosition, ShardId};

use crate::reconnect::Verdict;
use crate::takeover::{Fact, Ownership, PositionEntry, Start, Step, Stop, TopicPin, judge_pins};

/// One start of a shard, from ConfirmOwnership to Stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeasedStart {
    shard: ShardId,
    epoch: Epoch,
    state: State,
}

/// What the shell was told to do and has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Confirming(Option<PositionEntry>),
    VerifyingTopics(Option<PositionEntry>),
    Publishing(Vec<TopicPin>),
    MakingSlot(Vec<TopicPin>),
    TakingSlot(PositionEntry),
    VerifyingSource(PositionEntry),
    Streaming,
    Stopped,
}

impl LeasedStart {
    /// A start of `shard` under `epoch` from the newest position that is known, and its first step.
    /// Without one it is the first start.
    #[must_use]
    pub fn begin(shard: ShardId, epoch: Epoch, checkpoint: Option<PositionEntry>) -> (Self, Step) {
        (Self { shard, epoch, state: State::Confirming(checkpoint) }, Step::ConfirmOwnership)
    }

    /// What to do after `fact` was seen.
    #[must_use = "the step must be done"]
    pub fn step(&mut self, fact: Fact) -> Step {
        let (state, step) = match (std::mem::replace(&mut self.state, State::Stopped), fact) {
            (State::Stopped, _) => return self.stop("was already stopped"),
            (_, Fact::Failed(fault)) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
            (State::Confirming(known), Fact::Ownership(answer)) => confirm(known, answer),
            (State::VerifyingTopics(known), Fact::TopicsSeen(seen)) => {
                let pins = known.as_ref().map_or(&[][..], |entry| &entry.topics);
                match (judge_pins(pins, &seen), known) {
                    (Err(fault), _) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
                    (Ok(topics), None) => (State::Publishing(topics), Step::EnsurePublication),
                    (Ok(topics), Some(known)) => self.take(known.serial, known.position, topics),
                }
            }
            (State::Publishing(topics), Fact::PublicationReady) => {
                (State::MakingSlot(topics), Step::EnsureSlot)
            }
            // The source is confirmed only up to what the log has: with nothing there, a slot of ours
            // still stands where it was made.
            (State::MakingSlot(topics), Fact::SlotReady(position)) => {
                self.take(0, position, topics)
            }
            (State::TakingSlot(entry), Fact::SlotFree) => {
                let step = Step::VerifySource(entry.position.clone());
                (State::VerifyingSource(entry), step)
            }
            (State::VerifyingSource(claim), Fact::SourceJudged(verdict)) => match verdict {
                Verdict::Stream { from, timeline } => {
                    (State::Streaming, Step::Stream(Start { claim, from, timeline }))
                }
                Verdict::Stop(fault) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
            },
            _ => return self.stop("got an answer to a step that it was not at"),
        };
        self.state = state;
        step
    }

    fn take(&self, serial: u64, position: PgPosition, topics: Vec<TopicPin>) -> (State, Step) {
        let entry = PositionEntry { serial, epoch: self.epoch, claim: false, position, topics };
        (State::TakingSlot(entry), Step::TakeSlot)
    }

    fn stop(&self, what: &str) -> Step {
        let object = format!("shard {}", self.shard);
        let fault = Fault::new(FaultKind::Internal, object, format!("its start {what}"));
        Step::Stop(Stop::Fault(fault))
    }
}

fn confirm(known: Option<PositionEntry>, answer: Ownership) -> (State, Step) {
    match answer {
        Ownership::Current => (State::VerifyingTopics(known), Step::VerifyTopics),
        Ownership::Superseded(epoch) => (State::Stopped, Step::Stop(Stop::NotOwner(epoch))),
        Ownership::Unreachable => (State::Confirming(known), Step::ConfirmOwnership),
    }
}

#[cfg(test)]
mod tests {
    use tidewire_shared::Lsn;

    use super::*;

    fn shard() -> ShardId {
        ShardId { task: "k3v9".parse().expect("a task's id"), index: 0 }
    }

    fn position(lsn: u64) -> PgPosition {
        PgPosition {
            system_id: 7,
            timeline: 1,
            lsn: Lsn(lsn),
            inside: None,
            incarnation: 0,
            fingerprint: 0,
            next_ordinal: 1,
        }
    }

    fn entry(serial: u64) -> PositionEntry {
        let position = position(100);
        PositionEntry { serial, epoch: Epoch(1), claim: false, position, topics: Vec::new() }
    }

    fn walk(start: &mut LeasedStart, facts: Vec<Fact>) -> Vec<Step> {
        facts.into_iter().map(|fact| start.step(fact)).collect()
    }

    fn judged() -> Fact {
        Fact::SourceJudged(Verdict::Stream { from: Lsn(100), timeline: 1 })
    }

    #[test]
    fn a_known_position_is_gone_on_from_without_touching_the_publication() {
        let (mut start, first) = LeasedStart::begin(shard(), Epoch(2), Some(entry(9)));
        assert_eq!(first, Step::ConfirmOwnership);
        let current = Fact::Ownership(Ownership::Current);
        let facts = vec![current, Fact::TopicsSeen(Vec::new()), Fact::SlotFree, judged()];
        let steps = walk(&mut start, facts);
        let claim = PositionEntry { epoch: Epoch(2), ..entry(9) };
        assert_eq!(
            steps,
            [
                Step::VerifyTopics,
                Step::TakeSlot,
                Step::VerifySource(position(100)),
                Step::Stream(Start { claim, from: Lsn(100), timeline: 1 }),
            ]
        );
    }

    #[test]
    fn a_first_start_makes_publication_and_slot() {
        let (mut start, _) = LeasedStart::begin(shard(), Epoch(1), None);
        let facts = vec![
            Fact::Ownership(Ownership::Unreachable),
            Fact::Ownership(Ownership::Current),
            Fact::TopicsSeen(Vec::new()),
            Fact::PublicationReady,
            Fact::SlotReady(position(100)),
        ];
        let steps = walk(&mut start, facts);
        let wanted = [
            Step::ConfirmOwnership,
            Step::VerifyTopics,
            Step::EnsurePublication,
            Step::EnsureSlot,
            Step::TakeSlot,
        ];
        assert_eq!(steps, wanted);
    }

    #[test]
    fn nothing_is_touched_before_the_coordinators_have_confirmed() {
        let (mut start, _) = LeasedStart::begin(shard(), Epoch(1), Some(entry(3)));
        let step = start.step(Fact::Ownership(Ownership::Superseded(Epoch(4))));
        assert_eq!(step, Step::Stop(Stop::NotOwner(Epoch(4))));
        assert!(matches!(start.step(Fact::SlotFree), Step::Stop(Stop::Fault(_))));
    }
}
