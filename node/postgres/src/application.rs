//! Who a session says it is: `tidewire/<cluster>/<task>/<shard>/e<epoch>` in `application_name`.
//!
//! A new owner of a slot recognises the session of an old owner by this name, so a name is never
//! truncated: PostgreSQL keeps 63 bytes, and a cut epoch would read as a lower one.

use tidewire_shared::{ClusterId, Epoch, Fault, FaultKind, ShardId};

/// What PostgreSQL keeps of an `application_name` (`NAMEDATALEN - 1`).
const LONGEST: usize = 63;

/// The owner of a shard, as its sessions on the source show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The cluster.
    pub cluster: ClusterId,
    /// The shard.
    pub shard: ShardId,
    /// The epoch under which the shard is owned.
    pub epoch: Epoch,
}

impl Application {
    /// The `application_name`.
    ///
    /// # Errors
    /// `Configuration` when it is longer than what PostgreSQL keeps.
    pub fn name(&self) -> Result<String, Fault> {
        let name = format!("tidewire/{}/{}/{}", self.cluster, self.shard, self.epoch);
        if name.len() <= LONGEST {
            return Ok(name);
        }
        let message = format!("its application_name would exceed {LONGEST} bytes");
        Err(Fault::new(FaultKind::Configuration, format!("shard {}", self.shard), message)
            .remedy("use a shorter cluster id"))
    }

    /// Reads a name back; `None` when it is not one of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('/');
        if parts.next()? != "tidewire" {
            return None;
        }
        let cluster = parts.next()?.parse().ok()?;
        let task = parts.next()?.parse().ok()?;
        let index = parts.next()?.parse().ok()?;
        let epoch = parts.next()?.strip_prefix('e')?.parse().ok()?;
        let shard = ShardId { task, index };
        parts.next().is_none().then_some(Self { cluster, shard, epoch: Epoch(epoch) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application(cluster: &str, task: &str, epoch: u64) -> Application {
        Application {
            cluster: cluster.parse().expect("cluster"),
            shard: ShardId { task: task.parse().expect("task"), index: 2 },
            epoch: Epoch(epoch),
        }
    }

    #[test]
    fn a_name_reads_back() {
        let ours = application("c1", "k3v9", 7);
        let name = ours.name().expect("name");
        assert_eq!(name, "tidewire/c1/k3v9/2/e7");
        assert_eq!(Application::parse(&name), Some(ours));
        for foreign in ["psql", "", "tidewire/c1/k3v9/2/7", "tidewire/c1/k3v9/2/e7/x"] {
            assert_eq!(Application::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_name_that_would_be_cut_is_refused() {
        let long = application("c123456789012345", "t123456789012345", u64::MAX);
        assert_eq!(long.name().expect_err("too long").kind, FaultKind::Configuration);
    }
}
