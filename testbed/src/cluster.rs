//! The `tidewire` binary, run as its users run it: a whole local cluster and its command line.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::guard::{Guard, Scratch};
use crate::json_lines::JsonLines;
use crate::process::{self, Process, Signal};

/// What to start.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Number of coordinators.
    pub coordinators: usize,
    /// Number of nodes.
    pub nodes: usize,
    /// The binary; none looks for it as [`binary`] does.
    pub binary: Option<PathBuf>,
    /// Environment of all processes, on top of ours.
    pub env: Vec<(String, String)>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { coordinators: 3, nodes: 2, binary: None, env: Vec::new() }
    }
}

/// A coordinator or a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// Its name in the cluster.
    pub name: String,
    /// Its process id at present.
    pub pid: u32,
}

/// What `tidewire dev --json` prints.
#[derive(Debug, Deserialize)]
struct Announcement {
    endpoints: Vec<String>,
    coordinators: Vec<Member>,
    nodes: Vec<Member>,
}

/// How a process was started, so that it can be started again.
#[derive(Clone, Debug)]
struct Launch {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
}

/// What a call of the command line gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliOutput {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A running cluster; all of it ends with its owner.
#[derive(Debug)]
pub struct Cluster {
    dev: Dev,
    restarted: Vec<Process>,
    launches: Vec<Launch>,
    /// The admin API's addresses.
    pub endpoints: Vec<String>,
    coordinators: Vec<Member>,
    nodes: Vec<Member>,
    binary: PathBuf,
    env: Vec<(String, String)>,
    folder: Scratch,
}

/// `tidewire dev`, stopped as a user stops it, and whatever of its children outlives it.
#[derive(Debug)]
struct Dev {
    lines: Option<JsonLines>,
    pid: u32,
    members: Vec<u32>,
    binary: PathBuf,
    _guard: Guard,
}

/// Stops a cluster whose owner ended without doing so.
fn guard(dev: u32, members: &[u32]) -> Result<Guard> {
    let pids: Vec<String> = std::iter::once(&dev).chain(members).map(ToString::to_string).collect();
    Guard::new("kill -CONT \"$@\"; kill -INT \"$1\"; sleep 1; kill -KILL \"$@\"", &pids)
}

impl Dev {
    fn detach(mut self) -> u32 {
        // The pipes stay open as long as we live: dropping them would kill the process.
        std::mem::forget(self.lines.take());
        self.pid
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let Some(lines) = self.lines.take() else { return };
        let ours =
            |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok() == Some(self.binary.clone());
        for pid in self.members.iter().filter(|pid| ours(**pid)) {
            // A stopped process would hold up the end of all.
            drop(process::signal(*pid, Signal::CONT));
        }
        if process::signal(self.pid, Signal::INT).is_ok() {
            let end = Instant::now() + STOP_GRACE;
            while process::alive(self.pid) && Instant::now() < end {
                thread::sleep(Duration::from_millis(20));
            }
        }
        drop(lines);
        for pid in self.members.iter().filter(|pid| ours(**pid)) {
            drop(process::signal(*pid, Signal::KILL));
        }
    }
}

const STOP_GRACE: Duration = Duration::from_secs(10);

/// The binary under test: `TIDEWIRE_BIN`, else the newer one of `target/debug` and `target/release`.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(binary) = env::var_os("TIDEWIRE_BIN") {
        return Ok(PathBuf::from(binary));
    }
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    ["debug", "release"]
        .iter()
        .map(|profile| target.join(profile).join("tidewire"))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| path)
        .ok_or_else(|| anyhow!("no tidewire binary: run `cargo build`, or set TIDEWIRE_BIN"))
}

