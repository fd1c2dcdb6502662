//! Who is alive: arithmetic over the leader's monotonic milliseconds.
//!
//! A node is gone 1 s after its session closed (its process died), 3 s after it fell silent (a freeze, a
//! partition). A new leader heard nobody yet, so it gives every node 3 s. Being wrong costs a short
//! interruption, never data: the old owner is fenced in Kafka.

use tidewire_shared::NodeName;

use crate::command::DrainCause;
use crate::observed::{Observed, Session};
use crate::outcome::{Rejection, RejectionCode};
use crate::state::{ClusterState, Node};

/// The spans of the control plane, all in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often nodes send heartbeats.
    pub heartbeat_ms: u64,
    /// A node is gone this long after its session closed.
    pub gone_after_close_ms: u64,
    /// A node is gone this long after it was last heard.
    pub gone_after_silence_ms: u64,
    /// What a new leader, or one that was frozen itself, gives every node to come back.
    pub leader_grace_ms: u64,
    /// How long a node may believe in its assignments after an answered heartbeat was sent.
    pub lease_ms: u64,
    /// Leases are renewed only while a quorum answered the leader within this span.
    pub quorum_ms: u64,
    /// The leader was frozen itself when its ticks are this far apart.
    pub frozen_tick_ms: u64,
    /// The same directive or proposal is not repeated sooner.
    pub repeat_ms: u64,
    /// A revocation is not repeated sooner within one session: stopping cleanly takes its time.
    pub revoke_repeat_ms: u64,
    /// What the next owner gets to prepare before the old one is told to stop.
    pub prepare_ms: u64,
    /// A work order is given to another node after this.
    pub work_ms: u64,
    /// A node that owns nothing is forgotten after it was gone this long.
    pub forget_ms: u64,
    /// How often positions are folded into the log.
    pub fold_ms: u64,
    /// How often they are where tasks deliver at_least_once.
    pub keep_ms: u64,
    /// Nothing fences the owner of an at_least_once shard but its lease: it is gone this long after
    /// it was last heard, or after this leader began.
    pub reassign_ms: u64,
    /// A firing alert is over once its condition was away for at least this.
    pub alert_clear_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 500,
            gone_after_close_ms: 1_000,
            gone_after_silence_ms: 3_000,
            leader_grace_ms: 3_000,
            lease_ms: 4_500,
            quorum_ms: 2_000,
            frozen_tick_ms: 1_000,
            repeat_ms: 500,
            revoke_repeat_ms: 5_000,
            prepare_ms: 300,
            work_ms: 120_000,
            forget_ms: 600_000,
            fold_ms: 10_000,
            keep_ms: 1_000,
            reassign_ms: 7_000,
            alert_clear_ms: 60_000,
        }
    }
}

/// How a node stands with the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Heard in time.
    Live,
    /// Not heard in time; may come back.
    Silent,
    /// Its shards go elsewhere.
    Gone,
}

/// How a node stands at `now_ms` by what was heard of it.
#[must_use]
pub fn standing(
    session: Option<&Session>,
    grace_from_ms: u64,
    timing: &Timing,
    now_ms: u64,
) -> Standing {
    let since = |then: u64| now_ms.saturating_sub(then);
    let grace = since(grace_from_ms) < timing.leader_grace_ms;
    let Some(session) = session else {
        return if grace { Standing::Silent } else { Standing::Gone };
    };
    if let Some(closed_ms) = session.closed_ms {
        let gone = since(closed_ms) >= timing.gone_after_close_ms;
        return if gone { Standing::Gone } else { Standing::Silent };
    }
    let silence = since(session.heard_ms);
    if silence >= timing.gone_after_silence_ms && !grace {
        Standing::Gone
    } else if silence >= timing.heartbeat_ms.saturating_mul(3) {
        Standing::Silent
    } else {
        Standing::Live
    }
}

/// Whether the lease of a process has surely ended, so that what nobody fences may go elsewhere.
///
/// What was heard of another process under the name says nothing about this one, except that it
/// was not heard since.
#[must_use]
pub fn lease_is_over(
    session: Option<&Session>,
    instance: u64,
    grace_from_ms: u64,
    timing: &Timing,
    now_ms: u64,
) -> bool {
    let heard_ms = match session {
        Some(session) if session.instance == instance => session.heard_ms,
        Some(session) => session.opened_ms,
        None => grace_from_ms,
    };
    now_ms.saturating_sub(heard_ms) >= timing.reassign_ms
}

