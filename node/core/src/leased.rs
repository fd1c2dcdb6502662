//! The order of a start that nobody fences: at_least_once, where the coordinators' log holds the position.
//!
//! ```text
//! ConfirmOwnership ► VerifyTopics ─┬────────────────────────────────────────────► TakeSource ► VerifySource ► Stream
//!                 │  no checkpoint: └ PrepareSource ► FindStart ─┬► CommitClaim ─┘
//!                 └ topics or partitions appeared ───────────────┘
//! ```
//!
//! No producer is fenced: that two owners do not write at the same time rests on leases alone
//! (docs/delivery.md). The steps and facts are those of [`crate::takeover`], so that one shell does both; a
//! checkpoint takes the place of the claim. The first one, and one with places of what appeared, is kept
//! before anything is written or deleted: the next owner goes on from it, and one that wakes up late cannot
//! have it kept under its old epoch.

use tidewire_shared::{Epoch, Fault, FaultKind, ShardId};

use crate::reconnect::Verdict;
use crate::takeover::{
    Fact, Ownership, PinPolicy, PositionEntry, SourcePosition, Start, Step, Stop, TopicPin,
    inherit_pins, judge_pins,
};
use crate::transaction::EndVerdict;

/// One start of a shard, from ConfirmOwnership to Stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeasedStart<P> {
    shard: ShardId,
    epoch: Epoch,
    policy: PinPolicy,
    state: State<P>,
}

/// What the shell was told to do and has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State<P> {
    Confirming(Option<PositionEntry<P>>),
    VerifyingTopics(Option<PositionEntry<P>>),
    PreparingSource(Vec<TopicPin>),
    FindingStart(Vec<TopicPin>),
    Keeping(PositionEntry<P>),
    TakingSource(PositionEntry<P>),
    VerifyingSource(PositionEntry<P>),
    Streaming,
    Stopped,
}

impl<P: SourcePosition> LeasedStart<P> {
    /// A start of `shard` under `epoch` from the newest position that is known, and its first step.
    /// Without one it is the first start.
    #[must_use]
    pub fn begin(
        shard: ShardId,
        epoch: Epoch,
        checkpoint: Option<PositionEntry<P>>,
        policy: PinPolicy,
    ) -> (Self, Step<P>) {
        (
            Self { shard, epoch, policy, state: State::Confirming(checkpoint) },
            Step::ConfirmOwnership,
        )
    }

    /// What to do after `fact` was seen.
    #[must_use = "the step must be done"]
    pub fn step(&mut self, fact: Fact<P>) -> Step<P> {
        let (state, step) = match (std::mem::replace(&mut self.state, State::Stopped), fact) {
            (State::Stopped, _) => return self.stop("was already stopped"),
            (_, Fact::Failed(fault)) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
            (State::Confirming(known), Fact::Ownership(answer)) => confirm(known, answer),
            (State::VerifyingTopics(known), Fact::TopicsSeen(seen)) => {
                let pins = known.as_ref().map_or(&[][..], |entry| &entry.topics);
                match (judge_pins(pins, &seen, self.policy), known) {
                    (Err(fault), _) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
                    (Ok(topics), None) => (State::PreparingSource(topics), Step::PrepareSource),
                    (Ok(topics), Some(known)) => self.take(known.serial, known.position, topics),
                }
            }
            (State::VerifyingTopics(Some(known)), Fact::TopicsAppeared(seen, position)) => {
                match judge_pins(&known.topics, &seen, self.policy) {
                    Ok(topics) => self.keep(known.serial.saturating_add(1), position, topics),
                    Err(fault) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
                }
            }
            (State::PreparingSource(topics), Fact::SourcePrepared) => {
                (State::FindingStart(topics), Step::FindStart)
            }
            (State::FindingStart(topics), Fact::StartFound(position)) => {
                self.keep(1, position, topics)
            }
            (State::FindingStart(topics), Fact::StartInherited(position, pins)) => {
                match inherit_pins(topics, &pins, self.policy) {
                    Ok(topics) => self.keep(1, position, topics),
                    Err(fault) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
                }
            }
            (State::Keeping(entry), Fact::ClaimEnded(EndVerdict::Clean)) => {
                (State::TakingSource(entry), Step::TakeSource)
            }
            (State::TakingSource(entry), Fact::SourceTaken) => {
                let step = Step::VerifySource(entry.position.clone());
                (State::VerifyingSource(entry), step)
            }
            (State::VerifyingSource(claim), Fact::SourceJudged(verdict)) => match verdict {
                Verdict::Stream(opening) => {
                    (State::Streaming, Step::Stream(Start { claim, opening }))
                }
                Verdict::Stop(fault) => (State::Stopped, Step::Stop(Stop::Fault(fault))),
            },
            _ => return self.stop("got an answer to a step that it was not at"),
        };
        self.state = state;
        step
    }

    fn keep(&self, serial: u64, position: P, topics: Vec<TopicPin>) -> (State<P>, Step<P>) {
        let entry = PositionEntry { serial, epoch: self.epoch, claim: false, position, topics };
        (State::Keeping(entry.clone()), Step::CommitClaim(entry))
    }

