//! Accidents of the target: topics that grow, rights that are taken away, quotas.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidewire_cluster_tests::postgres;
use tidewire_testbed::oracle::Operation;
use tidewire_testbed::servers::{Kafka, KafkaOptions};

use crate::kept_slot;
use crate::solo::{LIMIT, Task, cluster};

/// A broker that knows rights.
fn guarded() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| {
        Kafka::start(KafkaOptions::authorizing()).expect("a broker that authorizes")
    })
}

fn start(name: &'static str) -> Task {
    Task::on_broker(guarded(), name, postgres(), |yaml| yaml)
}

#[test]
fn a_topic_that_grows_stops_the_task_before_a_key_goes_elsewhere() {
    let mut task = start("grown");
    task.insert(1..=5);
    assert_eq!(task.delivered_inserts_of_the_table(), 5);
    guarded().set_partitions("grown", 3).unwrap();
    task.shows("Failed", &["TargetState", "topic grown", "has 3 partitions", "began with 1"]);
    task.insert(6..=9);
    let way = "target.onTopicChange: accept_growth";
    task.refuses_to_resume(&["topic grown", "3 partitions", "lose their order", way]);
    let ends = guarded().end_offsets("grown").unwrap().stable;
    assert_eq!((ends[&1], ends[&2]), (0, 0), "nothing went to the new partitions");
    assert_eq!(ids(&task, "grown"), ["1", "2", "3", "4", "5"], "the rest waits in the slot");

    task.apply(|yaml| accepting(yaml, "accept_growth"));
    task.resume();
    task.insert(10..=60);
    assert_eq!(task.delivered_inserts_of_the_table(), 60);
    let ends = guarded().end_offsets("grown").unwrap().stable;
    assert!(ends[&1] > 0 && ends[&2] > 0, "keys are spread over all partitions: {ends:?}");
    // From here on it follows by itself.
    guarded().set_partitions("grown", 5).unwrap();
    let told = "topic grown has 5 partitions, the task began with 3";
    let end = Instant::now() + LIMIT;
    while !cluster().done(&["task", "logs", "grown"]).unwrap().contains(told) {
        assert!(Instant::now() < end, "nobody was told: {told}");
        std::thread::sleep(Duration::from_millis(300));
    }
    task.insert(61..=200);
    assert_eq!(task.delivered_inserts_of_the_table(), 200);
    let ends = guarded().end_offsets("grown").unwrap().stable;
    assert!(ends[&3] > 0 && ends[&4] > 0, "{ends:?}");
    assert_eq!(cluster().task("grown").unwrap()["error"], Value::Null);
    let history = cluster().done(&["task", "history", "grown"]).unwrap();
    assert!(history.contains("onTopicChange"), "{history}");
}

/// The document with another policy.
fn accepting(yaml: &str, policy: &str) -> String {
    let rest = yaml.lines().filter(|line| !line.starts_with("  onTopicChange"));
    let rest: String = rest.map(|line| format!("{line}\n")).collect();
    rest.replace("target:\n", &format!("target:\n  onTopicChange: {policy}\n"))
}

fn ids(task: &Task, topic: &str) -> Vec<String> {
    task.read_from(topic).into_iter().map(|(_, id)| id).collect()
}

#[test]
fn a_topic_made_again_takes_what_waits_in_the_slot_once_its_user_says_so() {
    let mut task = start("made-again");
    task.insert(1..=5);
    assert_eq!(task.delivered_inserts_of_the_table(), 5);
    guarded().delete_topic("made-again").unwrap();
    let way = "onTopicChange: accept;";
    task.shows("Failed", &["TargetState", "topic made-again", "does not exist any more", way]);
    task.insert(6..=9);
    guarded().create_topic("made-again", 1, &[]).unwrap();
    task.refuses_to_resume(&["topic made-again", "created again", way]);
    task.apply(|yaml| accepting(yaml, "accept_growth"));
    task.refuses_to_resume(&["topic made-again", "created again", way]);
    assert_eq!(ids(&task, "made-again"), [""; 0]);
    task.apply(|yaml| accepting(yaml, "accept"));
    task.resume();
    task.insert(10..=12);
    cluster().wait("made-again", "caught-up", LIMIT).unwrap();
    assert_eq!(ids(&task, "made-again"), ["6", "7", "8", "9", "10", "11", "12"]);
    let log = cluster().done(&["task", "logs", "made-again"]).unwrap();
    assert!(log.contains("topic made-again was deleted and created again"), "{log}");
}

