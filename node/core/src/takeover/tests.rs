use std::sync::Arc;

use tidewire_shared::spec::TopicChange;
use tidewire_shared::{Lsn, PgPosition};

use super::*;
use crate::reconnect::Opening;

const STOP: PinPolicy = PinPolicy::Spread(TopicChange::Stop);

fn shard() -> ShardId {
    ShardId { task: "k3v9".parse().expect("id"), index: 0 }
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

fn entry(serial: u64, epoch: u64) -> PositionEntry<PgPosition> {
    let position = position(100);
    PositionEntry { serial, epoch: Epoch(epoch), claim: false, position, topics: Vec::new() }
}

/// A start under epoch 5 whose positions were read.
fn read(
    remembered: Remembered,
    newest: Option<PositionEntry<PgPosition>>,
) -> (Takeover<PgPosition>, Step<PgPosition>) {
    let (mut takeover, first) = Takeover::begin(shard(), Epoch(5), remembered, STOP);
    assert_eq!(first, Step::InitProducer);
    let reading = takeover.step(Fact::ProducerInitialised);
    assert!(matches!(reading, Step::ReadPositions { .. }));
    let step = takeover.step(Fact::PositionsRead(newest));
    (takeover, step)
}

#[test]
fn a_first_start_claims_the_place_of_its_new_slot() {
    let (mut takeover, step) = read(Remembered::Nothing, None);
    assert_eq!(step, Step::ConfirmOwnership);
    assert_eq!(takeover.step(Fact::Ownership(Ownership::Current)), Step::VerifyTopics(None));
    assert_eq!(takeover.step(Fact::TopicsSeen(Vec::new())), Step::PrepareSource);
    assert_eq!(takeover.step(Fact::SourcePrepared), Step::FindStart);
    let claim = PositionEntry { claim: true, ..entry(1, 5) };
    assert_eq!(takeover.step(Fact::StartFound(position(100))), Step::CommitClaim(claim.clone()));
    assert_eq!(takeover.step(Fact::ClaimEnded(EndVerdict::Clean)), Step::TakeSource);
    assert_eq!(takeover.step(Fact::SourceTaken), Step::VerifySource(position(100)));
    let verdict = Verdict::Stream(Opening { from: Lsn(100), timeline: 1 });
    let start = Start { claim, opening: Opening { from: Lsn(100), timeline: 1 } };
    assert_eq!(takeover.step(Fact::SourceJudged(verdict)), Step::Stream(start));
    assert!(takeover.is_streaming());
}

#[test]
fn a_later_start_claims_the_newest_position_under_the_next_serial() {
    let (mut takeover, _) = read(Remembered::Started, Some(entry(8, 4)));
    let _topics = takeover.step(Fact::Ownership(Ownership::Current));
    let claim = PositionEntry { claim: true, ..entry(9, 5) };
    assert_eq!(takeover.step(Fact::TopicsSeen(Vec::new())), Step::CommitClaim(claim));
}

#[test]
fn places_of_what_appeared_are_claimed_with_the_others() {
    let (mut takeover, _) = read(Remembered::Started, Some(entry(8, 4)));
    let looks = takeover.step(Fact::Ownership(Ownership::Current));
    assert_eq!(looks, Step::VerifyTopics(Some(position(100))));
    let claim = PositionEntry { claim: true, position: position(120), ..entry(9, 5) };
    let step = takeover.step(Fact::TopicsAppeared(Vec::new(), position(120)));
    assert_eq!(step, Step::CommitClaim(claim));
}

#[test]
fn a_start_that_is_tried_again_fences_nobody_before_it_is_confirmed() {
    let again = || Takeover::<PgPosition>::again(shard(), Epoch(5), Remembered::Nothing, STOP);
    let (mut takeover, first) = again();
    assert_eq!(first, Step::ConfirmOwnership);
    let unreachable = Fact::Ownership(Ownership::Unreachable);
    assert_eq!(takeover.step(unreachable), Step::ConfirmOwnership);
    assert_eq!(takeover.step(Fact::Ownership(Ownership::Current)), Step::InitProducer);
    let (mut zombie, _) = again();
    let stop = zombie.step(Fact::Ownership(Ownership::Superseded(Epoch(6))));
    assert_eq!(stop, Step::Stop(Stop::NotOwner(Epoch(6))));
}

#[test]
fn a_higher_epoch_in_the_target_stops_the_zombie() {
    let (_, step) = read(Remembered::Nothing, Some(entry(8, 6)));
    assert_eq!(step, Step::Stop(Stop::HigherEpoch(Epoch(6))));
}

#[test]
fn a_record_that_the_coordinators_remember_must_be_there() {
    let hint = PositionHint { topic_id: (1, 2), partition: 3, offset: 40, serial: 8 };
    let at = Remembered::Position(hint);
    for (remembered, newest) in [(Remembered::Started, None), (at, None), (at, Some(entry(7, 4)))] {
        let (_, step) = read(remembered, newest);
        assert!(
            matches!(&step, Step::Stop(Stop::Fault(f)) if f.kind == FaultKind::TargetHistory && !f.remedy.is_empty()),
            "{step:?}"
        );
    }
    assert_eq!(read(at, Some(entry(8, 4))).1, Step::ConfirmOwnership);
}

#[test]
fn a_lost_producer_starts_over_but_asks_first() {
    let (mut takeover, _) = read(Remembered::Started, Some(entry(8, 4)));
    assert_eq!(takeover.step(Fact::ProducerLost), Step::ConfirmOwnership);
    let unreachable = Fact::Ownership(Ownership::Unreachable);
    assert_eq!(takeover.step(unreachable), Step::ConfirmOwnership);
    assert_eq!(takeover.step(Fact::Ownership(Ownership::Current)), Step::InitProducer);
}

#[test]
fn a_claim_that_did_not_end_cleanly_starts_over() {
    let (mut takeover, _) = read(Remembered::Started, Some(entry(8, 4)));
    let _topics = takeover.step(Fact::Ownership(Ownership::Current));
    let _claim = takeover.step(Fact::TopicsSeen(Vec::new()));
    let unclean = Fact::ClaimEnded(EndVerdict::DropProducer);
    assert_eq!(takeover.step(unclean), Step::ConfirmOwnership);
    let superseded = Fact::Ownership(Ownership::Superseded(Epoch(6)));
    assert_eq!(takeover.step(superseded), Step::Stop(Stop::NotOwner(Epoch(6))));
}

#[test]
fn an_answer_out_of_order_stops_the_start() {
    let (mut takeover, _) = read(Remembered::Nothing, None);
    let step = takeover.step(Fact::SourceTaken);
    assert!(matches!(step, Step::Stop(Stop::Fault(f)) if f.kind == FaultKind::Internal));
    let step = takeover.step(Fact::ProducerInitialised);
    assert!(matches!(step, Step::Stop(Stop::Fault(_))));
}
