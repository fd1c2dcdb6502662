//! Registered connections, and documents with their fields filled in.
//!
//! A task may name a connection; a node is given the document with the connection's fields in it. Which
//! revisions went into that document stands in the assignment ([`SpecRevisions`]): when they are not the
//! present ones any more, the leader gives the shard to its owner anew, under the next epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidewire_shared::connection::Endpoint;
use tidewire_shared::{Connection, ConnectionName, TaskName, TaskSpec};

use crate::apply::with_kept;
use crate::outcome::{Rejection, RejectionCode};
use crate::state::{ClusterState, Task};

/// What is registered under a name, as the log holds it: a connection, or a channel of alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "T: Serialize + DeserializeOwned")]
pub struct Registered<T = Connection> {
    #[serde(with = "crate::spec_text")]
    pub(crate) document: Arc<T>,
    pub(crate) revision: u64,
    pub(crate) created_at_ms: i64,
    pub(crate) updated_at_ms: i64,
}

impl<T: PartialEq> Registered<T> {
    /// What follows `present` when `wanted` is applied at this time; none: it is so already.
    pub(crate) fn after(present: Option<&Self>, wanted: T, at_ms: i64) -> Option<Self> {
        if present.is_some_and(|present| *present.document == wanted) {
            return None;
        }
        Some(Self {
            revision: present.map_or(1, |present| present.revision.saturating_add(1)),
            created_at_ms: present.map_or(at_ms, |present| present.created_at_ms),
            updated_at_ms: at_ms,
            document: Arc::new(wanted),
        })
    }
}

impl<T> Registered<T> {
    /// What is registered.
    #[must_use]
    pub fn document(&self) -> &Arc<T> {
        &self.document
    }

    /// Counts its changes, from 1.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn created_at_ms(&self) -> i64 {
        self.created_at_ms
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn updated_at_ms(&self) -> i64 {
        self.updated_at_ms
    }
}

/// Which revisions make up the document that an owner was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecRevisions {
    /// Of the task.
    pub task: u64,
    /// Of the source's connection; 0 where its fields stand in the task.
    pub source: u64,
    /// Of the target's connection; 0 where its fields stand in the task.
    pub target: u64,
}

impl ClusterState {
    /// All connections by name.
    pub fn connections(&self) -> impl Iterator<Item = &Registered> {
        self.connections.values()
    }

    /// One connection.
    #[must_use]
    pub fn connection(&self, name: &ConnectionName) -> Option<&Registered> {
        self.connections.get(name)
    }

    /// Tasks that name the connection, also in a draft of them, by name;
    /// removed ones among them as long as the cluster tries to drop what they left.
    #[must_use]
    pub fn users_of(&self, name: &ConnectionName) -> Vec<TaskName> {
        let mut users: Vec<TaskName> = self
            .documents()
            .filter(|spec| names(spec).contains(&Some(name)))
            .map(|spec| spec.name().clone())
            .collect();
        users.sort();
        users.dedup();
        users
    }

    /// The document with the secrets of the task of its name in place of those that were shown as
    /// `***`.
    ///
    /// # Errors
    /// `Invalid` where there is none to keep, or what it belongs to is another.
    pub fn with_kept_secrets(&self, spec: &Arc<TaskSpec>) -> Result<Arc<TaskSpec>, Rejection> {
        let present = self.task_named(spec.name()).map(|task| task.spec().as_ref());
        with_kept(spec, present)
    }

    /// The document with the fields of its connections filled in, as nodes get it.
    ///
    /// # Errors
    /// When a connection does not exist or is of the wrong kind, or nobody names a database.
    pub fn resolve(&self, spec: &Arc<TaskSpec>) -> Result<Arc<TaskSpec>, Rejection> {
        resolve(spec, &self.connections)
    }

    /// Which revisions a document given out now is made of.
    #[must_use]
    pub fn revisions_of(&self, task: &Task) -> SpecRevisions {
        let of = |name: Option<&ConnectionName>| {
            name.and_then(|name| self.connections.get(name)).map_or(0, |it| it.revision)
        };
        let spec = task.spec();
        SpecRevisions {
            task: task.revision(),
            source: of(spec.source_connection()),
            target: of(spec.target().connection.as_ref()),
        }
    }

    /// Every document that a node may still be given.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Arc<TaskSpec>> {
        let left = self.leftovers.values().map(|leftovers| &leftovers.document.spec);
        self.task_documents().chain(left)
    }

    /// The documents and drafts of all tasks.
    pub(crate) fn task_documents(&self) -> impl Iterator<Item = &Arc<TaskSpec>> {
        self.tasks.values().flat_map(documents_of)
    }
}

fn documents_of(task: &Task) -> impl Iterator<Item = &Arc<TaskSpec>> {
    let draft = task.draft.as_ref().map(|draft| &draft.document.spec);
    [Some(&task.spec), draft].into_iter().flatten()
}

fn names(spec: &TaskSpec) -> [Option<&ConnectionName>; 2] {
    [spec.source_connection(), spec.target().connection.as_ref()]
}

/// See [`ClusterState::resolve`].
pub(crate) fn resolve(
    spec: &Arc<TaskSpec>,
    connections: &BTreeMap<ConnectionName, Registered>,
) -> Result<Arc<TaskSpec>, Rejection> {
    if names(spec) == [None, None] {
        return Ok(Arc::clone(spec));
    }
    let find = |name: &ConnectionName| {
        let found = connections.get(name).map(|registered| &registered.document);
        found.ok_or_else(|| Rejection::no_connection(name))
    };
    let mut filled = spec.as_ref().clone();
    if let Some(name) = spec.source_connection() {
        fill_source(&mut filled, find(name)?)?;
    }
    if let Some(name) = &spec.target().connection {
        let connection = find(name)?;
        let Endpoint::Kafka(to) = &connection.endpoint else {
            return Err(unfit(connection, "kafka_connection as its target"));
        };
        to.fill(filled.target_mut());
    }
    Ok(Arc::new(filled))
}

fn fill_source(filled: &mut TaskSpec, connection: &Connection) -> Result<(), Rejection> {
    let object = format!("task {}", filled.name());
    match (filled, &connection.endpoint) {
        (TaskSpec::PostgresToKafka(task), Endpoint::Postgres(from)) => {
            from.fill(&mut task.source);
            if task.source.database.is_empty() {
                let message = "it names no database, and neither does connection ";
                return Err(Rejection::new(
                    RejectionCode::Invalid,
                    object,
                    format_args!("{message}{}", connection.name),
                ));
            }
        }
        (TaskSpec::KafkaToKafka(task), Endpoint::Kafka(from)) => from.fill_source(&mut task.source),
        (TaskSpec::PostgresToKafka(_), Endpoint::Kafka(_)) => {
            return Err(unfit(connection, "postgres_connection as its source"));
        }
        (TaskSpec::KafkaToKafka(_), Endpoint::Postgres(_)) => {
            return Err(unfit(connection, "kafka_connection as its source"));
        }
    }
    Ok(())
}

fn unfit(connection: &Connection, wanted: &str) -> Rejection {
    Rejection::new(
        RejectionCode::Invalid,
        format_args!("connection {}", connection.name),
        format_args!("it leads to {}; the task needs a {wanted}", connection.kind()),
    )
}
