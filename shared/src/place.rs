//! Where partitions of a copy go on from, when their user wants another place than where they are.

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
