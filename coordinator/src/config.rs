//! Everything a coordinator is told, as flags or in a file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidewire_coordinator_core::Timing;
use tidewire_shared::{Fault, FaultKind, NodeName, Period};

/// Configuration of one coordinator. In a file the keys are written in camelCase; unknown ones are errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Its name, unique in the group: 1 to 64 characters a-z, 0-9 and - inside.
    pub name: String,
    /// `host:port` to listen on, for everybody; port 0 takes a free one.
    pub listen: String,
    /// `host:port` where the others reach it; what it listens on unless given.
    #[serde(default)]
    pub advertise: Option<String>,
    /// Directory of its own for log and state; made when missing.
    pub data_dir: PathBuf,
    /// Start a new cluster, alone. Without effect once the directory holds a cluster.
    #[serde(default)]
    pub bootstrap: bool,
    /// `host:port` of coordinators to ask for admission. Without effect once admitted.
    #[serde(default)]
    pub join: Vec<String>,
    /// Name and `host:port` of all first coordinators, this one included, which start at about the
    /// same time: the lexically first makes the cluster once all others said that they hold none,
    /// the others join it. Without effect once the directory holds a cluster.
    #[serde(default)]
    pub peers: BTreeMap<String, String>,
    /// Spans of the control plane.
    #[serde(default)]
    pub timing: Spans,
}

/// Spans of the control plane; the defaults fit a network without trouble and shared machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spans {
    /// How often the Raft leader is heard.
    pub raft_heartbeat: Period,
    /// A follower that heard no leader stands for election after at least this.
    pub election_min: Period,
    /// And at most this.
    pub election_max: Period,
    /// A write that is not decided after this has an unknown outcome.
    pub propose_timeout: Period,
    /// How often nodes send heartbeats.
    pub heartbeat: Period,
    /// A node is gone this long after its session closed.
    pub gone_after_close: Period,
    /// A node is gone this long after it was last heard.
    pub gone_after_silence: Period,
    /// What a new leader gives every node to come back.
    pub leader_grace: Period,
    /// How long a node may believe in its assignments after an answered heartbeat was sent.
    pub lease: Period,
    /// Leases are renewed only while a quorum answered the leader within this.
    pub quorum: Period,
    /// What the next owner of a shard gets to prepare before the old one is told to stop.
    pub prepare: Period,
    /// A precheck or clean-up is given to another node after this.
    pub work: Period,
    /// A node without shards is forgotten after it was gone this long.
    pub forget: Period,
    /// How often positions are folded into the log.
    pub fold: Period,
    /// A firing alert is over once its condition was away for at least this.
    pub alert_clear: Period,
}

impl Default for Spans {
    fn default() -> Self {
        let core = Timing::default();
        Self {
            raft_heartbeat: Period(250),
            election_min: Period(1_000),
            election_max: Period(2_000),
            propose_timeout: Period(5_000),
            heartbeat: Period(core.heartbeat_ms),
            gone_after_close: Period(core.gone_after_close_ms),
            gone_after_silence: Period(core.gone_after_silence_ms),
            leader_grace: Period(core.leader_grace_ms),
            lease: Period(core.lease_ms),
            quorum: Period(core.quorum_ms),
            prepare: Period(core.prepare_ms),
            work: Period(core.work_ms),
            forget: Period(core.forget_ms),
            fold: Period(core.fold_ms),
            alert_clear: Period(core.alert_clear_ms),
        }
    }
}

impl Spans {
    /// The spans as the core reckons with them.
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            heartbeat_ms: self.heartbeat.0,
            gone_after_close_ms: self.gone_after_close.0,
            gone_after_silence_ms: self.gone_after_silence.0,
            leader_grace_ms: self.leader_grace.0,
            lease_ms: self.lease.0,
            quorum_ms: self.quorum.0,
            prepare_ms: self.prepare.0,
            work_ms: self.work.0,
            forget_ms: self.forget.0,
            fold_ms: self.fold.0,
            alert_clear_ms: self.alert_clear.0,
            ..Timing::default()
        }
    }
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the first setting that makes no sense, and what to write instead.
    pub fn validate(&self) -> Result<(), Fault> {
        let bad = |setting: &str, message: String, remedy: &str| {
            Err(Fault::new(FaultKind::Configuration, setting, message).remedy(remedy))
        };
        if let Err(error) = self.name.parse::<NodeName>() {
            return bad("name", error.to_string(), "choose a name like c1");
        }
        let ways = [self.bootstrap, !self.join.is_empty(), !self.peers.is_empty()];
        if ways.into_iter().filter(|given| *given).count() > 1 {
            return bad(
                "bootstrap, join, peers",
                "more than one is given".to_owned(),
                "give exactly one of them",
            );
        }
        if !self.peers.is_empty() && !self.peers.contains_key(&self.name) {
            let message = format!("this coordinator, {}, is not among them", self.name);
            return bad("peers", message, "list all coordinators, this one included");
        }
        let addresses = self.join.iter().chain(self.peers.values()).chain(self.advertise.iter());
        for address in addresses.chain([&self.listen]) {
            if !is_host_and_port(address) {
                let message = format!("`{address}` is not an address");
                return bad("address", message, "write it as host:port, like 127.0.0.1:7400");
            }
        }
        let spans = &self.timing;
        if spans.raft_heartbeat.0 == 0
            || spans.election_min <= spans.raft_heartbeat
            || spans.election_max <= spans.election_min
        {
            return bad(
                "timing",
                "raftHeartbeat < electionMin < electionMax does not hold".to_owned(),
                "leave them out to use 250ms, 1s and 2s",
            );
        }
        if spans.heartbeat.0 == 0 || spans.lease <= spans.heartbeat {
            return bad(
                "timing",
                "0 < heartbeat < lease does not hold".to_owned(),
                "leave them out to use 500ms and 4500ms",
            );
        }
        Ok(())
    }
}

fn is_host_and_port(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            name: "c1".to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            advertise: None,
            data_dir: PathBuf::from("/nowhere"),
            bootstrap: true,
            join: Vec::new(),
            peers: BTreeMap::new(),
            timing: Spans::default(),
        }
    }

    #[test]
    fn a_sound_configuration_passes() {
        config().validate().expect("sound");
    }

    #[test]
    fn contradictions_are_named() {
        let both = Config { join: vec!["c2:7400".to_owned()], ..config() };
        assert_eq!(both.validate().expect_err("both").object, "bootstrap, join, peers");
        let bad_name = Config { name: "C 1".to_owned(), ..config() };
        assert_eq!(bad_name.validate().expect_err("name").object, "name");
        let no_port = Config { listen: "localhost".to_owned(), ..config() };
        assert_eq!(no_port.validate().expect_err("port").object, "address");
        let peers = BTreeMap::from([("c2".to_owned(), "c2:7400".to_owned())]);
        let stranger = Config { bootstrap: false, peers, ..config() };
        assert_eq!(stranger.validate().expect_err("stranger").object, "peers");
        let mut hasty = config();
        hasty.timing.election_min = Period(100);
        assert_eq!(hasty.validate().expect_err("hasty").object, "timing");
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let text = r#"{"name":"c1","listen":"a:1","dataDir":"/d","boostrap":true}"#;
        assert!(serde_json::from_str::<Config>(text).is_err());
        let text = r#"{"name":"c1","listen":"a:1","dataDir":"/d","timing":{"lease":"6s"}}"#;
        let config: Config = serde_json::from_str(text).expect("config");
        assert_eq!(config.timing.lease, Period(6_000));
        assert_eq!(config.timing.fold, Period(10_000));
    }
}
