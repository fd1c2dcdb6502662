use std::sync::Arc;

use tidewire_shared::InTransaction;
use tidewire_shared::spec::{Operations, StartAt, TableName};

use super::*;
use crate::facts::PublishedTable;

struct Seen {
    position: PgPosition,
    server: ServerFacts,
    history: Vec<TimelineEnd>,
    slot: Option<SlotFacts>,
    publication: Option<PublicationFacts>,
    fingerprint: u64,
    oid: Option<u32>,
}

const SLOT: ExpectedSlot<'static> =
    ExpectedSlot { name: "tidewire_k", database: "shop", managed: true };

fn table() -> TableName {
    TableName { schema: "public".into(), table: "orders".into() }
}

/// A source on which streaming may go on from 0/100.
fn healthy() -> Seen {
    Seen {
        position: PgPosition {
            system_id: 7,
            timeline: 1,
            lsn: Lsn(0x100),
            inside: None,
            incarnation: 0,
            fingerprint: 5 << 40 | 6,
            next_ordinal: 1,
            publications: Arc::default(),
        },
        server: ServerFacts {
            system_id: 7,
            timeline: 1,
            flush_lsn: Lsn(0x200),
            version_num: 150_018,
            in_recovery: false,
            wal_level: "logical".into(),
        },
        history: Vec::new(),
        slot: Some(SlotFacts {
            name: "tidewire_k".into(),
            plugin: "pgoutput".into(),
            database: "shop".into(),
            temporary: false,
            two_phase: false,
            restart_lsn: Some(Lsn(0x80)),
            confirmed_flush: Some(Lsn(0x100)),
            wal_status: "reserved".into(),
            invalidation: None,
            active_pid: None,
            active_application: None,
            failover: false,
            synced: false,
        }),
        publication: Some(PublicationFacts {
            oid: 16_400,
            name: "tidewire_k".into(),
            all_tables: false,
            insert: true,
            update: true,
            delete: true,
            truncate: true,
            via_root: false,
            tables: vec![PublishedTable {
                name: table(),
                oid: 2,
                row_filter: None,
                columns: None,
                generated: Vec::new(),
            }],
        }),
        fingerprint: 5 << 40 | 6,
        oid: Some(16_400),
    }
}

impl Seen {
    fn verdict(&self) -> Verdict<Opening> {
        let planned =
            PublishTable { name: table(), oid: 2, named: true, columns: None, row_filter: None };
        let plan = PublicationPlan { tables: vec![planned], publish: Operations::default() };
        Reconnect {
            position: &self.position,
            server: &self.server,
            history: &self.history,
            expected_slot: SLOT,
            slot: self.slot.as_ref(),
            publications: &[ExpectedPublication {
                name: "tidewire_k",
                oid: self.oid,
                managed: true,
                plan: &plan,
                seen: self.publication.as_ref(),
            }],
            fingerprint: Fingerprint::from(self.fingerprint),
        }
        .judge()
    }

    /// The fault after a change of a healthy source.
    fn fault(change: impl FnOnce(&mut Self)) -> Fault {
        let mut seen = healthy();
        change(&mut seen);
        match seen.verdict() {
            Verdict::Stop(fault) => {
                assert!(!fault.remedy.is_empty(), "{fault} has no remedy");
                fault
            }
            stream @ Verdict::Stream(_) => panic!("went on: {stream:?}"),
        }
    }

    fn slot_fault(change: impl FnOnce(&mut SlotFacts)) -> Fault {
        Self::fault(|seen| change(seen.slot.as_mut().expect("slot")))
    }

    fn publication_fault(change: impl FnOnce(&mut PublicationFacts)) -> Fault {
        Self::fault(|seen| change(seen.publication.as_mut().expect("publication")))
    }

    /// The server switched from timeline 1 to 2 at `switch`.
    fn switched(mut self, switch: u64) -> Self {
        self.server.timeline = 2;
        self.history = vec![TimelineEnd { timeline: 1, switch_lsn: Lsn(switch) }];
        self
    }
}