    fn take(&self, serial: u64, position: P, topics: Vec<TopicPin>) -> (State<P>, Step<P>) {
        let entry = PositionEntry { serial, epoch: self.epoch, claim: false, position, topics };
        (State::TakingSource(entry), Step::TakeSource)
    }

    fn stop(&self, what: &str) -> Step<P> {
        let object = format!("shard {}", self.shard);
        let fault = Fault::new(FaultKind::Internal, object, format!("its start {what}"));
        Step::Stop(Stop::Fault(fault))
    }
}

fn confirm<P: SourcePosition>(
    known: Option<PositionEntry<P>>,
    answer: Ownership,
) -> (State<P>, Step<P>) {
    match answer {
        Ownership::Current => {
            let position = known.as_ref().map(|entry| entry.position.clone());
            (State::VerifyingTopics(known), Step::VerifyTopics(position))
        }
        Ownership::Superseded(epoch) => (State::Stopped, Step::Stop(Stop::NotOwner(epoch))),
        Ownership::Unreachable => (State::Confirming(known), Step::ConfirmOwnership),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidewire_shared::spec::TopicChange;
    use tidewire_shared::{Lsn, PgPosition};

    use super::*;
    use crate::reconnect::Opening;

    const STOP: PinPolicy = PinPolicy::Spread(TopicChange::Stop);

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
            publications: Arc::default(),
        }
    }

    fn entry(serial: u64) -> PositionEntry<PgPosition> {
        let position = position(100);
        PositionEntry { serial, epoch: Epoch(1), claim: false, position, topics: Vec::new() }
    }

    fn walk(
        start: &mut LeasedStart<PgPosition>,
        facts: Vec<Fact<PgPosition>>,
    ) -> Vec<Step<PgPosition>> {
        facts.into_iter().map(|fact| start.step(fact)).collect()
    }

    fn judged() -> Fact<PgPosition> {
        Fact::SourceJudged(Verdict::Stream(Opening { from: Lsn(100), timeline: 1 }))
    }

    #[test]
    fn a_known_position_is_gone_on_from_without_touching_the_publication() {
        let (mut start, first) = LeasedStart::begin(shard(), Epoch(2), Some(entry(9)), STOP);
        assert_eq!(first, Step::ConfirmOwnership);
        let current = Fact::Ownership(Ownership::Current);
        let facts = vec![current, Fact::TopicsSeen(Vec::new()), Fact::SourceTaken, judged()];
        let steps = walk(&mut start, facts);
        let claim = PositionEntry { epoch: Epoch(2), ..entry(9) };
        assert_eq!(
            steps,
            [
                Step::VerifyTopics(Some(position(100))),
                Step::TakeSource,
                Step::VerifySource(position(100)),
                Step::Stream(Start { claim, opening: Opening { from: Lsn(100), timeline: 1 } }),
            ]
        );
    }

    #[test]
    fn a_first_start_makes_publication_and_slot_and_is_kept_before_it_goes_on() {
        let (mut start, _) = LeasedStart::begin(shard(), Epoch(1), None, STOP);
        let facts = vec![
            Fact::Ownership(Ownership::Unreachable),
            Fact::Ownership(Ownership::Current),
            Fact::TopicsSeen(Vec::new()),
            Fact::SourcePrepared,
            Fact::StartFound(position(100)),
        ];
        let steps = walk(&mut start, facts);
        let wanted = [
            Step::ConfirmOwnership,
            Step::VerifyTopics(None),
            Step::PrepareSource,
            Step::FindStart,
            Step::CommitClaim(PositionEntry { epoch: Epoch(1), ..entry(1) }),
        ];
        assert_eq!(steps, wanted);
        assert_eq!(start.step(Fact::ClaimEnded(EndVerdict::Clean)), Step::TakeSource);
    }

    #[test]
    fn places_of_what_appeared_are_kept_before_anything_is_written_there() {
        let (mut start, _) = LeasedStart::begin(shard(), Epoch(2), Some(entry(9)), STOP);
        let _topics = start.step(Fact::Ownership(Ownership::Current));
        let step = start.step(Fact::TopicsAppeared(Vec::new(), position(120)));
        let kept = PositionEntry { epoch: Epoch(2), position: position(120), ..entry(10) };
        assert_eq!(step, Step::CommitClaim(kept));
        assert_eq!(start.step(Fact::ClaimEnded(EndVerdict::Clean)), Step::TakeSource);
        assert_eq!(start.step(Fact::SourceTaken), Step::VerifySource(position(120)));
    }

    #[test]
    fn nothing_is_touched_before_the_coordinators_have_confirmed() {
        let (mut start, _) = LeasedStart::begin(shard(), Epoch(1), Some(entry(3)), STOP);
        let step = start.step(Fact::Ownership(Ownership::Superseded(Epoch(4))));
        assert_eq!(step, Step::Stop(Stop::NotOwner(Epoch(4))));
        assert!(matches!(start.step(Fact::SourceTaken), Step::Stop(Stop::Fault(_))));
    }
}
