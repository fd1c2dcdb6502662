use proptest::prelude::*;

use super::*;

fn row(name: &str, oid: u32, xmin: u32) -> CatalogRow {
    CatalogRow { name: name_hash(name), oid, xmin }
}

/// A publication of tables (object id, name, object id of the row, transaction).
fn look(xmin: u32, tables: &[(u32, &str, u32, u32)]) -> PublicationLook {
    let named = |name: &str| DecisiveTable { name: name.to_owned(), named: true };
    PublicationLook {
        mark: PublicationMark {
            oid: 3,
            xmin,
            tables: tables.iter().map(|(it, name, oid, by)| (*it, row(name, *oid, *by))).collect(),
            schemas: BTreeMap::new(),
        },
        tables: tables.iter().map(|(it, name, ..)| (*it, named(name))).collect(),
        schemas: [(2200, "public".to_owned())].into(),
        ours: BTreeSet::new(),
    }
}

fn gap(before: &PublicationLook, now: &PublicationLook) -> Option<String> {
    Comparison { publication: "p", before: &before.mark, now }.gap()
}

/// Two tables, as transactions 8 and 9 have put them in.
fn two() -> PublicationLook {
    look(7, &[(1, "a", 100, 8), (2, "b", 101, 9)])
}

#[test]
fn what_was_taken_back_is_seen() {
    let a_remade = look(7, &[(1, "a", 110, 12), (2, "b", 101, 9)]);
    let both = look(7, &[(1, "a", 110, 14), (2, "b", 111, 13)]);
    let altered = look(15, &[(1, "a", 100, 8), (2, "b", 111, 13)]);
    // A superuser may write into the catalog itself: the row is the same, its version is not.
    let written = look(7, &[(1, "a", 100, 16), (2, "b", 101, 9)]);
    let made_again = look(7, &[(5, "a", 110, 12), (2, "b", 101, 9)]);
    for (now, text) in [
        (a_remade, "table a was taken out and put back by transaction 12"),
        (both, "tables a, b were taken out and put back, last by transaction 14"),
        (
            altered,
            "was altered, if only for a moment, by transaction 15; \
             table b was taken out and put back by transaction 13",
        ),
        (written, "table a was taken out and put back by transaction 16"),
        (made_again, "table a was dropped and made again by transaction 12"),
    ] {
        assert_eq!(gap(&two(), &now).as_deref(), Some(text));
    }
}

#[test]
fn what_came_in_or_left_or_was_our_doing_is_fine() {
    let came = look(7, &[(1, "a", 100, 8), (2, "b", 101, 9), (3, "c", 102, 20)]);
    assert_eq!(gap(&two(), &came), None);
    // It left the task: nothing of it is looked at any more.
    assert_eq!(gap(&two(), &look(7, &[(1, "a", 100, 8), (3, "c", 102, 20)])), None);
    // It is missing now: those say so who look at what is published.
    let mut missing = two();
    missing.mark.tables.remove(&1);
    assert_eq!(gap(&two(), &missing), None);
    // A table that came by a pattern begins anew.
    let mut by_pattern = look(7, &[(5, "a", 110, 12), (2, "b", 101, 9)]);
    by_pattern.tables.insert(5, DecisiveTable { name: "a".to_owned(), named: false });
    assert_eq!(gap(&two(), &by_pattern), None);

    let mut ours = look(12, &[(1, "a", 110, 12), (2, "b", 111, 13), (5, "a", 112, 12)]);
    assert!(gap(&two(), &ours).is_some());
    ours.ours = [12, 13].into();
    assert_eq!(gap(&two(), &ours), None);
    let another = PublicationMark { oid: 4, ..look(30, &[(1, "a", 300, 31)]).mark };
    assert_eq!(gap(&two(), &PublicationLook { mark: another, ..two() }), None);
}

#[test]
fn a_schema_holds_its_tables_and_another_entry_may_have_come_late() {
    let by_schema = |oid: u32, xmin: u32| {
        let mut look = look(7, &[(1, "a", 100, 8)]);
        look.mark.tables.clear();
        look.mark.schemas.insert(2200, row("public", oid, xmin));
        look
    };
    assert_eq!(gap(&by_schema(50, 9), &by_schema(50, 9)), None);
    assert_eq!(
        gap(&by_schema(50, 9), &by_schema(51, 12)).as_deref(),
        Some("schema public was taken out and put back by transaction 12")
    );
    let before = look(7, &[(1, "a", 100, 8)]);
    assert_eq!(
        gap(&before, &by_schema(50, 12)).as_deref(),
        Some("table a was taken out while another entry came in by transaction 12")
    );
    // Held by both, then by one of them that was there all the time.
    let mut both = before.clone();
    both.mark.schemas.insert(2200, row("public", 50, 9));
    assert_eq!(gap(&before, &both), None);
    assert_eq!(gap(&both, &by_schema(50, 9)), None);
    assert_eq!(gap(&both, &before), None);
}