#[test]
fn the_same_history_goes_on_from_the_position() {
    assert_eq!(healthy().verdict(), Verdict::Stream(Opening { from: Lsn(0x100), timeline: 1 }));
}

#[test]
fn a_slot_that_went_back_is_no_harm() {
    let mut seen = healthy();
    seen.slot.as_mut().expect("slot").confirmed_flush = Some(Lsn(0x40));
    assert_eq!(seen.verdict(), Verdict::Stream(Opening { from: Lsn(0x100), timeline: 1 }));
}

#[test]
fn another_cluster_is_refused() {
    let fault = Seen::fault(|seen| seen.server.system_id = 8);
    assert_eq!(fault.kind, FaultKind::SourceHistory);
}

#[test]
fn a_standby_may_be_tried_again_later() {
    let fault = Seen::fault(|seen| seen.server.in_recovery = true);
    assert_eq!(fault.kind, FaultKind::SourceBusy);
}

#[test]
fn a_promoted_server_goes_on_if_it_has_all_that_was_delivered() {
    for switch in [0x100, 0x180] {
        let verdict = healthy().switched(switch).verdict();
        assert_eq!(verdict, Verdict::Stream(Opening { from: Lsn(0x100), timeline: 2 }));
    }
}

#[test]
fn what_was_delivered_after_the_switch_is_named() {
    let stopped = |seen: Seen| match seen.verdict() {
        Verdict::Stop(fault) => fault,
        stream @ Verdict::Stream(_) => panic!("went on: {stream:?}"),
    };
    let fault = stopped(healthy().switched(0xFF));
    assert_eq!(fault.kind, FaultKind::SourceHistory);
    assert!(fault.message.contains("[0/FF, 0/100), if anything was,"), "{fault}");
    assert!(fault.remedy.contains("commit LSN is 0/FF or higher"), "{}", fault.remedy);
    assert!(fault.remedy.contains("rewind NAME --to 0/FF --yes"), "{}", fault.remedy);
    // What was committed between the position and the switch was not delivered yet.
    let mut seen = healthy().switched(0x110);
    seen.position.inside = Some(InTransaction { final_lsn: Lsn(0x120), xid: 3, sequence: 9 });
    let remedy = stopped(seen).remedy;
    assert!(remedy.contains("rewind NAME --to 0/100 --yes"), "{remedy}");
}

#[test]
fn every_stop_names_the_command_that_goes_on() {
    let named = |to: &str, fault: Fault| {
        let command = format!(
            "`tidewire task rewind NAME --to {to} --yes`, then `tidewire task resume NAME`, or"
        );
        assert!(fault.remedy.contains(&command), "{command} is not in {}", fault.remedy);
    };
    named("slot", Seen::slot_fault(|slot| slot.confirmed_flush = Some(Lsn(0x101))));
    named("slot", Seen::fault(|seen| seen.server.flush_lsn = Lsn(0xFF)));
    named("now", Seen::fault(|seen| seen.slot = None));
    named("now", Seen::slot_fault(|slot| slot.wal_status = "lost".into()));
    named("now", Seen::slot_fault(|slot| slot.plugin = "test_decoding".into()));
    named("now", Seen::fault(|seen| seen.server.system_id = 8));
    named("now", Seen::fault(|seen| seen.publication = None));
    named("now", Seen::publication_fault(|publication| publication.oid = 1));
    named("now", Seen::fault(|seen| (seen.oid, seen.fingerprint) = (None, 9 << 40)));
    named("0/100", Seen::publication_fault(|publication| publication.tables.clear()));
}

#[test]
fn a_slot_that_the_task_does_not_make_is_made_by_hand_first() {
    let theirs = ExpectedSlot { managed: false, ..SLOT };
    let fault = stands_at(theirs, None, Some(Lsn(0x100))).expect_err("there is none");
    let statement = "SELECT pg_create_logical_replication_slot('tidewire_k', 'pgoutput');";
    assert!(fault.remedy.contains(statement), "{}", fault.remedy);
    assert!(fault.remedy.contains("--to slot --yes"), "{}", fault.remedy);
    let lost = SlotFacts { wal_status: "lost".into(), ..healthy().slot.expect("a slot") };
    let fault = stands_at(theirs, Some(&lost), None).expect_err("is lost");
    assert!(fault.remedy.starts_with("SELECT pg_drop_replication_slot("), "{}", fault.remedy);
    assert!(is_lost(Some(&lost)) && is_lost(None) && !is_lost(healthy().slot.as_ref()));
}

