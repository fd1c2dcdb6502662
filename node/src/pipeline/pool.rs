//! Batches that go round: a stage returns what it emptied, so that steady flow allocates nothing.

use std::sync::{Arc, Mutex, PoisonError};

/// A few emptied values, shared by the stage that fills and the stage that drains them.
#[derive(Debug)]
pub(crate) struct Pool<T>(Arc<Mutex<Vec<T>>>);

/// More would never be used: one is filled, one waits in the mailbox, one is drained.
const KEPT: usize = 4;

impl<T> Pool<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Vec::with_capacity(KEPT))))
    }

    /// An emptied value, or a new one.
    pub(crate) fn take(&self, new: impl FnOnce() -> T) -> T {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(new)
    }

    /// Gives back a value that its user has emptied.
    pub(crate) fn give(&self, value: T) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(value);
        }
    }
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
