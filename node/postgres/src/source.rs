//! Where a source is and who we are there.

use std::fmt;
use std::sync::Arc;

use tidewire_shared::Fault;
use tidewire_shared::spec::PostgresSource;

use crate::fault::unbuilt;
use crate::{ReplicationClient, Sql};

/// A source with its secrets resolved: makes connections. Cheap to clone.
#[derive(Clone)]
pub struct Source {
    application: Arc<str>,
}

impl Source {
    /// Resolves the secrets of `spec`. `application_name` is what its sessions are called.
    ///
    /// # Errors
    /// `Configuration` when a secret or certificate cannot be read or a host is no `host:port`.
    pub fn new(_spec: &PostgresSource, _application_name: &str) -> Result<Self, Fault> {
        unbuilt()
    }

    /// Opens an SQL connection to the first host that accepts writes.
    ///
    /// # Errors
    /// `SourceUnreachable`, `SourceBusy` or `SourceDenied`, of the last host tried.
    pub async fn connect(&self) -> Result<Sql, Fault> {
        unbuilt()
    }

    /// Opens a replication connection to the first host that accepts writes.
    ///
    /// # Errors
    /// As [`Source::connect`].
    pub async fn replicate(&self) -> Result<ReplicationClient, Fault> {
        unbuilt()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("application", &self.application).finish_non_exhaustive()
    }
}
