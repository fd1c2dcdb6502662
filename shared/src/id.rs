//! Names and identities.
//!
//! A *name* is what people choose and may use again; an *identity* is short, made by the cluster, and
//! never reused. Whatever outlives a moment (transactional.id, slot, position key) derives from
//! identities only, so that a task deleted and created again under its name inherits nothing.
//! Identities are short enough that no name made of them is cut by PostgreSQL at 63 bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name or identity that breaks the rule of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {rule}")]
pub struct InvalidName {
    text: String,
    what: &'static str,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
                let fits = !text.is_empty()
                    && text.len() <= $max
                    && text.bytes().all(inner)
                    && !text.starts_with('-')
                    && !text.ends_with('-');
                if fits {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName { text: text.to_owned(), what: $what, rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The identity of a cluster, made once when it is bootstrapped.
    ClusterId,
    "cluster id",
    12,
    "1 to 12 characters a-z, 0-9 and - inside"
);
name!(
    /// The identity of one incarnation of a task.
    TaskId,
    "task id",
    12,
    "1 to 12 characters a-z, 0-9 and - inside"
);
name!(
    /// The name people gave a task.
    TaskName,
    "task name",
    64,
    "1 to 64 characters a-z, 0-9 and - inside"
);
name!(
    /// The name people gave a registered connection.
    ConnectionName,
    "connection name",
    64,
    "1 to 64 characters a-z, 0-9 and - inside"
);
name!(
    /// The name people gave a channel that alerts go to.
    ChannelName,
    "channel name",
    64,
    "1 to 64 characters a-z, 0-9 and - inside"
);
name!(
    /// The name people gave an alert of a task.
    AlertName,
    "alert name",
    64,
    "1 to 64 characters a-z, 0-9 and - inside"
);
name!(
    /// The name of a node; one process at a time may use it.
    NodeName,
    "node name",
    64,
    "1 to 64 characters a-z, 0-9 and - inside"
);

/// One shard of one incarnation of a task: what gets assigned to a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    /// The incarnation of the task.
    pub task: TaskId,
    /// The shard's number within the task, from 0.
    pub index: u32,
}

impl ShardId {
    /// The Kafka `transactional.id` of this shard: stable over owners, so that each fences the last.
    #[must_use]
    pub fn transactional_id(&self, cluster: &ClusterId) -> String {
        format!("tidewire-{cluster}-{}-{}", self.task, self.index)
    }

    /// The key of this shard's records in the positions topic.
    #[must_use]
    pub fn position_key(&self, cluster: &ClusterId) -> String {
        format!("{cluster}/{}/{}", self.task, self.index)
    }

    /// Name of the publication of those tables of which the task wants nothing but inserts; the other
    /// publication has the slot's name.
    #[must_use]
    pub fn inserts_publication_name(&self) -> String {
        format!("{}_inserts", self.slot_name())
    }

    /// The managed replication slot and publication of this shard.
    ///
    /// At most 63 bytes of `[a-z0-9_]`, as PostgreSQL demands of slots.
    #[must_use]
    pub fn slot_name(&self) -> String {
        let task = self.task.as_str().replace('-', "_");
        match self.index {
            0 => format!("tidewire_{task}"),
            index => format!("tidewire_{task}_{index}"),
        }
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.task, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rule() {
        assert!("orders-2".parse::<TaskName>().is_ok());
        for bad in ["", "Orders", "-a", "a-", "a b", "ä"] {
            assert!(bad.parse::<TaskName>().is_err(), "{bad}");
        }
        assert!("a".repeat(64).parse::<TaskName>().is_ok());
        assert!("a".repeat(65).parse::<TaskName>().is_err());
    }

    #[test]
    fn what_outlives_a_moment_derives_from_identities() {
        let shard = ShardId { task: "k3v9".parse().expect("id"), index: 0 };
        let cluster = "c1".parse().expect("id");
        assert_eq!(shard.transactional_id(&cluster), "tidewire-c1-k3v9-0");
        assert_eq!(shard.slot_name(), "tidewire_k3v9");
    }
}
