//! Which topics are taken, and how their copies are called.

use super::*;

fn with(topics: &[TopicRule], listed: &[SourceTopic]) -> CheckItem {
    let task = KafkaTask { topics: topics.to_vec(), ..task() };
    let mut seen = seen();
    seen.listed = Ok(listed.to_vec());
    for rule in topics {
        for topic in &rule.topics {
            let NamePattern::Exact(name) = topic else { continue };
            let there = listed.iter().find(|it| it.name == *name);
            let ends = there.map(|it| vec![(0, 0); it.partitions as usize]);
            let look = ends.map(|ends| look(name, &ends));
            seen.source.topics.insert(name.clone(), Ok(look));
        }
    }
    named(&items_of(&task, &seen), "topics_match")
}

#[test]
fn names_that_are_not_there_fail_until_that_is_wanted() {
    let item = with(&[rule(&["orders", "ordres"], "{topic}")], &[listed("orders", 2)]);
    let expected = (
        "topics_match",
        Fail,
        "ordres does not exist at the source",
        "the task copies a topic that appears later from its beginning; until then nothing of it",
        "correct topics.match, or make the topic",
        true,
    );
    assert_eq!(told(&item), expected);
    // What brokers do not take as a name.
    let item =
        only(changed(&KafkaTask { topics: rules(&["orders", "or ders"]), ..task() }, |seen| {
            let fault = Fault::new(FaultKind::SourceState, "topic or ders", "InvalidTopic");
            seen.source.topics.insert("or ders".to_owned(), Err(fault));
        }));
    assert_eq!(item.found, "or ders does not exist at the source");
}

fn rules(names: &[&str]) -> Vec<TopicRule> {
    vec![rule(names, "dr.{topic}")]
}

#[test]
fn patterns_that_fit_nothing_are_told_and_nothing_at_all_fails() {
    let item = with(&[rule(&["orders", "clicks_*"], "{topic}")], &[listed("orders", 2)]);
    assert_eq!((item.result, item.found.as_str()), (Warn, "no topic fits clicks_*"));
    let internal = SourceTopic { internal: true, ..listed("__consumer_offsets", 50) };
    let item = with(&[rule(&["*"], "{topic}")], &[internal]);
    let expected = (
        "topics_match",
        Fail,
        "none of 1 topic that the account may describe",
        "there is nothing to copy",
        "correct topics.match and topics.exclude; `tidewire connection discover` lists the topics",
        false,
    );
    assert_eq!(told(&item), expected);
}

#[test]
fn two_topics_never_share_a_copy() {
    let two = [listed("a", 1), listed("b", 1)];
    let item = with(&[rule(&[], "all")], &two);
    assert_eq!((item.result, item.overridable), (Fail, false));
    assert_eq!(item.found, "would copy a and b to all");
    // Kafka refuses the second of these.
    let item = with(&[rule(&[], "{topic}")], &[listed("a.b", 1), listed("a_b", 1), listed("c", 1)]);
    assert_eq!(item.found, "would copy a.b and a_b to a.b and a_b");
    assert_eq!(with(&[rule(&[], "{topic}")], &two).result, Pass);
}

#[test]
fn a_copy_has_a_name_that_can_be_written() {
    let named = |rename: &str| with(&[rule(&["orders"], rename)], &[listed("orders", 1)]);
    for (rename, told) in [
        (
            "my {topic}",
            "would copy orders to my orders (Kafka takes letters, digits, `.`, `_` and `-` only)",
        ),
        ("..", "would copy orders to .. (which Kafka does not take as a name)"),
        (
            "__consumer_offsets",
            "would copy orders to __consumer_offsets (a topic of the brokers or of tidewire itself)",
        ),
        (
            "__tidewire_positions",
            "would copy orders to __tidewire_positions (a topic of the brokers or of tidewire itself)",
        ),
    ] {
        let item = named(rename);
        assert_eq!((item.result, item.overridable, item.found.as_str()), (Fail, false, told));
    }
    assert!(named(&"x".repeat(250)).found.ends_with("(longer than 249 characters)"));
    assert_eq!(named(&"x".repeat(249)).result, Pass);
}
