use super::*;

fn synchronizing() -> pb::Task {
    pb::Task {
        name: "orders".into(),
        id: "k3v9".into(),
        kind: "postgres_to_kafka".into(),
        phase: "Synchronizing".into(),
        desired: "running".into(),
        revision: 3,
        created_at_ms: 1_767_225_600_000,
        updated_at_ms: 1_767_225_600_123,
        shards: vec![pb::Shard {
            index: 0,
            node: "node-2".into(),
            epoch: 7,
            committed_lsn: 0x16B_3700,
            report: Some(wire::ShardReport {
                phase: wire::ShardPhase::Synchronizing.into(),
                source_lsn: 0x16B_3748,
                durable_lsn: 0x16B_3748,
                caught_up: true,
                delay_ms: 12,
                records_per_second: 5012.2,
                restarts: 1,
                wal_retained_bytes: 1 << 20,
                predicted_failover_ms: 4200,
                counters: Some(wire::Counters {
                    records: 9,
                    bytes: 90,
                    insert: 7,
                    ..Default::default()
                }),
                ..Default::default()
            }),
        }],
        precheck: Some(wire::PrecheckReport {
            at_ms: 1_767_225_600_000,
            items: vec![wire::CheckItem {
                name: "wal_level".into(),
                result: wire::CheckResult::Pass.into(),
                found: "logical".into(),
                ..Default::default()
            }],
        }),
        ..Default::default()
    }
}

#[test]
fn the_json_of_a_task_is_the_contracts() {
    let view = TaskView::try_from(synchronizing()).expect("a task");
    assert_eq!(
        serde_json::to_string(&view).expect("json"),
        concat!(
            r#"{"name":"orders","id":"k3v9","kind":"postgres_to_kafka","displayName":"","phase":"Synchronizing","#,
            r#""desired":"running","revision":3,"delayMs":12,"caughtUp":true,"#,
            r#""createdAt":"2026-01-01T00:00:00.000Z","updatedAt":"2026-01-01T00:00:00.123Z","#,
            r#""shards":[{"id":"orders/0","node":"node-2","epoch":7,"phase":"Synchronizing","#,
            r#""position":{"source":"0/16B3748","durable":"0/16B3748","committed":"0/16B3700","confirmed":null},"#,
            r#""delayMs":12,"records":9,"bytes":90,"recordsPerSecond":5012.2,"restarts":1,"retry":null}],"#,
            r#""counters":{"insert":7,"update":0,"delete":0,"truncate":0,"transactions":0,"filtered":0,"deadLetters":0},"#,
            r#""walRetainedBytes":1048576,"wal":{"retainedBytes":1048576,"warnBytes":10737418240,"#,
            r#""limitBytes":53687091200,"state":"ok"},"predictedFailoverMs":4200,"error":null,"#,
            r#""precheck":{"result":"passed","at":"2026-01-01T00:00:00.000Z","items":[{"name":"wal_level","#,
            r#""result":"pass","found":"logical","message":"","remedy":"","overridable":false,"#,
            r#""waiver":null}]},"modification":null,"alerts":[]}"#,
        )
    );
}

#[test]
fn a_task_is_caught_up_only_while_all_its_shards_say_so() {
    let mut task = synchronizing();
    assert!(caught_up(&task));
    task.shards.push(pb::Shard { index: 1, ..Default::default() });
    assert!(!caught_up(&task));
    task.shards.clear();
    assert!(!caught_up(&task));
    let paused = pb::Task { phase: "Paused".into(), ..synchronizing() };
    assert!(!caught_up(&paused));
}

#[test]
fn tables_show_what_people_ask_first() {
    let view = TaskView::try_from(synchronizing()).expect("a task");
    let text = task_table(&view, false);
    let mut lines = text.lines();
    assert!(lines.next().is_some_and(|line| line.contains("DELAY")), "{text}");
    assert!(
        lines.next().is_some_and(|line| line.contains("node-2") && line.contains("12ms")),
        "{text}"
    );
}

#[test]
fn a_slot_over_its_budget_is_told_also_while_nobody_runs_the_task() {
    let paused = |bytes| {
        let mut task = pb::Task { phase: "Paused".into(), ..synchronizing() };
        task.shards[0].report = None;
        task.idle_wal_bytes = bytes;
        TaskView::try_from(task).expect("a task")
    };
    let fine = paused(1 << 30);
    assert_eq!((fine.wal_retained_bytes, fine.wal.state), (1 << 30, "ok"));
    assert!(!task_table(&fine, false).contains("wal:"));
    for (gib, state) in [(11, "warn"), (60, "limit")] {
        let over = paused((gib << 30) + 5);
        assert_eq!(over.wal.state, state);
        let text = task_table(&over, false);
        assert!(text.contains(&format!("holds {gib}GiB")), "{text}");
    }
}

fn retrying() -> pb::Task {
    let mut task = synchronizing();
    "Retrying".clone_into(&mut task.phase);
    let report = task.shards[0].report.as_mut().expect("report");
    report.set_phase(wire::ShardPhase::Retrying);
    report.retrying_since_ms = 1_767_225_600_000;
    report.retry_until_ms = 1_767_268_800_000;
    report.next_attempt_ms = 1_767_225_604_500;
    report.fault = Some(wire::Fault {
        kind: "SourceUnreachable".into(),
        object: "127.0.0.1:5432".into(),
        message: "connection refused".into(),
        remedy: "start the server".into(),
    });
    task
}

#[test]
fn a_retry_is_shown_with_its_window_and_the_last_error() {
    let view = TaskView::try_from(retrying()).expect("a task");
    let json = serde_json::to_value(&view).expect("json");
    let expected = serde_json::json!({
        "since": "2026-01-01T00:00:00.000Z",
        "until": "2026-01-01T12:00:00.000Z",
        "nextAttempt": "2026-01-01T00:00:04.500Z",
        "error": {
            "kind": "SourceUnreachable", "object": "127.0.0.1:5432",
            "message": "connection refused", "remedy": "start the server",
        },
    });
    assert_eq!(json["shards"][0]["retry"], expected);
    let text = task_table(&view, false);
    let line = "retrying: shard orders/0 since 2026-01-01T00:00:00.000Z, next attempt \
                2026-01-01T00:00:04.500Z, fails at 2026-01-01T12:00:00.000Z\n  \
                why: 127.0.0.1:5432: connection refused";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_copy_shows_offsets_and_lag_instead_of_log_positions() {
    let partition = |partition, source, durable| wire::PartitionProgress {
        topic: "orders".into(),
        partition,
        source,
        durable,
    };
    let mut task = synchronizing();
    task.kind = "kafka_to_kafka".into();
    let report = task.shards[0].report.as_mut().expect("a report");
    report.partitions = vec![partition(0, 42, 42), partition(1, 20, 17)];
    let view = TaskView::try_from(task).expect("a task");
    let json = serde_json::to_value(&view).expect("json");
    let expected = serde_json::json!({"partitions": {"orders": {
        "0": {"source": 42, "target": 41, "lag": 0},
        "1": {"source": 20, "target": 16, "lag": 3},
    }}});
    assert_eq!(json["shards"][0]["position"], expected);
    assert!(task_list(&[view], true).contains("lag 3"));
}
