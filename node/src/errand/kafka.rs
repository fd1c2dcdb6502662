//! Errands about a task from Kafka: its precheck.

use tidewire_kafka::Settings;
use tidewire_kafka::precheck::look_at_copy;
use tidewire_node_core::facts::Neighbour;
use tidewire_node_core::precheck::{CopyLook, judge_copy};
use tidewire_shared::Fault;
use tidewire_shared::precheck::CheckItem;
use tidewire_shared::spec::KafkaTask;

use crate::shard::{blocking, source_settings};

/// Looks at both ends and judges what is there.
pub(super) async fn precheck(
    task: KafkaTask,
    started_before: bool,
    neighbours: Vec<Neighbour>,
) -> Result<Vec<CheckItem>, Fault> {
    blocking(move || {
        let source = source_settings(&task);
        let target = Settings::new(&task.target, task.limits.record_bytes);
        let seen = look_at_copy(source, target, &task);
        let look = CopyLook { task: &task, started_before, neighbours: &neighbours, seen: &seen };
        Ok(judge_copy(&look))
    })
    .await
}