#[test]
fn of_servers_that_accept_writes_the_newest_that_descends_is_the_primary() {
    let position = healthy().position;
    let server = |timeline, switches: &[(u32, u64)]| {
        let end =
            |(timeline, at): &(u32, u64)| TimelineEnd { timeline: *timeline, switch_lsn: Lsn(*at) };
        let facts = ServerFacts { timeline, ..healthy().server };
        (facts, switches.iter().map(end).collect::<Vec<_>>())
    };
    let old = server(1, &[]);
    let promoted = server(2, &[(1, 0x180)]);
    let parted = server(2, &[(1, 0x80)]);
    let stranger = (ServerFacts { system_id: 8, timeline: 9, ..healthy().server }, Vec::new());
    let cases = [
        (vec![old.clone(), promoted.clone()], 1, "a promotion, though the old one is up again"),
        (vec![promoted.clone(), old.clone()], 0, "wherever it stands in the list"),
        (vec![old.clone(), parted], 1, "then the task stops, as changes were lost"),
        (vec![stranger, old.clone()], 1, "what does not descend is passed over"),
        (vec![old.clone(), old.clone()], 0, "of servers alike the first"),
    ];
    for (servers, expected, why) in cases {
        assert_eq!(primary_of(Some(&position), &servers), Some(expected), "{why}");
    }
    let on_third = PgPosition { timeline: 3, ..position };
    let descends = server(3, &[(1, 0x80), (2, 0x90)]);
    let servers = [promoted.clone(), descends, server(4, &[(1, 0x70)])];
    assert_eq!(primary_of(Some(&on_third), &servers), Some(1), "a fork is no descendant");
    assert_eq!(primary_of(None, &[old, promoted]), Some(1), "without a position the newest");
    assert_eq!(primary_of(None, &[]), None);
}

#[test]
fn a_partly_delivered_transaction_must_have_survived_the_switch() {
    for (switch, goes_on) in [(0x110, false), (0x111, true)] {
        let mut seen = healthy().switched(switch);
        seen.position.inside = Some(InTransaction { final_lsn: Lsn(0x110), xid: 3, sequence: 9 });
        assert_eq!(matches!(seen.verdict(), Verdict::Stream(_)), goes_on);
    }
}

#[test]
fn the_first_switch_after_our_timeline_counts() {
    let mut seen = healthy().switched(0x90);
    seen.server.timeline = 3;
    seen.history.push(TimelineEnd { timeline: 2, switch_lsn: Lsn(0x150) });
    assert!(matches!(seen.verdict(), Verdict::Stop(_)));
}

#[test]
fn a_timeline_that_is_no_descendant_is_refused() {
    for (ours, theirs) in [(3, 2), (2, 3)] {
        let fault = Seen::fault(|seen| {
            seen.position.timeline = ours;
            seen.server.timeline = theirs;
            seen.history = vec![TimelineEnd { timeline: 1, switch_lsn: Lsn(0x500) }];
        });
        assert_eq!(fault.kind, FaultKind::SourceHistory);
    }
}

#[test]
fn a_server_that_ends_before_our_position_lost_its_log() {
    let fault = Seen::fault(|seen| seen.server.flush_lsn = Lsn(0xFF));
    assert_eq!(fault.kind, FaultKind::SourceHistory);
    assert!(fault.message.contains("0/100"), "{fault}");
}

#[test]
fn a_slot_that_ran_ahead_names_the_gap() {
    let fault = Seen::slot_fault(|slot| slot.confirmed_flush = Some(Lsn(0x101)));
    assert_eq!(fault.kind, FaultKind::SourceHistory);
    assert!(fault.message.contains("[0/100, 0/101)"), "{fault}");
}

