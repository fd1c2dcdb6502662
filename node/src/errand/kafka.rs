//! Errands about a task from Kafka: its precheck.

use tidewire_node_core::facts::Neighbour;
use tidewire_shared::Fault;
use tidewire_shared::precheck::{CheckItem, CheckResult};
use tidewire_shared::spec::KafkaTask;

use crate::shard::{blocking, listed, source_settings};

use super::CALL;

/// Looks at both ends and judges what is there.
pub(super) async fn precheck(
    task: KafkaTask,
    _started_before: bool,
    _neighbours: Vec<Neighbour>,
) -> Result<Vec<CheckItem>, Fault> {
    let seen = blocking(move || {
        let topics = tidewire_kafka::topics::Topics::new(&source_settings(&task)?)?;
        listed(&topics, CALL)
    })
    .await;
    let item = |result, found: String, message: String, remedy: String| CheckItem {
        name: "source_connect".to_owned(),
        result,
        found,
        message,
        remedy,
        overridable: false,
        waiver: None,
    };
    Ok(vec![match seen {
        Ok(topics) => item(
            CheckResult::Pass,
            format!("{} topics", topics.len()),
            String::new(),
            String::new(),
        ),
        Err(fault) => item(CheckResult::Fail, fault.object, fault.message, fault.remedy),
    }])
}