#[test]
fn only_the_very_gap_is_gone_over() {
    let now = look(7, &[(1, "a", 110, 12), (2, "b", 101, 9)]);
    let before = two();
    let comparison = Comparison { publication: "p", before: &before.mark, now: &now };
    let gap = comparison.gap().expect("a gap");
    let fault = comparison.fault(&gap, (Lsn(1), Lsn(2)), "orders");
    assert!(fault.remedy.contains("between 0/1 and 0/2"), "{}", fault.remedy);
    assert!(fault.remedy.ends_with("tidewire task resume orders"), "{}", fault.remedy);
    let resumed = [fault.to_string()];
    assert!(comparison.is_answered(&gap, &resumed));
    let later = look(7, &[(1, "a", 111, 13), (2, "b", 101, 9)]);
    let comparison = Comparison { now: &later, ..comparison };
    let gap = comparison.gap().expect("another gap");
    assert!(!comparison.is_answered(&gap, &resumed));
    assert!(!Comparison { publication: "q", ..comparison }.is_answered(&gap, &resumed));
}

#[test]
fn many_tables_are_counted_and_transactions_wrap_around() {
    let names: Vec<String> = (0..20).map(|number| format!("t{number:02}")).collect();
    let with = |oid: u32, by: u32| {
        let tables: Vec<_> =
            (1..).zip(&names).map(|(it, name)| (it, name.as_str(), oid + it, by)).collect();
        look(7, &tables)
    };
    let text = gap(&with(100, u32::MAX - 2), &with(200, u32::MAX)).expect("a gap");
    assert!(text.starts_with("tables t00, t01,"), "{text}");
    assert!(text.contains("t07 and 12 more were taken out"), "{text}");
    assert_eq!(newest([u32::MAX, 5].into_iter()), Some(5));
    assert_eq!(newest([5, u32::MAX].into_iter()), Some(5));
    assert_eq!(newest(std::iter::empty()), None);
}

/// What somebody does to a publication.
#[derive(Clone, Copy, Debug)]
enum Deed {
    TakeOut(u32),
    PutIn(u32),
    Alter,
}

fn deeds() -> impl Strategy<Value = Vec<(Deed, bool)>> {
    let deed = prop_oneof![
        (1..4_u32).prop_map(Deed::TakeOut),
        (1..4_u32).prop_map(Deed::PutIn),
        Just(Deed::Alter),
    ];
    prop::collection::vec((deed, any::<bool>()), 0..12)
}

proptest! {
    /// Whatever strangers and the task itself do: what a stranger put back is told with its last
    /// transaction, and nothing else is.
    #[test]
    fn strangers_are_told_and_we_are_not(deeds in deeds()) {
        let names = ["", "a", "b", "c"];
        let before = look(5, &[(1, "a", 100, 6), (2, "b", 101, 6), (3, "c", 102, 6)]);
        let mut now = before.clone();
        let mut put_back_by = BTreeMap::new();
        let mut altered_by = None;
        for (xmin, (deed, ours)) in (10..).zip(deeds) {
            if ours {
                now.ours.insert(xmin);
            }
            match deed {
                Deed::TakeOut(table) => {
                    now.mark.tables.remove(&table);
                    put_back_by.remove(&table);
                }
                Deed::PutIn(table) => {
                    let name = names[usize::try_from(table).expect("small")];
                    now.mark.tables.entry(table).or_insert_with(|| {
                        put_back_by.insert(table, (name, xmin, ours));
                        row(name, 1000 + xmin, xmin)
                    });
                }
                Deed::Alter => {
                    now.mark.xmin = xmin;
                    altered_by = Some((xmin, ours));
                }
            }
        }
        let strangers: Vec<_> = put_back_by.values().filter(|(_, _, ours)| !ours).collect();
        let altered = altered_by.filter(|(_, ours)| !ours);
        let text = gap(&before, &now).unwrap_or_default();
        prop_assert_eq!(text.is_empty(), strangers.is_empty() && altered.is_none(), "{}", text);
        for (name, _, _) in &strangers {
            prop_assert!(text.contains(name), "{}", text);
        }
        let last = strangers.iter().map(|(_, xmin, _)| *xmin).max();
        for xmin in last.into_iter().chain(altered.map(|(xmin, _)| xmin)) {
            let (told, number) = (format!("transaction {xmin}"), xmin);
            prop_assert!(text.contains(&told), "{} lacks {}", text, number);
        }
    }
}