#[test]
fn a_slot_that_cannot_be_streamed_from_is_refused() {
    let faults = [
        Seen::fault(|seen| seen.slot = None),
        Seen::slot_fault(|slot| slot.plugin = "test_decoding".into()),
        Seen::slot_fault(|slot| slot.plugin = String::new()),
        Seen::slot_fault(|slot| slot.database = "other".into()),
        Seen::slot_fault(|slot| slot.temporary = true),
        Seen::slot_fault(|slot| slot.two_phase = true),
        Seen::slot_fault(|slot| slot.wal_status = "lost".into()),
        Seen::slot_fault(|slot| slot.invalidation = Some("idle_timeout".into())),
        Seen::slot_fault(|slot| slot.confirmed_flush = None),
    ];
    for fault in faults {
        assert_eq!(fault.kind, FaultKind::SourceState, "{fault}");
        assert_eq!(fault.object, "slot tidewire_k");
    }
}

#[test]
fn a_publication_that_changed_is_refused() {
    let faults = [
        Seen::fault(|seen| seen.publication = None),
        Seen::publication_fault(|publication| publication.oid = 1),
        Seen::publication_fault(|publication| publication.delete = false),
        Seen::publication_fault(|publication| publication.tables.clear()),
        Seen::publication_fault(|publication| {
            publication.tables[0].row_filter = Some("id > 1".into());
        }),
        Seen::publication_fault(|publication| publication.tables[0].columns = Some(Vec::new())),
        Seen::fault(|seen| {
            seen.oid = None;
            seen.fingerprint = 9 << 40 | 6;
        }),
    ];
    for fault in faults {
        assert_eq!(fault.kind, FaultKind::SourceState, "{fault}");
        assert_eq!(fault.object, "publication tidewire_k");
    }
}

#[test]
fn decoding_may_change_between_transactions_but_not_inside_one() {
    let mut seen = healthy();
    seen.fingerprint = 5 << 40 | 7;
    assert!(matches!(seen.verdict(), Verdict::Stream(_)));
    seen.position.inside = Some(InTransaction { final_lsn: Lsn(0x110), xid: 3, sequence: 9 });
    assert!(
        matches!(seen.verdict(), Verdict::Stop(fault) if fault.kind == FaultKind::SourceHistory)
    );
}

#[test]
fn a_first_start_begins_where_its_slot_stands_or_where_it_is_told() {
    let seen = healthy();
    let begin = |start: StartAt| {
        let first = FirstSlot {
            server: &seen.server,
            expected: SLOT,
            origin: SlotOrigin::Found(seen.slot.clone().expect("a slot")),
            start,
            fingerprint: Fingerprint::from(5),
            publications: Arc::default(),
        };
        first_position(&first).map(|position| position.lsn)
    };
    assert_eq!(begin(StartAt::Now), Ok(Lsn(0x100)));
    for start in [Lsn(0x100), Lsn(0x180), Lsn(0x200)] {
        assert_eq!(begin(StartAt::Lsn(start)), Ok(start));
    }
    for outside in [Lsn(0xFF), Lsn(0x201)] {
        let fault = begin(StartAt::Lsn(outside)).expect_err("not there");
        assert_eq!(fault.kind, FaultKind::SourceState);
        assert!(fault.message.contains("from 0/100 to 0/200"), "{fault}");
        assert!(fault.remedy.contains("start: now"), "{fault}");
    }
}

#[test]
fn a_table_that_a_foreign_publication_does_not_hold_may_have_another_name_by_now() {
    let planned =
        PublishTable { name: table(), oid: 0, named: true, columns: None, row_filter: None };
    let plan = PublicationPlan { tables: vec![planned], publish: Operations::default() };
    let mut seen = healthy().publication.expect("publication");
    seen.tables[0].name.table = "renamed".into();
    let of = |managed| {
        let expected =
            ExpectedPublication { name: "p", oid: None, managed, plan: &plan, seen: Some(&seen) };
        expected.judge(None).expect_err("not there")
    };
    assert!(of(false).remedy.contains("rename it back"), "{}", of(false).remedy);
    assert!(!of(false).message.contains("are lost"), "nobody knows that: {}", of(false).message);
    assert!(of(true).message.contains("are lost"));
}