impl Cluster {
    /// Starts coordinators and nodes; returns once all are up.
    ///
    /// # Errors
    /// When the binary is missing or the cluster does not come up.
    pub fn start(options: ClusterOptions) -> Result<Self> {
        let binary = options.binary.map_or_else(binary, Ok)?;
        let folder = Scratch::new("tidewire-cluster-")?;
        let log = folder.path().join("dev.log");
        let mut command = Command::new(&binary);
        command
            .args(["dev", "--json", "--dir"])
            .arg(folder.path().join("data"))
            .args(["--coordinators", &options.coordinators.to_string()])
            .args(["--nodes", &options.nodes.to_string()])
            .args(["--port", "0"])
            .envs(options.env.iter().cloned());
        let mut dev = JsonLines::spawn(&mut command, Some(&log))?;
        let announced = dev
            .next::<Announcement>()
            .and_then(|line| line.ok_or_else(|| anyhow!("`tidewire dev` ended without a word")));
        let announced = announced
            .with_context(|| format!("start a cluster\n{}", process::tail(&log, 3_000)))?;
        let launches = announced
            .coordinators
            .iter()
            .chain(&announced.nodes)
            .map(Launch::of)
            .collect::<Result<_>>()?;
        let members = announced.coordinators.iter().chain(&announced.nodes);
        let members: Vec<u32> = members.map(|member| member.pid).collect();
        let dev = Dev {
            _guard: guard(dev.pid(), &members)?,
            pid: dev.pid(),
            lines: Some(dev),
            members,
            binary: fs::canonicalize(&binary)?,
        };
        Ok(Self {
            dev,
            restarted: Vec::new(),
            launches,
            endpoints: announced.endpoints,
            coordinators: announced.coordinators,
            nodes: announced.nodes,
            binary,
            env: options.env,
            folder,
        })
    }

    /// The coordinators with their present pids.
    #[must_use]
    pub fn coordinators(&self) -> &[Member] {
        &self.coordinators
    }

    /// The nodes with their present pids.
    #[must_use]
    pub fn nodes(&self) -> &[Member] {
        &self.nodes
    }

    /// The process id of `tidewire dev`.
    #[must_use]
    pub fn dev_pid(&self) -> u32 {
        self.dev.pid
    }

