//! Copies that come back.

use super::*;

/// A task from Kafka to Kafka.
fn way(task: &str, from: &str, to: &str, rule: TopicRule) -> Neighbour {
    Neighbour {
        task: task.to_owned(),
        brokers: vec![format!("{to}:9092")],
        source_brokers: vec![format!("{from}:9092")],
        rules: vec![rule],
        topics: Vec::new(),
    }
}

fn looped(task: &KafkaTask, neighbours: &[Neighbour], seen: &CopyPrecheck) -> CheckItem {
    named(
        &judge_copy(&CopyLook { task, started_before: false, known: None, neighbours, seen }),
        "loop",
    )
}

/// One cluster at both ends, known by a broker's own name for itself.
fn one_cluster() -> CopyPrecheck {
    let mut seen = seen();
    seen.target.cluster = seen.source.cluster.clone();
    seen
}

#[test]
fn a_task_that_takes_its_own_copies_is_refused() {
    let all = KafkaTask { topics: vec![rule(&[], "dr.{topic}")], ..task() };
    let item = looped(&all, &[], &one_cluster());
    let expected = (
        "loop",
        Fail,
        "orders to dr.orders to dr.dr.orders",
        "the task would copy its own copies, without end",
        "exclude the copies, like rename: \"dr.{topic}\" and exclude: [\"dr.*\"], or name another target",
        false,
    );
    assert_eq!(told(&item), expected);
    assert_eq!(looped(&all, &[], &seen()).result, Pass, "two clusters");
    assert_eq!(looped(&task(), &[], &one_cluster()).result, Pass, "takes orders alone");
    let itself = KafkaTask { topics: vec![rule(&["orders"], "{topic}")], ..task() };
    assert_eq!(looped(&itself, &[], &one_cluster()).found, "orders to orders to orders");
    let mut without = all;
    without.topics[0].exclude = vec![NamePattern::Glob("dr.*".to_owned())];
    assert_eq!(looped(&without, &[], &one_cluster()).result, Pass);
}

#[test]
fn what_other_tasks_bring_back_is_refused() {
    let same = KafkaTask { topics: vec![rule(&[], "{topic}")], ..task() };
    let back = way("back", "EAST", "west", rule(&[], "{topic}"));
    let item = looped(&same, std::slice::from_ref(&back), &seen());
    assert_eq!(item.found, "orders to orders to orders (task back) to orders");
    assert!(!item.overridable && item.remedy.contains("rename: \"west.{topic}\""), "{item:?}");

    // Both ways under the name of the side they come from.
    let mut forth = task();
    forth.topics[0] = rule(&[], "west.{topic}");
    forth.topics[0].exclude = vec![NamePattern::Glob("east.*".to_owned())];
    let mut over = rule(&[], "east.{topic}");
    over.exclude = vec![NamePattern::Glob("west.*".to_owned())];
    let item = looped(&forth, &[way("back", "east", "west", over)], &seen());
    assert_eq!(item.result, Pass, "{item:?}");

    // Round over three clusters, and nowhere near us.
    let on = way("on", "east", "north", rule(&[], "{topic}"));
    let home = way("home", "north", "west", rule(&["orders"], "{topic}"));
    let found = looped(&same, &[home, on.clone()], &seen()).found;
    assert_eq!(found, "orders to orders to orders (task on) to orders (task home) to orders");
    assert_eq!(looped(&same, &[on], &seen()).result, Pass);
    let elsewhere =
        [way("a", "x", "y", rule(&[], "{topic}")), way("b", "y", "x", rule(&[], "{topic}"))];
    assert_eq!(looped(&same, &elsewhere, &seen()).result, Pass);
}

#[test]
fn topics_that_may_appear_must_not_come_back_either() {
    // Both ways, before any of these topics is there.
    let both = KafkaTask {
        topics: vec![rule(&["orders"], "{topic}"), rule(&["clicks-*"], "{topic}")],
        ..task()
    };
    let back = |rule| way("back", "east", "west", rule);
    let clicks = back(rule(&["clicks-*"], "{topic}"));
    let item = looped(&both, std::slice::from_ref(&clicks), &seen());
    let found = "clicks-any (not there yet) to clicks-any to clicks-any (task back) to clicks-any";
    assert_eq!((item.result, item.found.as_str()), (Fail, found));

    // What the other task makes here, though nothing of it is here yet.
    let all = KafkaTask { topics: vec![rule(&[], "{topic}")], ..task() };
    let item = looped(&all, &[back(rule(&["payments"], "{topic}"))], &seen());
    let found = "payments (not there yet) to payments to payments (task back) to payments";
    assert_eq!((item.result, item.found.as_str()), (Fail, found));

    let mut apart = both;
    apart.topics[1].exclude = vec![NamePattern::Glob("clicks-*".to_owned())];
    assert_eq!(looped(&apart, &[clicks], &seen()).result, Pass);
    let mut all = all;
    all.topics[0] = rule(&[], "dr.{topic}");
    all.topics[0].exclude = vec![NamePattern::Glob("dr.*".to_owned())];
    assert_eq!(looped(&all, &[], &one_cluster()).result, Pass);
}

#[test]
fn names_that_every_round_makes_longer_end_the_search() {
    let there = way("there", "east", "east", rule(&[], "x{topic}"));
    let same = KafkaTask { topics: vec![rule(&[], "{topic}")], ..task() };
    assert_eq!(looped(&same, &[there], &seen()).result, Pass);
}

#[test]
fn clusters_of_one_id_are_told_apart_by_their_topics() {
    let all = KafkaTask { topics: vec![rule(&[], "dr.{topic}")], ..task() };
    let with = |namesakes: &[(&str, Option<(i64, i64)>)]| {
        let mut seen = seen();
        seen.target.cluster.as_mut().expect("answers").id = Some("w".to_owned());
        seen.target.topics.insert("dr.orders".to_owned(), Ok(None));
        seen.namesakes = namesakes.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect();
        looped(&all, &[], &seen)
    };
    let item = with(&[]);
    assert_eq!((item.result, item.overridable), (Fail, true));
    assert_eq!(item.found, "orders to dr.orders to dr.dr.orders; both clusters have the id w");
    assert_eq!(with(&[("orders", None)]).result, Pass);
    assert_eq!(with(&[("orders", Some((5, 5)))]).result, Pass);
    let item = with(&[("orders", Some((1, 1)))]);
    assert_eq!((item.result, item.overridable), (Fail, false), "the very same topic");
}

#[test]
fn a_copy_that_another_task_writes_is_refused_until_that_is_wanted() {
    let other = Neighbour {
        task: "billing".to_owned(),
        brokers: vec!["east:9092".to_owned()],
        topics: vec!["dr.*".to_owned()],
        ..Neighbour::default()
    };
    let look = CopyLook {
        task: &task(),
        started_before: false,
        known: None,
        neighbours: &[other],
        seen: &seen(),
    };
    let item = only(judge_copy(&look));
    let expected = (
        "topic_collision",
        Fail,
        "task billing writes to dr.orders too",
        "readers would find records of different origins mixed",
        "rename the copies, or delete the task that is not needed; override this item if that is wanted",
        true,
    );
    assert_eq!(told(&item), expected);
}
