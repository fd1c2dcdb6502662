//! `task logs -f`: a real follower sees what the task tells, over owners and leaders that go.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidewire_cluster_tests::faults::{kill_leader, kill_owner};
use tidewire_cluster_tests::{Scene, Subject as _, TASK, kafka};
use tidewire_testbed::cluster::{Cluster, binary};

const LIMIT: Duration = Duration::from_secs(60);

/// `tidewire task logs -f -o json`, left running.
struct Follower {
    process: Child,
    lines: Receiver<Value>,
    seen: Vec<Value>,
}

impl Follower {
    fn start(cluster: &Cluster) -> Self {
        let mut process = Command::new(binary().unwrap())
            .args(["task", "logs", TASK, "-f", "-o", "json"])
            .env("TIDEWIRE_ENDPOINT", cluster.endpoints.join(","))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = sync_channel(1_000);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { process, lines, seen: Vec::new() }
    }

    /// Waits for a further line that holds all of `words`.
    fn tells(&mut self, words: &[&str]) {
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no further line with {words:?}: {:#?}", self.seen)
            };
            let text = line.to_string();
            self.seen.push(line);
            if words.iter().all(|word| text.contains(word)) {
                return;
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn a_log_is_followed_over_owners_and_leaders_that_go() {
    let create = |client: &mut postgres::Client| {
        Ok(client.batch_execute("CREATE TABLE public.t (id int PRIMARY KEY, note text)")?)
    };
    let mut scene = Scene::on_tables("followed", 2, kafka(), &["public.t"], create).unwrap();
    let mut follower = Follower::start(&scene.cluster);
    let owner = scene.settled_owner().unwrap();
    follower.tells(&[&format!("assigned to {}", owner.name)]);
    follower.tells(&["streams from"]);

    kill_owner(&mut scene).unwrap();
    let next = scene.settled_owner().unwrap();
    assert_ne!(next.name, owner.name);
    follower.tells(&[&format!("assigned to {}", next.name)]);
    follower.tells(&["streams from"]);

    kill_leader(&mut scene).unwrap();
    scene.settled(None, LIMIT).unwrap();
    scene.cluster.done(&["task", "pause", TASK]).unwrap();
    follower.tells(&["stopped"]);
    scene.cluster.done(&["task", "resume", TASK]).unwrap();
    follower.tells(&["assigned to"]);
    follower.tells(&["streams from"]);
    assert!(follower.process.try_wait().unwrap().is_none(), "it goes on until it is stopped");

    let mut told: Vec<String> = follower.seen.iter().map(ToString::to_string).collect();
    let lines = told.len();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), lines, "each line once: {:#?}", follower.seen);
}
