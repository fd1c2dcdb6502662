//! The command as its users see it: output, exit codes, errors, over real gRPC.

mod coordinator;

use std::io::Write;
use std::process::{Command, Output, Stdio};

const DOCUMENT: &str = "
apiVersion: tidewire/v1
kind: postgres_to_kafka
name: orders
source: {hosts: [db1:5432], database: shop, user: tidewire, password: {value: hunter2}}
target: {brokers: [k1:9092]}
objects: [{tables: [public.orders], topic: orders}]
format: {type: dts_avro}
";

fn tidewire(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewire"));
    command.env_remove("TIDEWIRE_ENDPOINT").env_remove("TIDEWIRE_LOG").args(arguments);
    command.output().expect("the command runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("killed: {}", stderr(output)))
}

fn document(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

/// A port where nobody listens.
fn dead_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

#[test]
fn without_a_coordinator_calls_end_with_6_and_say_what_to_do() {
    let endpoint = dead_endpoint();
    let output = tidewire(&["task", "get", "orders", "--endpoint", &endpoint]);
    assert_eq!(code(&output), 6);
    let text = stderr(&output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0], "error: task orders (unreachable)");
    assert_eq!(lines[1], format!("  why: no coordinator listens at {endpoint}"));
    assert!(lines[2].contains("--endpoint"));
    assert_eq!(stdout(&output), "");

    let output = tidewire(&["cluster", "status", "-o", "json", "--endpoint", &endpoint]);
    assert_eq!(code(&output), 6);
    let error: serde_json::Value = serde_json::from_str(&stderr(&output)).expect("one object");
    assert_eq!(error["error"]["code"], "unreachable");
    assert_eq!(error["error"]["object"], "cluster");
}

#[test]
fn the_next_coordinator_is_asked_when_one_is_away() {
    let endpoints = format!("{},http://{}", dead_endpoint(), coordinator::serve());
    let output = tidewire(&["nodes", "list", "-o", "json", "--endpoint", &endpoints]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let nodes: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("json");
    assert_eq!(nodes[0]["id"], "node-1");
}

#[test]
fn every_answer_has_its_exit_code() {
    let endpoint = format!("http://{}", coordinator::serve());
    let cases: [(&[&str], i32, &str); 10] = [
        (
            &["task", "get", "nope"],
            3,
            "error: task nope (not found)\n  why: there is none\n  do:  see",
        ),
        (&["task", "pause", "orders"], 4, "is NotStarted and cannot be paused"),
        (&["task", "precheck", "orders"], 5, "precheck failed at wal_level"),
        (
            &["task", "start", "orders", "--wait"],
            5,
            "wal_level failed: the server writes no logical log (found replica)",
        ),
        (&["task", "start", "broken", "--wait"], 1, "task broken: slot tidewire_k3v9"),
        (&["task", "terminate", "orders", "--timeout", "500ms"], 6, "unknown outcome"),
        (&["task", "resume", "orders"], 7, "viewers may not resume"),
        (&["task", "wait", "broken", "--for", "Paused"], 1, "was dropped"),
        (&["task", "get", "No_Name"], 2, "is not a task name"),
        (
            &["task", "wait", "resting", "--for", "caught-up"],
            4,
            "before it is resumed\n  do:  `tidewire task resume resting`",
        ),
    ];
    for (arguments, expected, says) in cases {
        let output = tidewire(&[arguments, &["--endpoint", &endpoint]].concat());
        let text = stderr(&output);
        assert_eq!(code(&output), expected, "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}

#[test]
fn waiting_ends_when_the_phase_is_there() {
    let endpoint = format!("http://{}", coordinator::serve());
    let arguments = ["task", "wait", "slow", "--for", "synchronizing", "-o", "json"];
    let output = tidewire(&[arguments.as_slice(), &["--endpoint", &endpoint]].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let task: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("json");
    assert_eq!(task["phase"], "Synchronizing");
    assert_eq!(task["caughtUp"], false);
}

/// Runs the command at a terminal of its own, on which `answer` is typed.
fn at_a_terminal(arguments: &[&str], answer: &str) -> (i32, String) {
    let command = format!("{} {}", env!("CARGO_BIN_EXE_tidewire"), arguments.join(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut script = script.spawn().expect("script, of util-linux");
    let mut keys = script.stdin.take().expect("a pipe");
    keys.write_all(answer.as_bytes()).expect("typed");
    // Its end would be typed, too, before the question is there.
    let output = script.wait_with_output().expect("ended");
    drop(keys);
    (code(&output), stdout(&output))
}

#[test]
fn a_running_task_is_deleted_after_a_question_at_a_terminal_and_at_once_elsewhere() {
    let endpoint = format!("http://{}", coordinator::serve());
    let delete = |name: &'static str| ["task", "delete", name, "--endpoint", &endpoint];
    let slow = delete("slow");
    let (code_no, said) = at_a_terminal(&slow, "n\n");
    assert!(said.contains("task slow is Initializing: delete it"), "{said}");
    assert!(
        code_no == 2 && said.contains("nothing was deleted") && said.contains("--yes"),
        "{said}"
    );
    let (code_yes, said) = at_a_terminal(&slow, "y\n");
    assert!(code_yes == 0 && said.contains("task slow deleted"), "{said}");
    let unasked = [slow.as_slice(), &["--yes"]].concat();
    for (arguments, name) in [(unasked.as_slice(), "slow"), (&delete("resting"), "resting")] {
        let (code, said) = at_a_terminal(arguments, "");
        assert!(code == 0 && said.contains("deleted") && !said.contains("[y/N]"), "{said}");
        assert!(said.contains(&format!("task {name}")), "{said}");
    }
    let output = tidewire(&slow);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "a script is not asked");
}

#[test]
fn waiting_is_given_up_in_time() {
    let endpoint = format!("http://{}", coordinator::serve());
    let wait = ["task", "wait", "slow", "--for", "Paused", "--timeout", "1s", "--endpoint"];
    let output = tidewire(&[wait.as_slice(), &[&endpoint]].concat());
    assert_eq!(code(&output), 6);
    assert!(stderr(&output).contains("did not become Paused in time"), "{}", stderr(&output));
}

#[test]
fn a_document_is_applied_and_its_password_is_not_repeated() {
    let endpoint = format!("http://{}", coordinator::serve());
    let file = document(DOCUMENT);
    let path = file.path().to_str().expect("a path");
    let output = tidewire(&["task", "apply", "-f", path, "--endpoint", &endpoint]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("NotStarted"));
    assert!(stderr(&output).contains("warning: source.password: "));
    assert!(!stderr(&output).contains("hunter2"));
}

#[test]
fn a_bad_document_is_refused_with_its_place() {
    let file = document(&DOCUMENT.replace("database", "databse"));
    let path = file.path().to_str().expect("a path");
    let output = tidewire(&["task", "explain", "-f", path]);
    assert_eq!(code(&output), 2);
    assert_eq!(
        stderr(&output),
        format!(
            "error: {path}:5:29: source.databse (invalid)\n  why: unknown key\n  do:  did you mean `database`?\n"
        )
    );
    let alerting = document(&format!(
        "{DOCUMENT}alerts: [{{name: late, when: {{delayAbove: 30s, for: 1m}}, to: [ops]}}]\n"
    ));
    let output = tidewire(&["task", "explain", "-f", alerting.path().to_str().expect("a path")]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("repeat: 4h"), "{}", stdout(&output));
}

#[test]
fn a_channel_that_does_not_deliver_ends_its_test_with_1() {
    let endpoint = format!("http://{}", coordinator::serve());
    let output = tidewire(&["alert", "test", "ops", "--endpoint", &endpoint]);
    assert_eq!((code(&output), stdout(&output)), (0, "channel ops: delivered\n".to_owned()));
    let output = tidewire(&["alert", "test", "dead", "--endpoint", &endpoint]);
    assert_eq!(code(&output), 1);
    assert_eq!(stdout(&output), "channel dead: failed, https://host answered 500\n");
    assert!(stderr(&output).starts_with("error: channel dead (not delivered)"), "{output:?}");
    let file = document(
        "apiVersion: tidewire/v1\nkind: webhook_channel\nname: new\nurl: https://host/hunter2\n",
    );
    let path = file.path().to_str().expect("a path");
    let output = tidewire(&["alert", "test", "-f", path, "-o", "json", "--endpoint", &endpoint]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains(r#""result":"delivered""#), "{output:?}");
    assert!(stderr(&output).contains("warning") && !stderr(&output).contains("hunter2"));
    let output = tidewire(&["alert", "list", "--endpoint", &endpoint]);
    assert!(stdout(&output).contains("no channels"), "{output:?}");
    assert!(stdout(&output).contains("FIRING"), "{output:?}");
}

#[test]
fn explained_documents_explain_themselves() {
    let file = document(DOCUMENT);
    let output = tidewire(&["task", "explain", "-f", file.path().to_str().expect("a path")]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let explained = stdout(&output);
    assert!(explained.contains("partition: by_primary_key"), "{explained}");
    let again = document(&explained);
    let output = tidewire(&["task", "explain", "-f", again.path().to_str().expect("a path")]);
    assert_eq!(stdout(&output), explained);
}

#[test]
fn help_of_every_command_has_an_example() {
    let commands = [
        "coordinator",
        "node",
        "dev",
        "task apply",
        "task precheck",
        "task start",
        "task pause",
        "task resume",
        "task terminate",
        "task delete",
        "task get",
        "task list",
        "task wait",
        "task explain",
        "nodes list",
        "nodes drain",
        "nodes resume",
        "cluster status",
        "positions show",
        "completion",
    ];
    for command in commands {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let output = tidewire(&words);
        assert_eq!(code(&output), 0, "{command}");
        assert!(stdout(&output).contains("Example"), "{command}");
    }
}

#[test]
fn server_settings_that_make_no_sense_are_refused() {
    let file = document("name: node-1\ncoordinators: [http://127.0.0.1:1]\ncapacty: 3\n");
    let output = tidewire(&["node", "--config", file.path().to_str().expect("a path")]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("capacty"), "{}", stderr(&output));
    let output = tidewire(&["node", "--name", "node-1"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("--coordinators"), "{}", stderr(&output));
    let output = tidewire(&["coordinator", "--name", "c1"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("listen"), "{}", stderr(&output));
}

#[test]
fn the_cluster_is_told_as_the_contract_says() {
    let endpoint = format!("http://{}", coordinator::serve());
    let output = tidewire(&["cluster", "status", "-o", "json", "--endpoint", &endpoint]);
    let status: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("json");
    for key in ["clusterId", "leader", "term", "committedIndex", "members", "nodes", "tasks"] {
        assert!(!status[key].is_null(), "{key}");
    }
    assert_eq!(status["members"][0]["role"], "leader");
    assert_eq!(status["nodes"][0]["lastHeartbeatMs"], 0);
    let table = stdout(&tidewire(&["cluster", "status", "--endpoint", &endpoint]));
    assert!(table.contains("leader c1") && table.contains("1 Failed"), "{table}");
}
