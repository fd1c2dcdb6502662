//! What the other rooms hold of Raft: propose, read, look who leads.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use openraft::ServerState;
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest, VoteResponse,
};
use tidewire_coordinator_core::{ClusterState, Command, Outcome, Rejection};
use tokio::sync::watch;

use super::identity::Identity;
use super::network::{Answers, InstallAnswer};
use super::types::{Applied, Member, MemberId, Metrics, Proposal, Raft, TypeConfig};
use crate::clock;

/// A coordinator that takes no connection within this does not answer.
const CONNECT: Duration = Duration::from_millis(500);

/// What a proposal ends in when it is not applied, or not known to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProposeError {
    /// Another coordinator leads, at this address if it is known. The command was not applied.
    #[error("not the leader")]
    NotLeader(Option<String>),
    /// The core refused it; the state is as before.
    #[error(transparent)]
    Rejected(Box<Rejection>),
    /// No answer in time: it may have been applied, or may still be.
    #[error("the outcome is unknown")]
    Unknown,
}

/// Why a linearizable read gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// Another coordinator leads, at this address if it is known.
    #[error("not the leader")]
    NotLeader(Option<String>),
    /// We lead, but no quorum confirms it.
    #[error("no quorum")]
    NoQuorum,
}

/// One coordinator of the group, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberStatus {
    pub(crate) id: MemberId,
    pub(crate) name: String,
    pub(crate) address: String,
    /// `leader`, `follower` or `learner`.
    pub(crate) role: &'static str,
    pub(crate) healthy: bool,
    /// Entries behind the leader.
    pub(crate) lag: u64,
}

/// The Raft group as one coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupStatus {
    /// Name of the leader; none: nobody is known to lead.
    pub(crate) leader: Option<String>,
    pub(crate) term: u64,
    pub(crate) committed_index: u64,
    pub(crate) members: Vec<MemberStatus>,
}

/// The other rooms' hold on Raft; cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(super) raft: Raft,
    pub(super) identity: Arc<Identity>,
    pub(super) state: watch::Receiver<Arc<ClusterState>>,
    pub(super) answers: Answers,
    /// The files under Raft, gone once they are closed.
    pub(super) files: Vec<Weak<redb::Database>>,
    /// How long a proposal waits before its outcome is called unknown.
    pub(super) propose_timeout: Duration,
    /// A member that did not answer for this long is not healthy.
    pub(super) answer_age_max: Duration,
}

