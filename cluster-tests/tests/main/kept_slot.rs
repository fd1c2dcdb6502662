//! A slot that a terminated task left: another task goes on from it, and keeps it.

use serde_json::Value;
use tidewire_cluster_tests::postgres;
use tidewire_testbed::cluster::CliOutput;

use crate::solo::{LIMIT, Task, cluster};

/// Applies a document of another task that begins with the slot of `old`, at `start`.
pub(crate) fn apply(old: &Task, name: &str, start: &str) -> CliOutput {
    let slot = &old.slot;
    let theirs = format!(
        "source:\n  slot: {{mode: existing, name: {slot}}}\n  \
         publication: {{mode: existing, name: {slot}}}\n"
    );
    let yaml = old.document.replace(&format!("name: {}\n", old.name), &format!("name: {name}\n"));
    let yaml = yaml.replace("source:\n", &theirs).replace("start: now", &format!("start: {start}"));
    let file = cluster().document(name, &yaml).unwrap();
    let apply = ["task", "apply", "-f", file.to_str().unwrap(), "--start", "--wait"];
    cluster().cli(&[&apply[..], &["--timeout", "60s"]].concat()).unwrap()
}

fn slots(old: &mut Task) -> i64 {
    let query = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1";
    old.client.query_one(query, &[&old.slot]).unwrap().get(0)
}

#[test]
fn a_task_goes_on_where_a_terminated_one_stood_and_keeps_its_slot() {
    let mut old = Task::start("kept", postgres());
    old.insert(1..=5);
    assert_eq!(old.delivered_inserts_of_the_table(), 5);
    let refused = apply(&old, "kept-on", "now");
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    for word in ["slot_state", "task kept", "tidewire task terminate kept"] {
        assert!(refused.stderr.contains(word), "no `{word}`: {}", refused.stderr);
    }
    let said = cluster().cli(&["task", "terminate", "kept", "--wait"]).unwrap();
    assert!(said.stderr.contains(&format!("name: {}", old.slot)), "{}", said.stderr);
    old.insert(6..=9);
    let shown = cluster().json(&["positions", "show", "kept"]).unwrap();
    let lsn = shown.pointer("/0/record/position/lsn").and_then(Value::as_str);
    let lsn = lsn.unwrap_or_else(|| panic!("no position in {shown}"));
    let applied = apply(&old, "kept-on", &format!("{{lsn: {lsn}}}"));
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    cluster().wait("kept-on", "caught-up", LIMIT).unwrap();
    let ids = |old: &Task| old.read().into_iter().map(|(_, id)| id).collect::<Vec<_>>();
    let wanted = |last: i32| (1..=last).map(|id| id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&old), wanted(9), "each once, from where the other one stood");

    let deleted = cluster().cli(&["task", "delete", "kept", "--yes"]).unwrap();
    assert_eq!(deleted.code, 0, "{}", deleted.stderr);
    let left = cluster().done(&["task", "list", "--leftovers"]).unwrap();
    assert!(left.contains(&format!("slot {}", old.slot)), "{left}");
    assert!(left.contains("task kept-on uses it"), "{left}");
    cluster().done(&["task", "pause", "kept-on", "--wait"]).unwrap();
    old.insert(10..=12);
    // Time for an attempt to drop what is left, which a slot at rest could not resist.
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert_eq!(slots(&mut old), 1, "it is in use");
    cluster().done(&["task", "resume", "kept-on", "--wait"]).unwrap();
    cluster().wait("kept-on", "caught-up", LIMIT).unwrap();
    assert_eq!(ids(&old), wanted(12));

    cluster().done(&["task", "delete", "kept-on", "--yes"]).unwrap();
    let dropped = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        slots(&mut old) == 0
    });
    assert!(dropped, "what the first one left goes with the second one");
}
