//! Moving partitions of a copy that nobody runs: the errand of `tidewire task rewind`.
//!
//! Safe beside a start that begins at the same time: whoever initialises the producer last fences the
//! other, and a later owner is known by the epoch of its claim (`tidewire_node_core::copy::rewound`).

use std::collections::BTreeMap;

use prost::Message;
use tidewire_kafka::topics::{At, Topics};
use tidewire_node_core::copy::{MoveFacts, PartitionMove, SourceTopic, moves, rewound};
use tidewire_node_core::takeover::PositionEntry;
use tidewire_proto::node::v1 as pb;
use tidewire_shared::spec::{Delivery, KafkaTask};
use tidewire_shared::{
    ClusterId, Epoch, Fault, FaultKind, KafkaPosition, NodeName, Place, PlaceAt, ShardId,
};

use super::super::target::{CALL, TargetSide, blocking, core_hint};
use super::{bounds, listed, source_settings};
use crate::pipeline::positions::record;
use crate::shard::Assignment;

/// A shard at rest, and its newest position.
struct Resting {
    shard: ShardId,
    /// The newest that was given out.
    epoch: Epoch,
    target: TargetSide,
    newest: PositionEntry<KafkaPosition>,
}

/// Has the partitions that `places` mean go on there.
///
/// # Errors
/// Of what happens before anything is moved; afterwards the answer holds what was moved, and the fault.
pub(crate) async fn rewind(
    task: &KafkaTask,
    shards: Vec<Assignment>,
    places: &[Place],
    cluster: &ClusterId,
    node: &NodeName,
) -> Result<pb::RewindDone, Fault> {
    let mut resting = Vec::new();
    for assignment in shards {
        let mut target = TargetSide::new(&assignment, cluster, node, task.limits.record_bytes)?;
        let newest = match task.delivery {
            Delivery::ExactlyOnce => {
                target.init_producer().await?;
                target.read_positions(assignment.hint.as_ref().map(core_hint)).await?
            }
            Delivery::AtLeastOnce => target.kept_position(&assignment.record)?,
        };
        let Assignment { shard, epoch, .. } = assignment;
        match newest {
            Some(newest) => resting.push(Resting { shard, epoch, target, newest }),
            // A partition of it that is named is refused by name.
            None if places.iter().all(|place| place.partition.is_some()) => {}
            None => return Err(not_begun(task, &shard)),
        }
    }
    let positions: Vec<&KafkaPosition> = resting.iter().map(|it| &it.newest.position).collect();
    let wanted = look(task, moves(places, &positions)?).await?;
    let mut done = pb::RewindDone::default();
    for (Resting { shard, epoch, mut target, newest }, wanted) in resting.into_iter().zip(wanted) {
        if wanted.is_empty() {
            continue;
        }
        let moved = match rewound(&newest, epoch, &wanted, &task.topics) {
            Ok((entry, told)) => match task.delivery {
                Delivery::ExactlyOnce => target.commit_moved(entry, &shard).await.map(|()| told),
                Delivery::AtLeastOnce => {
                    let serial = entry.serial;
                    let record = record(&entry, &task.name, node).encode_to_vec();
                    let shard = shard.index;
                    done.kept.push(pb::Rewound { shard, serial, record, lsn: 0 });
                    Ok(told)
                }
            },
            Err(fault) => Err(fault),
        };
        match moved {
            Ok(told) => done.moved.extend(told),
            Err(fault) if done.moved.is_empty() => return Err(fault),
            Err(fault) => {
                done.failed = Some(fault.into());
                break;
            }
        }
    }
    Ok(done)
}

/// A shard without a place of its own takes it from those before it, or from the document, when it begins.
fn not_begun(task: &KafkaTask, shard: &ShardId) -> Fault {
    let name = &task.name;
    let object = format!("shard {name}/{}", shard.index);
    Fault::new(FaultKind::Configuration, object, "has not begun yet, so it has no place to go on from")
        .remedy(format!(
            "`tidewire task resume {name}`, wait until all of its shards have begun, then pause and rewind \
             it; or name partitions, like orders/0=earliest"
        ))
}

/// Asks the source about every partition that moves.
async fn look(
    task: &KafkaTask,
    wanted: Vec<Vec<PartitionMove>>,
) -> Result<Vec<Vec<PartitionMove>>, Fault> {
    let source = source_settings(task)?;
    blocking(move || {
        let topics = Topics::new(&source)?;
        let there: BTreeMap<String, SourceTopic> =
            listed(&topics, CALL)?.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
        wanted.into_iter().map(|moves| facts(&topics, &there, moves)).collect()
    })
    .await
}

fn facts(
    topics: &Topics,
    there: &BTreeMap<String, SourceTopic>,
    mut moves: Vec<PartitionMove>,
) -> Result<Vec<PartitionMove>, Fault> {
    if let Some(gone) = moves.iter().find(|wanted| !there.contains_key(&wanted.topic)) {
        let object = format!("source topic {}", gone.topic);
        return Err(Fault::new(FaultKind::SourceHistory, object, "does not exist any more").remedy(
            "to go on with the others, exclude it from the task's topics: `tidewire task apply`",
        ));
    }
    let known = |wanted: &PartitionMove| {
        let topic = there.get(&wanted.topic)?;
        (wanted.partition < topic.partitions).then_some(topic.id)
    };
    let ids: Vec<_> = moves.iter().map(known).collect();
    let left: Vec<_> = moves.iter().zip(&ids).filter(|(_, id)| id.is_some()).collect();
    let asked: Vec<_> =
        left.iter().map(|(wanted, _)| (wanted.topic.as_str(), wanted.partition)).collect();
    let found = bounds(topics, &asked)?;
    let stamped = at_timestamps(topics, left.iter().map(|(wanted, _)| *wanted))?;
    let found: Vec<_> = found.into_iter().zip(stamped).collect();
    let mut found = found.into_iter();
    for (wanted, id) in moves.iter_mut().zip(ids) {
        wanted.found = id.and_then(|id| {
            let (bounds, at_timestamp) = found.next()?;
            Some(MoveFacts { id, bounds, at_timestamp })
        });
    }
    Ok(moves)
}

/// Of each partition the offset at its timestamp, one question per timestamp.
fn at_timestamps<'m>(
    topics: &Topics,
    moves: impl Iterator<Item = &'m PartitionMove>,
) -> Result<Vec<Option<i64>>, Fault> {
    let moves: Vec<_> = moves.collect();
    let mut stamped = vec![None; moves.len()];
    let mut asked: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (place, wanted) in moves.iter().enumerate() {
        if let PlaceAt::Timestamp(ms) = wanted.at {
            asked.entry(ms).or_default().push(place);
        }
    }
    for (ms, places) in asked {
        let partitions: Vec<_> = places
            .iter()
            .filter_map(|place| moves.get(*place))
            .map(|wanted| (wanted.topic.as_str(), wanted.partition))
            .collect();
        for (place, offset) in
            places.iter().zip(topics.offsets(&partitions, At::Timestamp(ms), CALL)?)
        {
            if let Some(slot) = stamped.get_mut(*place) {
                *slot = offset?;
            }
        }
    }
    Ok(stamped)
}
