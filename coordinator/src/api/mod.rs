//! The three gRPC services and what they share: where this coordinator stands, and how errors are told.

pub(crate) mod admin;
mod alert;
mod connection;
mod error;
mod life;
pub(crate) mod node;
pub(crate) mod raft;
mod relay;
mod rewind;
mod view;
mod waive;

use tokio::sync::watch;
use tonic::Status;

use crate::leader::Leader;

/// Where this coordinator stands between its start and its membership.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Its disk is being read.
    Opening,
    /// It belongs to no cluster yet.
    Homeless,
    /// It is a member.
    Member(Box<Leader>),
}

/// The services' way to the rest of the coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Door(watch::Receiver<Place>);

impl Door {
    /// A door that opens as `place` changes.
    pub(crate) fn new(place: watch::Receiver<Place>) -> Self {
        Self(place)
    }

    /// Where this coordinator stands now.
    pub(crate) fn place(&self) -> Place {
        self.0.borrow().clone()
    }

    /// The leader's desk of this coordinator, whether it leads or not.
    pub(crate) fn leader(&self) -> Result<Leader, Status> {
        match self.place() {
            Place::Member(leader) => Ok(*leader),
            Place::Opening => {
                Err(error::unavailable("coordinator", "it is still reading its disk", "ask again"))
            }
            Place::Homeless => Err(error::unavailable(
                "coordinator",
                "it belongs to no cluster yet",
                "wait until it was let in, or look at its log",
            )),
        }
    }
}
