//! The leader's part: what is done while, and only while, this coordinator leads.
//!
//! One [`Term`] holds everything the leader sees; it is empty when a term begins and forgotten when it
//! ends, with every open session. What to do is decided in the core (`reconcile`); here actions are
//! carried out: proposals go to Raft, directives into sessions, orders into work streams.
//!
//! ```text
//!   heartbeats, releases ─► Term.observed ─┐
//!   state (watch) ────────────────────────►├─ reconcile (core) ─► proposals │ directives │ orders
//!   clock, quorum ────────────────────────►┘
//! ```

mod dispatch;
mod idle_wal;
mod indicators;
mod neighbours;
mod observation;
mod rounds;
mod session;
mod task_log;
mod term;
mod work;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewire_coordinator_core::Timing;
use tidewire_shared::NodeName;
use tokio::sync::Notify;

pub(crate) use observation::wire_hint;
pub(crate) use session::{OpenError, SessionKey};
pub(crate) use task_log::TaskLogs;
pub(crate) use term::Term;
pub(crate) use work::WorkError;

use crate::raft::Handle;

/// The leader's desk; cheap to clone. Empty while this coordinator does not lead.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    handle: Handle,
    timing: Timing,
    term: Arc<Mutex<Option<Term>>>,
    /// Something happened that the next round should not wait for.
    bell: Arc<Notify>,
    logs: Arc<TaskLogs>,
    /// Who asks through this copy of the desk, by their own claim.
    caller: Arc<str>,
}

impl Leader {
    /// A desk at which nobody sits yet; [`Leader::run`] does the work.
    pub(crate) fn new(handle: Handle, timing: Timing) -> Self {
        Self {
            handle,
            timing,
            term: Arc::default(),
            bell: Arc::default(),
            logs: Arc::default(),
            caller: Arc::default(),
        }
    }

    /// The desk as this caller uses it.
    pub(crate) fn on_behalf_of(&self, caller: &str) -> Self {
        Self { caller: Arc::from(caller), ..self.clone() }
    }

    /// Who asks, by their own claim; empty: nobody said.
    pub(crate) fn caller(&self) -> &str {
        &self.caller
    }

    /// What the shards told.
    pub(crate) fn logs(&self) -> &TaskLogs {
        &self.logs
    }

    /// Whether a process of this node has an open session here.
    pub(crate) fn hears(&self, node: &NodeName) -> bool {
        let term = self.lock();
        let session = term.as_ref().and_then(|term| term.observed.session(node));
        session.is_some_and(|session| session.closed_ms.is_none())
    }

    /// Raft, on which all of this stands.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The spans in use.
    pub(crate) fn timing(&self) -> &Timing {
        &self.timing
    }

    /// What the leader sees; `None` inside while this coordinator does not lead.
    ///
    /// Held for moments only, never while waiting.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Term>> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this coordinator leads and has begun to work.
    pub(crate) fn leads(&self) -> bool {
        self.handle.leading().is_some() && self.lock().is_some()
    }

    fn ring(&self) {
        self.bell.notify_one();
    }
}
