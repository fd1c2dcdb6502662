//! One switch per pipeline: the first failure wins, and everything stops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidewire_shared::{Fault, FaultKind};
use tokio_util::sync::CancellationToken;

/// Shared by all stages of one pipeline, which die together.
#[derive(Clone, Debug)]
pub(crate) struct KillSwitch {
    token: CancellationToken,
    first: Arc<Mutex<Option<Fault>>>,
    rebuild: Arc<AtomicBool>,
}

impl KillSwitch {
    pub(crate) fn new() -> Self {
        Self { token: CancellationToken::new(), first: Arc::default(), rebuild: Arc::default() }
    }

    /// Stops the pipeline because of a failure. Only the first failure is kept: later ones are its echo.
    pub(crate) fn trip(&self, fault: Fault) {
        if !self.token.is_cancelled() {
            self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
        }
        self.token.cancel();
    }

    /// Stops the pipeline because someone asked for it.
    pub(crate) fn stop(&self) {
        self.token.cancel();
    }

    /// Stops the pipeline so that it is built anew at once: the task has other tables now.
    pub(crate) fn rebuild(&self) {
        if !self.token.is_cancelled() {
            self.rebuild.store(true, Ordering::Release);
        }
        self.token.cancel();
    }

    /// Whether the pipeline was stopped to be built anew.
    pub(crate) fn is_rebuilt(&self) -> bool {
        self.rebuild.load(Ordering::Acquire) && self.fault().is_none()
    }

    /// Resolves once the pipeline has to stop.
    pub(crate) async fn tripped(&self) {
        self.token.cancelled().await;
    }

    /// Whether the pipeline has to stop.
    pub(crate) fn is_tripped(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The failure that stopped the pipeline, if one did.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A guard that trips the switch when a stage vanishes without saying why: a panic.
    pub(crate) fn guard(&self, stage: &'static str) -> PanicGuard {
        PanicGuard { switch: self.clone(), stage }
    }
}

/// Dropped on every way out of a stage; harmless once the pipeline is stopping.
#[derive(Debug)]
pub(crate) struct PanicGuard {
    switch: KillSwitch,
    stage: &'static str,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        self.switch.trip(
            Fault::new(FaultKind::Internal, self.stage, "the stage ended without a reason")
                .remedy("look for a panic in the node's log and report it"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_the_one_that_is_told() {
        let switch = KillSwitch::new();
        switch.trip(Fault::new(FaultKind::Decode, "a", "first"));
        switch.trip(Fault::new(FaultKind::Encode, "b", "second"));
        assert_eq!(switch.fault().map(|f| f.object), Some("a".to_owned()));
    }

    #[test]
    fn a_stage_that_panics_stops_the_pipeline() {
        let switch = KillSwitch::new();
        let guard = switch.guard("decode");
        let outcome = std::thread::spawn(move || {
            let _held = guard;
            panic!("on purpose");
        })
        .join();
        assert!(outcome.is_err());
        assert!(switch.is_tripped());
        assert_eq!(switch.fault().map(|f| f.kind), Some(FaultKind::Internal));
    }
}