/// Whether the leader may renew leases: only while it is backed by a quorum.
///
/// `quorum_acked_ms` is when the newest message was sent that a quorum has answered.
#[must_use]
pub fn may_renew(quorum_acked_ms: Option<u64>, timing: &Timing, now_ms: u64) -> bool {
    quorum_acked_ms.is_some_and(|acked| now_ms.saturating_sub(acked) < timing.quorum_ms)
}

/// Whether a process may register under this name: one process at a time may use it.
///
/// # Errors
///
/// [`RejectionCode::AlreadyExists`] while another process is heard under the name.
pub fn admit(
    observed: &Observed,
    name: &NodeName,
    instance: u64,
    now_ms: u64,
) -> Result<(), Rejection> {
    let other_is_here = observed.session(name).is_some_and(|session| {
        session.instance != instance
            && session.closed_ms.is_none()
            && observed.standing(name, now_ms) != Standing::Gone
    });
    if other_is_here {
        let message = "another process is running under this name; stop it or choose another name";
        return Err(Rejection::new(
            RejectionCode::AlreadyExists,
            format_args!("node {name}"),
            message,
        ));
    }
    Ok(())
}

/// A node as lists show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Takes shards.
    Ready,
    /// Not heard in time.
    Silent,
    /// Its shards are moving away.
    Draining,
    /// Empty, and takes nothing.
    Drained,
    /// Away.
    Gone,
}

impl NodeState {
    /// The word that clients see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Silent => "silent",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Gone => "gone",
        }
    }
}

/// How a node is shown.
#[must_use]
pub fn node_state(
    state: &ClusterState,
    observed: &Observed,
    node: &Node,
    now_ms: u64,
) -> NodeState {
    match (observed.standing(node.name(), now_ms), node.drain()) {
        (Standing::Gone, _) => NodeState::Gone,
        (Standing::Silent, _) => NodeState::Silent,
        (Standing::Live, None) => NodeState::Ready,
        (Standing::Live, Some(DrainCause::Asked | DrainCause::Leaving)) => {
            if state.load_of(node.name()) == 0 { NodeState::Drained } else { NodeState::Draining }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(heard_ms: u64, closed_ms: Option<u64>) -> Session {
        Session { instance: 1, opened_ms: 0, closed_ms, heard_ms, shards: None }
    }

    fn stands(session: Option<&Session>, now_ms: u64) -> Standing {
        standing(session, 0, &Timing::default(), now_ms)
    }

    #[test]
    fn a_closed_session_is_gone_after_one_second() {
        let closed = session(10_000, Some(10_000));
        assert_eq!(stands(Some(&closed), 10_999), Standing::Silent);
        assert_eq!(stands(Some(&closed), 11_000), Standing::Gone);
    }

    #[test]
    fn a_silent_session_is_gone_after_three_seconds() {
        let silent = session(10_000, None);
        assert_eq!(stands(Some(&silent), 11_499), Standing::Live);
        assert_eq!(stands(Some(&silent), 12_999), Standing::Silent);
        assert_eq!(stands(Some(&silent), 13_000), Standing::Gone);
    }

    #[test]
    fn a_new_leader_gives_every_node_three_seconds() {
        assert_eq!(stands(None, 2_999), Standing::Silent);
        assert_eq!(stands(None, 3_000), Standing::Gone);
    }

    #[test]
    fn a_clock_that_stands_still_or_runs_back_declares_nobody_gone() {
        assert_eq!(stands(Some(&session(10_000, None)), 9_000), Standing::Live);
        assert_eq!(stands(Some(&session(10_000, Some(10_000))), 9_000), Standing::Silent);
    }

    #[test]
    fn an_unfenced_owner_keeps_its_shard_for_a_whole_lease() {
        let timing = Timing::default();
        let over = |session: Option<&Session>, instance, now_ms| {
            lease_is_over(session, instance, 1_000, &timing, now_ms)
        };
        let closed = session(10_000, Some(10_000));
        assert!(!over(Some(&closed), 1, 16_999) && over(Some(&closed), 1, 17_000));
        // Another process under its name: nothing is known since that one came.
        let other = Session { opened_ms: 12_000, ..session(30_000, None) };
        assert!(!over(Some(&other), 2, 18_999) && over(Some(&other), 2, 19_000));
        // A new leader has heard nobody yet.
        assert!(!over(None, 1, 7_999) && over(None, 1, 8_000));
    }

    #[test]
    fn leases_end_with_the_quorum() {
        let timing = Timing::default();
        assert!(may_renew(Some(10_000), &timing, 11_999));
        assert!(!may_renew(Some(10_000), &timing, 12_000));
        assert!(!may_renew(None, &timing, 0));
    }
}
