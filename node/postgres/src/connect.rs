//! SQL connections.

/// An SQL connection to a host that accepted writes when it was opened. Closed when dropped.
#[derive(Debug)]
pub struct Sql {}

impl Sql {
    /// The `host:port` at the other end.
    #[must_use]
    pub fn host(&self) -> &str {
        ""
    }

    /// `server_version_num`, like 150018.
    #[must_use]
    pub fn version_num(&self) -> u32 {
        0
    }

    /// Whether the connection is gone; open another one then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        true
    }
}
