//! Where a task goes on from, when its user wants another place than where it is.

use std::fmt;

use crate::lsn::Lsn;

/// A place in the log of a PostgreSQL source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogPlace {
    /// This position.
    Lsn(Lsn),
    /// Where the slot stands: nothing before it can be had.
    Slot,
    /// The end of the log, behind every transaction that is open; a slot that is gone is made again there.
    Now,
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lsn(lsn) => lsn.fmt(f),
            Self::Slot => f.write_str("slot"),
            Self::Now => f.write_str("now"),
        }
    }
}

/// A place for one partition, for all of a topic, or for all of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Topic of the source; none: every topic that the task copies.
    pub topic: Option<String>,
    /// Its partition; none: every one.
    pub partition: Option<u32>,
    /// Where it goes on.
    pub at: PlaceAt,
}

/// A place in the log of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceAt {
    /// The oldest record there is.
    Earliest,
    /// The first record that is written from now on.
    Latest,
    /// The first record that is not older, milliseconds since 1970.
    Timestamp(i64),
    /// This offset; not negative.
    Offset(i64),
}