/// What the files get to close.
const CLOSE: Duration = Duration::from_secs(2);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Handle {
    /// Puts a command into the log and answers what applying it gave.
    pub(crate) async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        let write = self.raft.client_write(Proposal::Command(Box::new(command)));
        let answer = tokio::time::timeout(self.propose_timeout, write).await;
        match answer {
            Ok(Ok(response)) => match response.data {
                Applied::Command(Ok(outcome)) => Ok(outcome),
                Applied::Command(Err(rejection)) => {
                    Err(ProposeError::Rejected(Box::new(rejection)))
                }
                Applied::Nothing => Err(ProposeError::Unknown),
            },
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(ProposeError::NotLeader(to.leader_node.map(|leader| leader.address)))
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(_))))
            | Ok(Err(RaftError::Fatal(_)))
            | Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// The state with everything in it that was acknowledged to anyone before this call.
    pub(crate) async fn read_linearizable(&self) -> Result<Arc<ClusterState>, ReadError> {
        let read = self.raft.ensure_linearizable();
        match tokio::time::timeout(self.propose_timeout, read).await {
            Ok(Ok(_)) => Ok(self.state()),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to)))) => {
                Err(ReadError::NotLeader(to.leader_node.map(|leader| leader.address)))
            }
            Ok(Err(_)) | Err(_) => Err(ReadError::NoQuorum),
        }
    }

    /// The newest state this coordinator has applied; may lag behind the leader's.
    pub(crate) fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state.borrow())
    }

    /// Changes with every applied entry.
    pub(crate) fn watch_state(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.state.clone()
    }

    /// Who this coordinator is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Changes whenever Raft's own view does.
    pub(crate) fn watch_raft(&self) -> watch::Receiver<Metrics> {
        self.raft.metrics()
    }

    /// Whether this coordinator believes to lead, and in which term.
    ///
    /// Only once it has applied an entry of its own term, and with it all that earlier leaders
    /// acknowledged: before that its state may be older than what nodes were told. And only once
    /// the cluster has its name.
    pub(crate) fn leading(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let applied = metrics.last_applied.map(|log_id| log_id.leader_id.term);
        let ready = applied == Some(metrics.current_term) && self.state().cluster_id().is_some();
        (leads(&metrics) && ready).then_some(metrics.current_term)
    }

    /// When the newest message was sent that a quorum has answered as our followers; none: never.
    ///
    /// Read from the answers themselves, by the clock that counts suspended time: a leader that was
    /// frozen sees at once how old its support is.
    pub(crate) fn quorum_acked_ms(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        if !leads(&metrics) {
            return None;
        }
        let acked = |id: &MemberId| {
            if *id == metrics.id { Some(clock::mono_ms()) } else { self.answers.followed_ms(*id) }
        };
        let majority = |voters: &BTreeSet<MemberId>| {
            let mut times: Vec<Option<u64>> = voters.iter().map(acked).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            times.get(voters.len() / 2).copied().flatten()
        };
        let configs = metrics.membership_config.membership().get_joint_config();
        configs.iter().map(majority).min().flatten()
    }

    /// The leader, if one is known.
    pub(crate) fn leader(&self) -> Option<Member> {
        leader_of(&self.raft.metrics().borrow()).map(|(_, member)| member)
    }

    /// How many members take a connection now, this one included, and how many there are.
    pub(crate) async fn answering(&self) -> (usize, usize) {
        let members = self.status().members;
        let others = members.iter().filter(|member| member.id != self.identity.id);
        let tries = others.map(|member| async {
            let connect = tokio::net::TcpStream::connect(&member.address);
            matches!(tokio::time::timeout(CONNECT, connect).await, Ok(Ok(_)))
        });
        let answered = futures::future::join_all(tries).await;
        (1 + answered.into_iter().filter(|answered| *answered).count(), members.len().max(1))
    }

    /// The group as this coordinator sees it. Health and lag are known to the leader only.
    pub(crate) fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let voters: Vec<MemberId> = metrics.membership_config.voter_ids().collect();
        let leader = leader_of(&metrics);
        let leader_id = leader.as_ref().map(|(id, _)| *id);
        let last = metrics.last_log_index.unwrap_or(0);
        let matched = |id: &MemberId| {
            let replication = metrics.replication.as_ref()?;
            Some(replication.get(id)?.as_ref().map_or(0, |log_id| log_id.index))
        };
        let members = metrics.membership_config.nodes().map(|(id, member)| MemberStatus {
            id: *id,
            name: member.name.clone(),
            address: member.address.clone(),
            role: match () {
                () if leader_id == Some(*id) => "leader",
                () if voters.contains(id) => "follower",
                () => "learner",
            },
            healthy: *id == metrics.id
                || self.answers.age(*id).is_some_and(|age| age < self.answer_age_max),
            lag: matched(id).map_or(0, |index| last.saturating_sub(index)),
        });
        GroupStatus {
            leader: leader.map(|(_, member)| member.name),
            term: metrics.current_term,
            committed_index: metrics.last_applied.map_or(0, |log_id| log_id.index),
            members: members.collect(),
        }
    }

    /// A message of the leader, from the network.
    pub(crate) async fn append_entries(
        &self,
        message: AppendEntriesRequest<TypeConfig>,
    ) -> Result<AppendEntriesResponse<MemberId>, RaftError<MemberId>> {
        self.raft.append_entries(message).await
    }

    /// A message of a candidate, from the network.
    pub(crate) async fn vote(
        &self,
        message: VoteRequest<MemberId>,
    ) -> Result<VoteResponse<MemberId>, RaftError<MemberId>> {
        self.raft.vote(message).await
    }

    /// A portion of a snapshot, from the network.
    pub(crate) async fn install_snapshot(
        &self,
        message: InstallSnapshotRequest<TypeConfig>,
    ) -> Result<InstallAnswer, Fatal<MemberId>> {
        match self.raft.install_snapshot(message).await {
            Ok(response) => Ok(Ok(response)),
            Err(RaftError::APIError(mismatch)) => Ok(Err(mismatch)),
            Err(RaftError::Fatal(fatal)) => Err(fatal),
        }
    }

    /// Resolves when Raft cannot go on, with the reason.
    pub(crate) async fn failed(&self) -> String {
        let mut metrics = self.raft.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_and_update().running_state {
                return fatal.to_string();
            }
            if metrics.changed().await.is_err() {
                return "raft stopped".to_owned();
            }
        }
    }

    /// Ends Raft and closes its files; nothing can be proposed or read any more.
    pub(crate) async fn shut_down(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not end cleanly");
        }
        let closed = async {
            while self.files.iter().any(|file| file.strong_count() > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(CLOSE, closed).await.is_err() {
            tracing::warn!("the files of the log were not closed in time; nothing is lost by that");
        }
    }
}

pub(super) fn leads(metrics: &Metrics) -> bool {
    metrics.state == ServerState::Leader && metrics.current_leader == Some(metrics.id)
}

fn leader_of(metrics: &Metrics) -> Option<(MemberId, Member)> {
    let id = metrics.current_leader?;
    let member = metrics.membership_config.membership().get_node(&id)?;
    Some((id, member.clone()))
}
