//! The leader's look at every alert, once a second.

use std::time::Duration;

use tidewire_coordinator_core::{AlertMove, Command, CommandKind, may_renew};

use crate::clock;
use crate::leader::Leader;

const PERIOD: Duration = Duration::from_secs(1);

impl Leader {
    /// Looks for as long as this coordinator runs; does nothing while it does not lead.
    pub(crate) async fn watch_alerts(self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let moves = self.alert_moves();
            if moves.is_empty() {
                continue;
            }
            for found in &moves {
                tracing::info!(task = %found.task, alert = %found.alert, step = ?found.step, "alert");
            }
            let kind = CommandKind::MoveAlerts { moves };
            // The next look comes after the answer, so that it sees what this one brought about. What
            // was not decided is found again.
            if let Err(error) =
                self.handle().propose(Command::internal(clock::wall_ms(), kind)).await
            {
                tracing::warn!(%error, "alerts were not noted");
            }
        }
    }

    fn alert_moves(&self) -> Vec<AlertMove> {
        if !self.leads() {
            return Vec::new();
        }
        let now = clock::now();
        // Without a quorum another leader may be at work, and nothing could be noted.
        if !may_renew(self.handle().quorum_acked_ms(), self.timing(), now.mono_ms) {
            return Vec::new();
        }
        let state = self.handle().state();
        let mut term = self.lock();
        let Some(term) = term.as_mut() else { return Vec::new() };
        let clear_ms = self.timing().alert_clear_ms;
        term.alerts.look(&state, (&term.observed, &term.idle_wal), now, clear_ms)
    }
}
