//! The leader's rounds: look at everything, ask the core what is due, carry it out.

use std::time::Duration;

use tidewire_coordinator_core::{Command, may_renew, reconcile};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Leader;
use super::dispatch::dispatch;
use super::term::Term;
use crate::clock;
use crate::raft::ProposeError;

/// A round at least this often.
const PERIOD: Duration = Duration::from_millis(100);
/// And at most this often, however much happens.
const PAUSE: Duration = Duration::from_millis(5);

impl Leader {
    /// Works whenever this coordinator leads; runs until it is dropped.
    pub(crate) async fn run(self) {
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut state = self.handle.watch_state();
        let mut raft = self.handle.watch_raft();
        // Commands of one round that the log has not decided; the next round proposes nothing
        // before these are, because it would find the same still due.
        let mut undecided: JoinSet<()> = JoinSet::new();
        loop {
            let open = tokio::select! {
                _ = period.tick() => true,
                () = self.bell.notified() => true,
                changed = state.changed() => changed.is_ok(),
                changed = raft.changed() => changed.is_ok(),
                Some(_) = undecided.join_next() => true,
            };
            if !open {
                return self.resign();
            }
            while undecided.try_join_next().is_some() {}
            for command in self.round(undecided.is_empty()) {
                let leader = self.clone();
                undecided.spawn(async move { leader.carry(command).await });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends every session; nodes then look for the leader again.
    pub(crate) fn resign(&self) {
        *self.lock() = None;
    }

    fn round(&self, may_propose: bool) -> Vec<Command> {
        let leading = self.handle.leading();
        let acked_ms = self.handle.quorum_acked_ms();
        let state = self.handle.state();
        let now = clock::now();
        let mut guard = self.lock();
        let Some(number) = leading else {
            if guard.take().is_some() {
                tracing::info!("this coordinator leads no longer");
            }
            return Vec::new();
        };
        if guard.as_ref().is_none_or(|term| term.number != number) {
            tracing::info!(term = number, "this coordinator leads");
            *guard = Some(Term::new(number, self.timing, now.mono_ms));
        }
        let Some(term) = guard.as_mut() else { return Vec::new() };
        term.observed.ticked(&state, now.mono_ms);
        term.reports.retain(|node, _| state.node(node).is_some());
        // Without a quorum another leader may be at work: what we know may be old.
        if !may_renew(acked_ms, &self.timing, now.mono_ms) {
            return Vec::new();
        }
        let actions = reconcile(&state, &term.observed, now);
        dispatch(term, &state, actions, may_propose, now.mono_ms)
    }

    async fn carry(&self, command: Command) {
        match self.handle.propose(command).await {
            Ok(outcome) => tracing::debug!(?outcome, "applied"),
            // The state moved on since the core looked; it will look again.
            Err(ProposeError::Rejected(rejection)) => tracing::debug!(%rejection, "not applied"),
            Err(error) => tracing::warn!(%error, "a proposal was not decided"),
        }
    }
}
