use super::*;

fn item(result: CheckResult, overridable: bool) -> CheckItem {
    CheckItem {
        name: "topic_policy".to_owned(),
        result,
        found: String::new(),
        message: String::new(),
        remedy: String::new(),
        overridable,
        waiver: None,
    }
}

fn waivers(kind: WaiverKind) -> Waivers {
    let mut waivers = Waivers::default();
    waivers.add("topic_policy", Waiver { kind, by: "ann".to_owned(), at_ms: 7 });
    waivers
}

fn report(item: CheckItem) -> PrecheckReport {
    PrecheckReport { at_ms: 1, items: vec![item] }
}

#[test]
fn only_an_override_of_an_overridable_failure_lets_a_task_start() {
    use WaiverKind::{Ignored, Overridden};
    let passes = |overridable, kind| {
        report(item(CheckResult::Fail, overridable)).waived(&waivers(kind)).passed()
    };
    assert!(passes(true, Overridden));
    assert!(!passes(true, Ignored) && !passes(false, Overridden) && !passes(false, Ignored));
    assert!(!report(item(CheckResult::Fail, true)).passed());
    assert!(report(item(CheckResult::Warn, false)).passed());
}

#[test]
fn a_decision_shows_only_where_it_has_an_effect() {
    let shown = |result, overridable, kind| {
        report(item(result, overridable)).waived(&waivers(kind)).items[0].waiver.is_some()
    };
    assert!(shown(CheckResult::Warn, false, WaiverKind::Ignored));
    assert!(shown(CheckResult::Fail, true, WaiverKind::Overridden));
    assert!(!shown(CheckResult::Pass, false, WaiverKind::Ignored));
    assert!(!shown(CheckResult::Fail, false, WaiverKind::Overridden));
    assert!(!shown(CheckResult::Fail, true, WaiverKind::Ignored));
}

#[test]
fn an_override_is_not_taken_back_by_ignoring() {
    let mut both = waivers(WaiverKind::Overridden);
    both.add("topic_policy", Waiver { kind: WaiverKind::Ignored, by: "bob".to_owned(), at_ms: 9 });
    assert_eq!(both, waivers(WaiverKind::Overridden));
}

#[test]
fn every_item_has_one_rule() {
    for rule in item_rules() {
        assert_eq!(item_rule(rule.name), Some(rule));
    }
    assert_eq!(item_rule("wal_levle"), None);
}