    /// The folder of logs and data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How often the nodes have logged a line with this text.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn logged(&self, text: &str) -> Result<usize> {
        let logs = self.nodes.iter().flat_map(|node| {
            [format!("data/{}.log", node.name), format!("{}.restarted.log", node.name)]
        });
        let logs = logs.map(|log| self.folder().join(log)).filter(|log| log.exists());
        let counts = logs.map(|log| Ok(fs::read_to_string(log)?.matches(text).count()));
        counts.sum()
    }

    /// Runs `tidewire ARGS` against this cluster.
    ///
    /// # Errors
    /// When the binary cannot be started; what it answers stands in the output.
    pub fn cli(&self, arguments: &[&str]) -> Result<CliOutput> {
        let output = Command::new(&self.binary)
            .args(arguments)
            .env("TIDEWIRE_ENDPOINT", self.endpoints.join(","))
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .context("start tidewire")?;
        Ok(CliOutput {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).context("standard output")?,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs `tidewire ARGS` and returns its standard output.
    ///
    /// # Errors
    /// When it ends with another code than 0; the error holds its standard error.
    pub fn done(&self, arguments: &[&str]) -> Result<String> {
        let output = self.cli(arguments)?;
        let called = arguments.join(" ");
        ensure!(output.code == 0, "tidewire {called}: exit {}: {}", output.code, output.stderr);
        Ok(output.stdout)
    }

    /// Runs `tidewire ARGS -o json` and returns what it prints.
    ///
    /// # Errors
    /// As [`Cluster::done`]; also when that is not JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.done(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// Writes a document to a file of the cluster's folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn document(&self, name: &str, yaml: &str) -> Result<PathBuf> {
        let file = self.folder.path().join(format!("{name}.yaml"));
        fs::write(&file, yaml)?;
        Ok(file)
    }

    /// Applies a task's document, starts it, and waits until it runs.
    ///
    /// # Errors
    /// When the command fails: precheck included.
    pub fn apply_and_start(&self, yaml: &str) -> Result<()> {
        let file = self.document("task", yaml)?;
        let file = file.to_str().ok_or_else(|| anyhow!("the folder's name is not UTF-8"))?;
        self.done(&["task", "apply", "-f", file, "--start", "--wait", "--timeout", "60s"])?;
        Ok(())
    }

    /// Waits until a task is in a phase, or `caught-up`.
    ///
    /// # Errors
    /// When `limit` passes first.
    pub fn wait(&self, task: &str, awaited: &str, limit: Duration) -> Result<()> {
        let timeout = format!("{}s", limit.as_secs());
        self.done(&["task", "wait", task, "--for", awaited, "--timeout", &timeout]).map(drop)
    }

    /// The task as `task get -o json` shows it.
    ///
    /// # Errors
    /// As [`Cluster::json`].
    pub fn task(&self, name: &str) -> Result<Value> {
        self.json(&["task", "get", name])
    }

    /// The node that runs the first shard of a task.
    ///
    /// # Errors
    /// When no node runs it at present.
    pub fn owner(&self, task: &str) -> Result<Member> {
        let shown = self.task(task)?;
        let name = shown
            .pointer("/shards/0/node")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
            .ok_or_else(|| anyhow!("task {task} has no owner"))?;
        self.member(name)
    }

    /// The coordinator that leads.
    ///
    /// # Errors
    /// When there is none at present.
    pub fn leader(&self) -> Result<Member> {
        let status = self.json(&["cluster", "status"])?;
        let name = status.pointer("/leader").and_then(Value::as_str).unwrap_or_default();
        self.member(name).context("the cluster has no leader")
    }

    /// A member by name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn member(&self, name: &str) -> Result<Member> {
        self.coordinators
            .iter()
            .chain(&self.nodes)
            .find(|member| member.name == name)
            .cloned()
            .ok_or_else(|| anyhow!("no coordinator or node named {name:?}"))
    }

    /// Starts a node or coordinator again as it was started before; it must have ended.
    ///
    /// # Errors
    /// When it still runs or cannot be started.
    pub fn restart(&mut self, name: &str) -> Result<()> {
        let old = self.member(name)?;
        let end = Instant::now() + STOP_GRACE;
        while process::alive(old.pid) {
            ensure!(Instant::now() < end, "{name} still runs");
            thread::sleep(Duration::from_millis(10));
        }
        let launch = self.launches.iter().find(|launch| launch.name == name);
        let launch = launch.ok_or_else(|| anyhow!("{name} was not started by us"))?;
        let mut command = Command::new(&launch.program);
        command.args(&launch.arguments).current_dir(&launch.folder).envs(self.env.iter().cloned());
        let log = self.folder.path().join(format!("{name}.restarted.log"));
        let process = Process::spawn(name, &mut command, &log)?;
        let pid = process.pid();
        self.restarted.push(process);
        for member in self.coordinators.iter_mut().chain(&mut self.nodes) {
            if member.name == name {
                member.pid = pid;
            }
        }
        Ok(())
    }

    /// Keeps the cluster running without an owner: the pid to stop it by, and its folder.
    ///
    /// # Errors
    /// When members were restarted: `tidewire dev` would not stop those.
    pub fn detach(self) -> Result<(u32, PathBuf)> {
        if !self.restarted.is_empty() {
            bail!("restarted members cannot be left running");
        }
        Ok((self.dev.detach(), self.folder.keep()))
    }
}

impl Launch {
    /// Reads from the system how a running member was started.
    fn of(member: &Member) -> Result<Self> {
        let process = PathBuf::from(format!("/proc/{}", member.pid));
        let told = || format!("look at the process of {}", member.name);
        let line = fs::read(process.join("cmdline")).with_context(told)?;
        let arguments = line
            .split(|byte| *byte == 0)
            .skip(1)
            .map(|argument| String::from_utf8(argument.to_vec()))
            .collect::<Result<Vec<_>, _>>()?;
        // The line ends with a zero: the last piece is empty.
        let arguments = arguments.split_last().map(|(_, all)| all.to_vec()).unwrap_or_default();
        Ok(Self {
            name: member.name.clone(),
            program: fs::read_link(process.join("exe")).with_context(told)?,
            arguments,
            folder: fs::read_link(process.join("cwd")).with_context(told)?,
        })
    }
}
