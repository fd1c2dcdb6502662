//! Who belongs to the group: letting coordinators in, and replacing those that lost their disk.
//!
//! A newcomer gets the index of a log entry as its id, so that no id is ever given twice. It starts as a
//! learner; any leader promotes a learner that has caught up, and in the same change drops an
//! older member of the same name. Nothing has to be remembered between the two steps.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::ChangeMembers;
use tidewire_coordinator_core::{Command, CommandKind};

use super::handle::{Handle, MemberStatus, leads};
use super::types::{Member, MemberId, Metrics, Proposal};
use crate::clock;

/// A learner this close to the end of the log is promoted.
const LAG_MAX: u64 = 64;
/// How often the leader looks for learners to promote.
const PERIOD: Duration = Duration::from_millis(200);

/// Why a newcomer is not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// Only the leader lets anybody in; it is at this address if it is known.
    #[error("not the leader")]
    NotLeader(Option<String>),
    /// A coordinator of that name answers at another address.
    #[error("a coordinator named {name} is running at {address}")]
    NameTaken {
        /// The name.
        name: String,
        /// Where it runs.
        address: String,
    },
    /// The group could not decide in time; asking again is safe.
    #[error("the group did not decide: {0}")]
    Undecided(String),
}

impl Handle {
    /// Lets a coordinator in as a learner and answers its id.
    pub(crate) async fn admit(&self, member: Member) -> Result<MemberId, JoinError> {
        if self.leading().is_none() {
            return Err(JoinError::NotLeader(self.leader().map(|leader| leader.address)));
        }
        let taken = self.status().members.into_iter().find(|other: &MemberStatus| {
            other.name == member.name && other.address != member.address && other.healthy
        });
        if let Some(other) = taken {
            return Err(JoinError::NameTaken { name: other.name, address: other.address });
        }
        let undecided = |error: &dyn std::fmt::Display| JoinError::Undecided(error.to_string());
        let steps = async {
            let taken = self.raft.client_write(Proposal::TakeMemberId).await;
            let id = taken.map_err(|error| undecided(&error))?.log_id.index;
            let added = self.raft.add_learner(id, member, false).await;
            added.map_err(|error| undecided(&error))?;
            Ok(id)
        };
        let decided = tokio::time::timeout(self.propose_timeout, steps).await;
        decided.unwrap_or_else(|_| Err(undecided(&"no quorum in time")))
    }

    /// Runs while this coordinator lives; acts only while it leads.
    pub(crate) async fn keep_membership(self) {
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            period.tick().await;
            let metrics = self.raft.metrics().borrow().clone();
            if !leads(&metrics) {
                continue;
            }
            if self.state().cluster_id().is_none() {
                self.name_cluster().await;
            }
            if let Some((changes, retain)) = due(&metrics) {
                tracing::info!(?changes, "the members of the group change");
                let change = self.raft.change_membership(changes, retain);
                match tokio::time::timeout(self.propose_timeout, change).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "members could not be changed"),
                    Err(_) => tracing::warn!("members could not be changed in time"),
                }
            }
        }
    }

    async fn name_cluster(&self) {
        let cluster = self.identity.cluster.clone();
        let command = Command::internal(clock::wall_ms(), CommandKind::Bootstrap { cluster });
        if let Err(error) = self.propose(command).await {
            tracing::warn!(%error, "the cluster could not be named yet");
        }
    }
}

/// The next change of members, if one is due.
fn due(metrics: &Metrics) -> Option<(ChangeMembers<MemberId, Member>, bool)> {
    let membership = metrics.membership_config.membership();
    if membership.get_joint_config().len() > 1 {
        return None;
    }
    let voters: BTreeSet<MemberId> = membership.voter_ids().collect();
    let last = metrics.last_log_index?;
    let caught_up = |id: &MemberId| {
        let matched = metrics.replication.as_ref().and_then(|all| all.get(id).copied().flatten());
        matched.is_some_and(|log_id| last.saturating_sub(log_id.index) <= LAG_MAX)
    };
    let elder = |id: MemberId, member: &Member| -> BTreeSet<MemberId> {
        let same =
            membership.nodes().filter(|(other, node)| **other < id && node.name == member.name);
        same.map(|(other, _)| *other).collect()
    };
    let learners = membership.nodes().filter(|(id, _)| !voters.contains(id));
    for (id, member) in learners {
        let successor =
            membership.nodes().any(|(other, node)| other > id && node.name == member.name);
        if successor {
            return Some((ChangeMembers::RemoveNodes(BTreeSet::from([*id])), true));
        }
        if caught_up(id) {
            let mut next = &voters - &elder(*id, member);
            next.insert(*id);
            return Some((ChangeMembers::ReplaceAllVoters(next), false));
        }
    }
    None
}
