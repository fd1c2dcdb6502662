//! Which processes make the cluster, and how each is started.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::DevArgs;
use crate::failure::{Exit, Failure};

/// The cluster before it runs. `DIR/dev.json` holds it, so that a killed child can be started again.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    pub(super) endpoints: Vec<String>,
    pub(super) dir: PathBuf,
    pub(super) coordinators: Vec<Member>,
    pub(super) nodes: Vec<Member>,
}

/// One process of the cluster.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Member {
    pub(super) name: String,
    /// Program and arguments.
    pub(super) command: Vec<String>,
    /// Where its stdout and stderr go.
    pub(super) log: PathBuf,
    #[serde(skip)]
    pub(super) is_node: bool,
}

impl Plan {
    pub(super) fn new(args: &DevArgs, dir: &Path) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Exit::Failed, "failed", "program", error))?;
        let program = program.to_string_lossy().into_owned();
        let ports = ports(args.port, args.coordinators)?;
        let addresses: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let endpoints: Vec<_> =
            addresses.iter().map(|address| format!("http://{address}")).collect();
        let named = || (1_u16..).zip(&addresses).map(|(number, at)| (format!("c{number}"), at));
        let peers: Vec<_> = named().map(|(name, address)| format!("{name}={address}")).collect();
        let coordinators = named().map(|(name, address)| {
            let data = dir.join(&name).to_string_lossy().into_owned();
            let arguments = [
                "--name",
                &name,
                "--listen",
                address,
                "--data-dir",
                &data,
                "--peers",
                &peers.join(","),
            ];
            Member::new(&program, "coordinator", &name, dir, &arguments)
        });
        let coordinators = coordinators.collect();
        let nodes = (1..=args.nodes).map(|number| {
            let name = format!("node-{number}");
            let endpoints = endpoints.join(",");
            let arguments = ["--name", &name, "--coordinators", &endpoints, "--drain", "5s"];
            Member::new(&program, "node", &name, dir, &arguments)
        });
        let nodes = nodes.collect();
        Ok(Self { endpoints, dir: dir.to_path_buf(), coordinators, nodes })
    }

    /// Every process, in the order of a start.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.coordinators.iter().chain(&self.nodes)
    }

    /// Writes `DIR/dev.json`.
    pub(super) fn save(&self) -> Result<(), Failure> {
        let path = self.dir.join("dev.json");
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other);
        text.and_then(|text| std::fs::write(&path, text)).map_err(|error| {
            Failure::new(Exit::Failed, "failed", path.display().to_string(), error)
                .remedy("make room, or name another directory with --dir")
        })
    }
}

impl Member {
    fn new(program: &str, kind: &str, name: &str, dir: &Path, arguments: &[&str]) -> Self {
        let words = [program, kind].into_iter().chain(arguments.iter().copied());
        Self {
            name: name.to_owned(),
            command: words.map(str::to_owned).collect(),
            log: dir.join(format!("{name}.log")),
            is_node: kind == "node",
        }
    }
}

/// `count` ports from `first` up, all free right now; from 0: whichever are free.
fn ports(first: u16, count: u16) -> Result<Vec<u16>, Failure> {
    // All are held until the last is chosen, so that none is chosen twice.
    let mut held = Vec::new();
    for place in 0..count {
        let wanted = if first == 0 { 0 } else { first.saturating_add(place) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).and_then(|listener| {
            let port = listener.local_addr()?.port();
            Ok((listener, port))
        });
        held.push(listener.map_err(|error| {
            Failure::new(Exit::Failed, "failed", format!("port {wanted}"), error)
                .remedy("name another with --port; 0 takes free ones")
        })?);
    }
    Ok(held.into_iter().map(|(_, port)| port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(port: u16) -> DevArgs {
        DevArgs { dir: None, coordinators: 3, nodes: 2, port, json: false }
    }

    #[test]
    fn a_plan_names_every_process_and_how_to_start_it_by_hand() {
        let plan = Plan::new(&args(0), Path::new("/data")).expect("a plan");
        let names: Vec<_> = plan.members().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["c1", "c2", "c3", "node-1", "node-2"]);
        let started = plan.coordinators[1].command.join(" ");
        assert!(started.contains(" coordinator --name c2 --listen 127.0.0.1:"), "{started}");
        assert!(
            plan.members().all(|member| !member.command.contains(&"--exit-with-parent".into()))
        );
        assert_eq!(plan.endpoints.len(), 3);
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let failure = Plan::new(&args(port), Path::new("/data")).expect_err("it is taken");
        assert_eq!(failure.object, format!("port {port}"));
    }
}
