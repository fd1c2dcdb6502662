use super::*;

const NOW: Duration = Duration::from_secs(100);

fn claim() -> PositionEntry<PgPosition> {
    PositionEntry {
        serial: 4,
        epoch: Epoch(2),
        claim: true,
        position: PgPosition {
            system_id: 7,
            timeline: 1,
            lsn: Lsn(100),
            inside: None,
            incarnation: 0,
            fingerprint: 0,
            next_ordinal: 11,
            publications: Arc::default(),
        },
        topics: Vec::new(),
    }
}

fn progress() -> Progress {
    Progress::resume(&claim(), 1, Lsn(90), NOW).expect("resumes")
}

fn inside(final_lsn: u64, sequence: u64) -> Reached {
    Reached::Inside(InTransaction { final_lsn: Lsn(final_lsn), xid: 3, sequence })
}

#[test]
fn only_a_commit_makes_durable_and_only_durable_is_confirmed() {
    let mut progress = progress();
    progress.accept(Reached::End(Lsn(120)), 2).expect("forward");
    assert_eq!(progress.confirmable(), Lsn(100));
    assert!(progress.confirm(Lsn(120)).is_err());
    let entry = progress.seal().expect("first").expect("something new");
    assert_eq!((entry.serial, entry.claim, entry.position.next_ordinal), (5, false, 13));
    assert_eq!(progress.confirmable(), Lsn(100));
    progress.committed(NOW).expect("sealed");
    assert_eq!(progress.confirm(Lsn(120)).expect("durable").lsn(), Lsn(120));
    assert_eq!(progress.confirm(Lsn(110)).expect("older").lsn(), Lsn(120));
}

#[test]
fn what_is_accepted_after_the_seal_belongs_to_the_next_transaction() {
    let mut progress = progress();
    progress.accept(Reached::End(Lsn(120)), 1).expect("forward");
    progress.seal().expect("first").expect("new");
    progress.accept(Reached::End(Lsn(130)), 1).expect("forward");
    assert!(progress.seal().is_err());
    progress.committed(NOW).expect("sealed");
    assert_eq!(progress.confirmable(), Lsn(120));
    let next = progress.seal().expect("ended").expect("new");
    assert_eq!((next.serial, next.position.lsn), (6, Lsn(130)));
}

#[test]
fn a_part_of_a_transaction_is_durable_but_not_confirmed() {
    let mut progress = progress();
    progress.accept(inside(150, 7), 7).expect("forward");
    let entry = progress.seal().expect("first").expect("new");
    assert_eq!(entry.position.inside.map(|at| at.sequence), Some(7));
    progress.committed(NOW).expect("sealed");
    assert_eq!(progress.confirmable(), Lsn(100));
    assert!(!progress.keepalive(Lsn(140), true, NOW));
    progress.accept(Reached::End(Lsn(160)), 0).expect("forward");
    assert!(progress.has_open());
}

#[test]
fn nothing_goes_backward() {
    for bad in [Reached::End(Lsn(100)), Reached::End(Lsn(99)), inside(99, 1)] {
        assert!(progress().accept(bad, 1).is_err(), "{bad:?}");
    }
    let mut progress = progress();
    progress.accept(inside(150, 7), 1).expect("forward");
    for bad in [inside(150, 7), inside(160, 8), Reached::End(Lsn(150))] {
        assert!(progress.accept(bad, 1).is_err(), "{bad:?}");
    }
}

#[test]
fn an_idle_position_is_persisted_when_old_far_or_asked_for() {
    let later = NOW + IDLE_PERIOD;
    for (lsn, asked, now, due) in [
        (110, false, NOW, false),
        (110, true, NOW, true),
        (110, false, later, true),
        (100 + IDLE_BYTES, false, NOW, true),
        (100, true, later, false),
        (90, true, later, false),
    ] {
        let mut progress = progress();
        assert_eq!(progress.keepalive(Lsn(lsn), asked, now), due, "{lsn} {asked} {now:?}");
        assert_eq!(progress.seal().expect("first").is_some(), due);
        assert_eq!(progress.confirmable(), Lsn(100));
    }
}

#[test]
fn a_keepalive_behind_rows_waits_for_their_commit() {
    let mut progress = progress();
    progress.accept(Reached::End(Lsn(120)), 1).expect("forward");
    assert!(!progress.keepalive(Lsn(130), true, NOW));
    progress.seal().expect("first").expect("new");
    assert!(!progress.keepalive(Lsn(130), true, NOW));
    progress.committed(NOW).expect("sealed");
    assert!(progress.keepalive(Lsn(130), true, NOW));
}

#[test]
fn a_slot_ahead_of_the_claim_is_refused() {
    assert!(Progress::resume(&claim(), 1, Lsn(101), NOW).is_err());
}

#[test]
fn changed_publications_are_durable_with_the_next_record_or_at_once() {
    let publications = Arc::new(vec![PublicationMark { oid: 3, ..PublicationMark::default() }]);
    let renewed = || progress().publishing(Arc::clone(&publications));
    let mut idle = renewed();
    assert!(idle.keepalive(Lsn(0), false, NOW), "due without anything else");
    let entry = idle.seal().expect("first").expect("new");
    assert_eq!((&entry.position.publications, entry.position.lsn), (&publications, Lsn(100)));
    idle.committed(NOW).expect("sealed");
    assert!(!idle.keepalive(Lsn(100), false, NOW + IDLE_PERIOD));

    let mut busy = renewed();
    busy.accept(Reached::End(Lsn(120)), 1).expect("forward");
    let entry = busy.seal().expect("first").expect("new");
    assert_eq!(entry.position.publications, publications);
    let mut same = progress().publishing(Arc::default());
    assert!(!same.keepalive(Lsn(100), false, NOW));
}
