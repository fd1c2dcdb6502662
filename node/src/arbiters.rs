//! The threads on which stages run, shared by all shards of the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::prelude::{Arbiter, ArbiterHandle};

/// A fixed set of arbiters, handed out in turn; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Arbiters(Arc<Set>);

#[derive(Debug)]
struct Set {
    arbiters: Vec<Arbiter>,
    next: AtomicUsize,
}

impl Arbiters {
    /// Two per core: a shard takes two neighbours, and a hot shard can use two cores.
    pub(crate) fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let arbiters = (0..cores * 2).map(|_| Arbiter::new()).collect();
        Self(Arc::new(Set { arbiters, next: AtomicUsize::new(0) }))
    }

    pub(crate) fn next(&self) -> ArbiterHandle {
        let turn = self.0.next.fetch_add(1, Ordering::Relaxed);
        match self.0.arbiters.get(turn % self.0.arbiters.len().max(1)) {
            Some(arbiter) => arbiter.handle(),
            None => Arbiter::current(),
        }
    }
}
