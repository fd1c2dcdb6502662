//! `tidewire dev`: a whole cluster on this machine, as child processes of this one.

mod child;
mod plan;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::child::Child;
use self::plan::Plan;
use super::cluster::status;
use crate::args::{DevArgs, Format};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{note, print, write};

/// What the cluster gets to come up.
const START: Duration = Duration::from_secs(60);
/// What one answer of a coordinator may take while the cluster comes up.
const ANSWER: Duration = Duration::from_secs(2);
/// What children get to stop before they are killed.
const STOP: Duration = Duration::from_secs(10);

/// The line that `--json` prints once all are up.
#[derive(Serialize)]
struct Up<'a> {
    endpoints: &'a [String],
    dir: &'a Path,
    coordinators: &'a [Child],
    nodes: &'a [Child],
}

pub(super) async fn run(args: DevArgs) -> Result<(), Failure> {
    let dir = directory(args.dir.clone())?;
    let plan = Plan::new(&args, &dir)?;
    plan.save()?;
    let mut signals = Signals::listen()?;
    let mut children = Vec::new();
    let outcome = live(&plan, &mut children, &args, &mut signals).await;
    stop(children).await;
    outcome
}

/// Everything between the first child and the wish to stop.
async fn live(
    plan: &Plan,
    children: &mut Vec<Child>,
    args: &DevArgs,
    signals: &mut Signals,
) -> Result<(), Failure> {
    for member in plan.members() {
        children.push(Child::start(member)?);
    }
    tokio::select! {
        up = wait_until_up(plan, children) => up?,
        () = signals.asked_to_stop() => return Ok(()),
    }
    announce(plan, children, args.json)?;
    let mut look = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            _ = look.tick() => report_exits(children),
            () = signals.asked_to_stop() => return Ok(()),
        }
    }
}

/// Says which children ended since the last look; the others go on.
fn report_exits(children: &mut [Child]) {
    for child in children {
        if let Some(how) = child.newly_ended() {
            note(&format!("{} ended: {how}; see {}", child.name, child.log.display()));
        }
    }
}

async fn wait_until_up(plan: &Plan, children: &mut [Child]) -> Result<(), Failure> {
    let deadline = Instant::now() + START;
    loop {
        if let Some(child) = children.iter_mut().find_map(Child::dead_on_arrival) {
            return Err(child);
        }
        let missing = match is_up(plan).await {
            Ok(None) => return Ok(()),
            Ok(Some(missing)) => missing,
            Err(failure) => failure.message,
        };
        if Instant::now() >= deadline {
            return Err(Failure::new(
                Exit::Failed,
                "failed",
                "cluster",
                format_args!("is not up in time: {missing}"),
            )
            .remedy(format!("see the logs in {}", plan.dir.display())));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What is still missing, by the word of every coordinator.
async fn is_up(plan: &Plan) -> Result<Option<String>, Failure> {
    for endpoint in &plan.endpoints {
        let client = Client::to(std::slice::from_ref(endpoint), ANSWER)?;
        let status = status(&client).await?;
        if status.leader.is_empty() {
            return Ok(Some(format!("{endpoint} knows no leader")));
        }
        if status.members.len() < plan.coordinators.len() {
            return Ok(Some(format!("{} coordinators joined", status.members.len())));
        }
        let ready = status.nodes.iter().filter(|node| node.state == "ready").count();
        if ready < plan.nodes.len() {
            return Ok(Some(format!("{ready} nodes registered")));
        }
    }
    Ok(None)
}

fn announce(plan: &Plan, children: &[Child], json: bool) -> Result<(), Failure> {
    let (coordinators, nodes) = children.split_at(plan.coordinators.len().min(children.len()));
    if json {
        let up = Up { endpoints: &plan.endpoints, dir: &plan.dir, coordinators, nodes };
        return print(Format::Json, &up, |_| String::new());
    }
    let list = |of: &[Child]| {
        let names: Vec<_> = of.iter().map(|it| format!("{} (pid {})", it.name, it.pid)).collect();
        names.join(", ")
    };
    write(&format!(
        "the cluster is up
  coordinators  {}
  nodes         {}
  data and logs {}

  export TIDEWIRE_ENDPOINT={}

Ctrl-C stops it",
        list(coordinators),
        list(nodes),
        plan.dir.display(),
        plan.endpoints.join(","),
    ))
}

/// Stops the nodes, which hand their shards over or commit, then the coordinators.
async fn stop(children: Vec<Child>) {
    let (nodes, coordinators): (Vec<_>, Vec<_>) =
        children.into_iter().partition(|child| child.is_node);
    for mut group in [nodes, coordinators] {
        for child in &group {
            child.terminate();
        }
        let deadline = tokio::time::Instant::now() + STOP;
        for child in &mut group {
            child.end_by(deadline).await;
        }
    }
}

/// The directory for data and logs, made when missing.
fn directory(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let dir = given.unwrap_or_else(|| {
        std::env::temp_dir().join(format!("tidewire-dev-{}", std::process::id()))
    });
    std::fs::create_dir_all(&dir).and_then(|()| dir.canonicalize()).map_err(|error| {
        Failure::new(Exit::Failed, "failed", format!("directory {}", dir.display()), error)
            .remedy("name another with --dir")
    })
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(Exit::Failed, "failed", "signals", error))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
