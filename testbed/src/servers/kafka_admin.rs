//! Topics and configurations of a Kafka cluster, through one long-lived Java admin client.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::java::ClassPath;
use crate::json_lines::JsonLines;

/// The admin client.
#[derive(Debug)]
pub struct KafkaAdmin(JsonLines);

/// The ends of a topic's partitions, by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct EndOffsets {
    /// What a read_committed consumer may read up to.
    #[serde(rename = "read_committed")]
    pub stable: BTreeMap<u32, u64>,
    /// What was written, open transactions included.
    #[serde(rename = "read_uncommitted")]
    pub written: BTreeMap<u32, u64>,
}

impl KafkaAdmin {
    /// Starts the client of the cluster at `bootstrap`; what it logs goes to `log`.
    ///
    /// # Errors
    /// When Java does not start.
    pub fn start(classes: &ClassPath, bootstrap: &str, log: &Path) -> Result<Self> {
        JsonLines::spawn(classes.program("Admin").arg(bootstrap), Some(log)).map(Self)
    }

    /// Returns once `brokers` of them answer.
    pub(crate) fn wait_ready(&mut self, brokers: usize) -> Result<()> {
        self.ask(json!({"do": "await", "brokers": brokers})).map(drop)
    }

    /// Creates a topic with the cluster's replication factor; returns when it can be written.
    ///
    /// # Errors
    /// When Kafka refuses; the error holds its answer.
    pub fn create(&mut self, topic: &str, partitions: u32, configs: &[(&str, &str)]) -> Result<()> {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        let command =
            json!({"do": "create", "topic": topic, "partitions": partitions, "configs": configs});
        self.ask(command).map(drop)
    }

    pub(crate) fn delete(&mut self, topic: &str) -> Result<()> {
        self.ask(json!({"do": "delete", "topic": topic})).map(drop)
    }

    pub(crate) fn set_partitions(&mut self, topic: &str, count: u32) -> Result<()> {
        self.ask(json!({"do": "partitions", "topic": topic, "count": count})).map(drop)
    }

    pub(crate) fn delete_records(
        &mut self,
        topic: &str,
        partition: u32,
        before: u64,
    ) -> Result<()> {
        let command =
            json!({"do": "truncate", "topic": topic, "partition": partition, "before": before});
        self.ask(command).map(drop)
    }

    pub(crate) fn configure(
        &mut self,
        topic: &str,
        configs: &[(&str, Option<&str>)],
    ) -> Result<()> {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        self.ask(json!({"do": "config", "topic": topic, "configs": configs})).map(drop)
    }

    pub(crate) fn own_configs(&mut self, topic: &str) -> Result<BTreeMap<String, String>> {
        let answer = self.ask(json!({"do": "configs", "topic": topic}))?;
        Ok(serde_json::from_value(answer.get("configs").cloned().unwrap_or_default())?)
    }

    pub(crate) fn grant(&mut self, principal: &str, operation: &str, topic: &str) -> Result<()> {
        let command =
            json!({"do": "grant", "topic": topic, "principal": principal, "operation": operation});
        self.ask(command).map(drop)
    }

    pub(crate) fn grant_transactions(
        &mut self,
        principal: &str,
        operation: &str,
        prefix: &str,
    ) -> Result<()> {
        let command = json!({
            "do": "grant-transactions", "prefix": prefix, "principal": principal, "operation": operation
        });
        self.ask(command).map(drop)
    }

    pub(crate) fn allow(&mut self, topic: &str, operations: &[&str]) -> Result<()> {
        self.ask(json!({"do": "allow", "topic": topic, "operations": operations})).map(drop)
    }

    pub(crate) fn quota(&mut self, client: &str, bytes: Option<u64>) -> Result<()> {
        self.ask(json!({"do": "quota", "client": client, "bytes": bytes})).map(drop)
    }

    pub(crate) fn end_offsets(&mut self, topic: &str) -> Result<EndOffsets> {
        Ok(serde_json::from_value(self.ask(json!({"do": "ends", "topic": topic}))?)?)
    }

    /// The broker that leads a partition, numbered from 0 as they were started.
    pub(crate) fn leader(&mut self, topic: &str, partition: u32) -> Result<usize> {
        let answer = self.ask(json!({"do": "leader", "topic": topic, "partition": partition}))?;
        let leader = answer.get("leader").and_then(Value::as_u64);
        let leader = leader.with_context(|| format!("nobody leads {topic}-{partition}"))?;
        Ok(usize::try_from(leader)?)
    }

    pub(crate) fn topics(&mut self) -> Result<Vec<String>> {
        let answer = self.ask(json!({"do": "topics"}))?;
        Ok(serde_json::from_value(answer.get("topics").cloned().unwrap_or_else(|| json!([])))?)
    }

    fn ask(&mut self, command: Value) -> Result<Value> {
        let answer: Value = self.0.ask(&command.to_string())?;
        if let Some(error) = answer.get("error") {
            bail!("Kafka refused {command}: {error}");
        }
        Ok(answer)
    }
}