#[test]
fn another_topic_takes_what_waits_in_the_slot() {
    let mut task = start("outgrown");
    task.insert(1..=5);
    assert_eq!(task.delivered_inserts_of_the_table(), 5);
    guarded().set_partitions("outgrown", 3).unwrap();
    task.shows("Failed", &["TargetState", "topic outgrown", "another topic in `objects`"]);
    task.insert(6..=9);
    guarded().create_topic("outgrown-now", 1, &[]).unwrap();
    task.apply(|yaml| yaml.replace("topic: outgrown\n", "topic: outgrown-now\n"));
    task.resume();
    task.insert(10..=12);
    cluster().wait("outgrown", "caught-up", LIMIT).unwrap();
    assert_eq!(ids(&task, "outgrown"), ["1", "2", "3", "4", "5"]);
    assert_eq!(ids(&task, "outgrown-now"), ["6", "7", "8", "9", "10", "11", "12"]);
}

/// What a task needs of a topic but for writing, and what its readers need.
const READING: [&str; 3] = ["Describe", "DescribeConfigs", "Read"];

#[test]
fn a_right_that_is_taken_away_stops_the_task_until_it_is_given_back() {
    let mut task = start("denied");
    task.insert(1..=5);
    assert_eq!(task.delivered_inserts_of_the_table(), 5);
    guarded().allow_only("denied", &READING).unwrap();
    task.insert(6..=9);
    task.shows("Failed", &["TargetDenied", "denied"]);
    // It streams again before the broker refuses its first transaction.
    task.tries_to_resume();
    task.shows("Failed", &["TargetDenied", "denied"]);
    assert_eq!(task.read().len(), 5, "nothing of the refused transaction is seen");
    guarded().allow_only("denied", &[]).unwrap();
    task.resume();
    assert_eq!(task.delivered_inserts_of_the_table(), 9);

    let positions = "__tidewire_positions";
    guarded().allow_only(positions, &READING).unwrap();
    task.insert(10..=12);
    task.shows("Failed", &["TargetDenied", positions]);
    assert_eq!(task.read().len(), 9, "no record is seen whose position is not");
    guarded().allow_only(positions, &[]).unwrap();
    task.resume();
    assert_eq!(task.delivered_inserts_of_the_table(), 12);
}

/// A broker that nobody else has positions on.
fn forgetful() -> &'static Kafka {
    static OWN: OnceLock<Kafka> = OnceLock::new();
    OWN.get_or_init(|| Kafka::start(KafkaOptions::default()).expect("a broker"))
}

#[test]
fn positions_that_are_deleted_in_mid_run_stop_the_task_and_the_way_on_loses_nothing() {
    let positions = "__tidewire_positions";
    let mut task = Task::on_broker(forgetful(), "unplaced", postgres(), |yaml| yaml);
    task.insert(1..=5);
    assert_eq!(task.delivered_inserts_of_the_table(), 5);
    forgetful().delete_topic(positions).unwrap();
    task.insert(6..=9);
    let way = ["tidewire task terminate", "mode: existing"];
    task.shows("Failed", &["TargetHistory", positions, way[0], way[1]]);
    task.refuses_to_resume(&[positions, way[0], way[1]]);

    cluster().done(&["task", "terminate", "unplaced", "--wait"]).unwrap();
    let applied = kept_slot::apply(&task, "placed-anew", "now");
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    task.insert(10..=12);
    cluster().wait("placed-anew", "caught-up", LIMIT).unwrap();
    let mut seen: Vec<i32> =
        ids(&task, "unplaced").iter().map(|id| id.parse().expect("a number")).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (1..=12).collect::<Vec<_>>(), "nothing is lost");
}

