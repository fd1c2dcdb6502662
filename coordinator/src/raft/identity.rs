//! Who a coordinator is, kept on its disk.
//!
//! The id stands for the promises that this disk holds (votes, acknowledged entries). It is given by
//! the leader and never given again: a coordinator that comes back with an empty disk is a new member.

use serde::{Deserialize, Serialize};
use tidewire_shared::ClusterId;

use super::types::MemberId;

/// What a coordinator remembers about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its number in the Raft group.
    pub(crate) id: MemberId,
    /// The name it had when it was let in.
    pub(crate) name: String,
    /// The cluster it belongs to; messages of another one are refused.
    pub(crate) cluster: ClusterId,
}
