//! How a coordinator without a cluster comes to belong to one.
//!
//! Only one of the first coordinators makes a cluster; all others are let in by a leader, which gives
//! them an id that was never used. So a coordinator that lost its disk cannot act for its former self.

use std::time::Duration;

use tidewire_proto::convert::LEADER_METADATA;
use tidewire_proto::raft::v1::JoinRequest;
use tidewire_proto::raft::v1::raft_service_client::RaftServiceClient;
use tidewire_shared::{Fault, FaultKind};
use tonic::{Code, Status};

use crate::config::Config;
use crate::identity_text;
use crate::raft::Identity;
use crate::raft::network::channel;
use crate::raft::start::FIRST_ID;

/// Pause between rounds of asking.
const PAUSE: Duration = Duration::from_millis(150);
/// Time for one answer: the leader writes two log entries before it answers.
const ANSWER: Duration = Duration::from_secs(10);
/// Leaders named by others that are followed within one question.
const REDIRECTS_MAX: usize = 3;

/// What one address answered.
enum Answer {
    Admitted(Identity),
    /// It belongs to no cluster itself.
    NoCluster,
    /// Nobody there, or nobody who can decide now.
    NotNow,
}

/// Finds or makes the cluster that this coordinator shall belong to; waits as long as it takes.
///
/// # Errors
/// When nothing says which cluster, or the group refuses this coordinator for good.
pub(crate) async fn join_or_make(config: &Config, address: &str) -> Result<Identity, Fault> {
    if config.bootstrap {
        return make(config);
    }
    let others: Vec<&String> = if config.peers.is_empty() {
        config.join.iter().collect()
    } else {
        config.peers.iter().filter(|(name, _)| **name != config.name).map(|(_, at)| at).collect()
    };
    let first = config.peers.keys().next() == Some(&config.name);
    if others.is_empty() && !first {
        return Err(Fault::new(
            FaultKind::Configuration,
            format!("coordinator {}", config.name),
            "its data directory is empty, and nothing says which cluster it belongs to",
        )
        .remedy("give --bootstrap for a new cluster, or --join ADDRESS of a running coordinator"));
    }
    for round in 0_u64.. {
        let mut without_cluster = 0;
        for other in &others {
            match ask(config, address, other).await? {
                Answer::Admitted(identity) => return Ok(identity),
                Answer::NoCluster => without_cluster += 1,
                Answer::NotNow => {}
            }
        }
        if first && without_cluster == others.len() {
            return make(config);
        }
        if round % 40 == 39 {
            tracing::warn!(asked = ?others, "still waiting to be let into a cluster");
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Fault::new(FaultKind::Internal, "join", "gave up"))
}

fn make(config: &Config) -> Result<Identity, Fault> {
    let cluster = identity_text::random()
        .parse()
        .map_err(|error| Fault::new(FaultKind::Internal, "cluster id", error))?;
    tracing::info!(%cluster, "this coordinator makes a new cluster");
    Ok(Identity { id: FIRST_ID, name: config.name.clone(), cluster })
}

async fn ask(config: &Config, address: &str, other: &str) -> Result<Answer, Fault> {
    let mut at = other.to_owned();
    for _ in 0..REDIRECTS_MAX {
        let status = match request(config, address, &at).await {
            Ok(identity) => return Ok(Answer::Admitted(identity)),
            Err(status) => status,
        };
        match status.code() {
            Code::NotFound => return Ok(Answer::NoCluster),
            Code::AlreadyExists => {
                return Err(Fault::new(
                    FaultKind::Configuration,
                    format!("coordinator {}", config.name),
                    status.message(),
                )
                .remedy("choose another name, or stop the other coordinator first"));
            }
            _ => {}
        }
        let leader = status.metadata().get(LEADER_METADATA).and_then(|url| url.to_str().ok());
        match leader.and_then(|url| url.strip_prefix("http://")) {
            Some(leader) if leader != at => leader.clone_into(&mut at),
            Some(_) | None => {
                tracing::debug!(asked = at, %status, "not let in yet");
                return Ok(Answer::NotNow);
            }
        }
    }
    Ok(Answer::NotNow)
}

async fn request(config: &Config, address: &str, at: &str) -> Result<Identity, Status> {
    let channel = channel(at).map_err(|error| Status::unavailable(error.to_string()))?;
    let join = JoinRequest { address: address.to_owned(), name: config.name.clone() };
    let mut client = RaftServiceClient::new(channel);
    let answer = tokio::time::timeout(ANSWER, client.join(join)).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded("no answer"))??.into_inner();
    let cluster = answer.cluster_id.parse();
    let cluster = cluster.map_err(|_| Status::internal("answer without a cluster id"))?;
    Ok(Identity { id: answer.id, name: config.name.clone(), cluster })
}