/// Inserts as many megabytes in one transaction; how long they take to arrive.
fn carried(task: &mut Task, megabytes: u32, from: u32) -> Duration {
    let rows = format!(
        "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series({from}, {}) g",
        from + megabytes * 1_000 - 1
    );
    task.sql(&rows);
    let began = Instant::now();
    cluster().wait(task.name, "caught-up", 2 * LIMIT).unwrap();
    began.elapsed()
}

/// What is waiting takes longer than one Kafka transaction may last: it has to go in several.
#[test]
fn a_quota_slows_a_task_down_and_nothing_else() {
    let lines = "target:\n  compression: none\n  properties: {client.id: throttled}\n";
    let mut task =
        Task::on_broker(guarded(), "slowed", postgres(), |yaml| yaml.replace("target:\n", lines));
    let free = carried(&mut task, 1, 0);
    guarded().set_quota("throttled", Some(200_000)).unwrap();
    let bound = carried(&mut task, 7, 1_000);
    eprintln!("1 MB took {free:?}, 7 MB under the quota {bound:?}");
    assert!(bound > free + Duration::from_secs(26), "{bound:?}: the broker held nobody up");
    let shown = cluster().task("slowed").unwrap();
    assert_eq!(
        (&shown["phase"], &shown["error"]),
        (&"Synchronizing".into(), &().into()),
        "{shown}"
    );
    // What was under way when the quota came may be too much for it, and begins again in smaller parts.
    assert!(shown["shards"][0]["restarts"].as_u64() < Some(3), "{shown}");
    guarded().set_quota("throttled", None).unwrap();
    assert_eq!(task.delivered_inserts_of_the_table(), 8_000);
    assert!(task.read().iter().all(|(operation, _)| *operation == Operation::Insert));
}

const CHANNEL: &str = "apiVersion: tidewire/v1\nkind: webhook_channel\nname: nobody\n\
    url: {value: 'http://127.0.0.1:9/'}\n";

/// Nothing streams while the target is away, and the log of the source grows all the same: that is when
/// its budget counts most.
#[test]
fn a_task_that_waits_for_its_target_shows_the_log_it_holds_and_calls() {
    static AWAY: OnceLock<Kafka> = OnceLock::new();
    let kafka =
        AWAY.get_or_init(|| Kafka::start(KafkaOptions::default()).expect("a broker of its own"));
    let channel = cluster().document("nobody", CHANNEL).unwrap();
    cluster().done(&["alert", "apply", "-f", channel.to_str().unwrap()]).unwrap();
    let mut task = Task::on_broker(kafka, "waiting", postgres(), |yaml| {
        let alert = "alerts: [{name: heavy, when: {walAbove: 40MiB}, to: [nobody]}]\n";
        let budget = "  walBudget: {warn: 40MiB, limit: 50GiB}\ntarget:\n";
        yaml.replace("target:\n", budget) + alert
    });
    task.insert(1..=1);
    assert_eq!(task.delivered_inserts_of_the_table(), 1);
    kafka.stop_broker(0);
    task.insert(2..=2);
    let end = Instant::now() + LIMIT * 2;
    let shown = loop {
        task.sql("SELECT pg_logical_emit_message(false, 'x', 'x'); SELECT pg_switch_wal()");
        let shown = cluster().task("waiting").unwrap();
        let fires = shown.pointer("/alerts/0/state").is_some_and(|state| state == "firing");
        if shown["phase"] == "Retrying" && fires {
            break shown;
        }
        assert!(Instant::now() < end, "nobody is called: {shown}");
        std::thread::sleep(Duration::from_secs(2));
    };
    assert_eq!(shown.pointer("/wal/state"), Some(&"warn".into()), "{shown}");
    assert!(shown["walRetainedBytes"].as_u64() > Some(40 << 20), "{shown}");
    kafka.restart_broker(0).unwrap();
    assert_eq!(task.delivered_inserts_of_the_table(), 2);
}
