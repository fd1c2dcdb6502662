//! How far a shard has come, and where that is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewire_shared::{
    CatalogRow, Clearing, InTransaction, KafkaPosition, Lsn, PartitionPosition, PgPosition,
    PositionHint, PublicationMark, TopicPosition,
};

use super::{ConvertError, each, optional, text};
use crate::position::v1 as pb;

impl From<PgPosition> for pb::PgPosition {
    fn from(position: PgPosition) -> Self {
        Self {
            system_id: position.system_id,
            timeline: position.timeline,
            lsn: position.lsn.0,
            inside: position.inside.map(Into::into),
            incarnation: position.incarnation,
            fingerprint: position.fingerprint,
            next_ordinal: position.next_ordinal,
            publications: position.publications.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::PgPosition> for PgPosition {
    type Error = ConvertError;

    fn try_from(position: pb::PgPosition) -> Result<Self, Self::Error> {
        Ok(Self {
            system_id: position.system_id,
            timeline: position.timeline,
            lsn: Lsn(position.lsn),
            inside: optional("inside", position.inside)?,
            incarnation: position.incarnation,
            fingerprint: position.fingerprint,
            next_ordinal: position.next_ordinal,
            publications: Arc::new(each("publications", position.publications)?),
        })
    }
}

impl From<&PublicationMark> for pb::PublicationMark {
    fn from(mark: &PublicationMark) -> Self {
        Self {
            oid: mark.oid,
            xmin: mark.xmin,
            tables: Some((&mark.tables).into()),
            schemas: Some((&mark.schemas).into()),
        }
    }
}

impl TryFrom<pb::PublicationMark> for PublicationMark {
    type Error = ConvertError;

    fn try_from(mark: pb::PublicationMark) -> Result<Self, Self::Error> {
        let rows = |field, rows: Option<pb::CatalogRows>| {
            let rows = rows.unwrap_or_default();
            catalog_rows(&rows).ok_or_else(|| ConvertError::new(field, "are not as many as told"))
        };
        Ok(Self {
            oid: mark.oid,
            xmin: mark.xmin,
            tables: rows("tables", mark.tables)?,
            schemas: rows("schemas", mark.schemas)?,
        })
    }
}

impl From<&BTreeMap<u32, CatalogRow>> for pb::CatalogRows {
    fn from(rows: &BTreeMap<u32, CatalogRow>) -> Self {
        let mut wire = Self::default();
        let (mut held, mut before) = (0, CatalogRow::default());
        for (holds, row) in rows {
            wire.holds.push(holds - held);
            wire.names.push(row.name);
            wire.oids.push(i64::from(row.oid) - i64::from(before.oid));
            wire.xmins.push(i64::from(row.xmin) - i64::from(before.xmin));
            (held, before) = (*holds, *row);
        }
        wire
    }
}

fn catalog_rows(wire: &pb::CatalogRows) -> Option<BTreeMap<u32, CatalogRow>> {
    let count = wire.holds.len();
    if [wire.names.len(), wire.oids.len(), wire.xmins.len()] != [count; 3] {
        return None;
    }
    let (mut held, mut before) = (0_u32, CatalogRow::default());
    let fields = wire.holds.iter().zip(&wire.names).zip(&wire.oids).zip(&wire.xmins);
    let rows = fields.map(|(((holds, name), oid), xmin)| {
        held = held.checked_add(*holds)?;
        let after =
            |before: u32, more: i64| u32::try_from(i64::from(before).checked_add(more)?).ok();
        let (oid, xmin) = (after(before.oid, *oid)?, after(before.xmin, *xmin)?);
        before = CatalogRow { name: *name, oid, xmin };
        Some((held, before))
    });
    rows.collect()
}

impl From<InTransaction> for pb::InTransaction {
    fn from(inside: InTransaction) -> Self {
        Self { final_lsn: inside.final_lsn.0, xid: inside.xid, sequence: inside.sequence }
    }
}

impl TryFrom<pb::InTransaction> for InTransaction {
    type Error = ConvertError;

    fn try_from(inside: pb::InTransaction) -> Result<Self, Self::Error> {
        if inside.sequence == 0 {
            return Err(ConvertError::new("sequence", "is 0, but places are counted from 1"));
        }
        Ok(Self { final_lsn: Lsn(inside.final_lsn), xid: inside.xid, sequence: inside.sequence })
    }
}

impl From<KafkaPosition> for pb::KafkaPosition {
    fn from(position: KafkaPosition) -> Self {
        let topics = position.topics.into_iter().map(|(name, topic)| pb::TopicPosition {
            name,
            id_high: topic.id.0,
            id_low: topic.id.1,
            partitions: topic.partitions.into_iter().map(partition).collect(),
            target: topic.target.unwrap_or_default(),
        });
        Self {
            topics: topics.collect(),
            clearing: position.clearing.into_iter().map(Into::into).collect(),
        }
    }
}

fn partition((partition, at): (u32, PartitionPosition)) -> pb::PartitionPosition {
    let leader_epoch_plus_one = at.leader_epoch.map_or(0, |epoch| epoch.unsigned_abs() + 1);
    pb::PartitionPosition { partition, next: at.next, leader_epoch_plus_one }
}

impl TryFrom<pb::KafkaPosition> for KafkaPosition {
    type Error = ConvertError;

    fn try_from(position: pb::KafkaPosition) -> Result<Self, Self::Error> {
        let mut topics = BTreeMap::new();
        for (index, topic) in position.topics.into_iter().enumerate() {
            let path = format!("topics[{index}]");
            let within = |error: ConvertError| error.within(&path);
            let name = text("name", topic.name).map_err(within)?;
            let id = (topic.id_high, topic.id_low);
            let partitions = partitions(topic.partitions).map_err(within)?;
            let target = Some(topic.target).filter(|name| !name.is_empty());
            if topics.insert(name, TopicPosition { id, target, partitions }).is_some() {
                return Err(ConvertError::new(path, "stands there twice"));
            }
        }
        Ok(Self { topics, clearing: each("clearing", position.clearing)? })
    }
}

fn partitions(
    wire: Vec<pb::PartitionPosition>,
) -> Result<BTreeMap<u32, PartitionPosition>, ConvertError> {
    let mut partitions = BTreeMap::new();
    for at in wire {
        let bad = |problem: &str| {
            Err(ConvertError::new(format!("partitions[{}]", at.partition), problem))
        };
        if at.next < 0 {
            return bad("is at a negative offset");
        }
        let leader_epoch = match at.leader_epoch_plus_one {
            0 => None,
            more => match i32::try_from(more - 1) {
                Ok(epoch) => Some(epoch),
                Err(_) => return bad("has a leader epoch that is none"),
            },
        };
        let position = PartitionPosition { next: at.next, leader_epoch };
        if partitions.insert(at.partition, position).is_some() {
            return bad("stands there twice");
        }
    }
    Ok(partitions)
}

impl From<Clearing> for pb::Clearing {
    fn from(clearing: Clearing) -> Self {
        let Clearing { topic, partition, before } = clearing;
        Self { topic, partition, before }
    }
}

impl TryFrom<pb::Clearing> for Clearing {
    type Error = ConvertError;

    fn try_from(clearing: pb::Clearing) -> Result<Self, Self::Error> {
        if clearing.before < 0 {
            return Err(ConvertError::new("before", "is negative"));
        }
        let topic = text("topic", clearing.topic)?;
        Ok(Self { topic, partition: clearing.partition, before: clearing.before })
    }
}

impl From<PositionHint> for pb::PositionHint {
    fn from(hint: PositionHint) -> Self {
        Self {
            topic_id_high: hint.topic_id.0,
            topic_id_low: hint.topic_id.1,
            partition: hint.partition,
            offset: hint.offset,
            serial: hint.serial,
        }
    }
}

impl TryFrom<pb::PositionHint> for PositionHint {
    type Error = ConvertError;

    fn try_from(hint: pb::PositionHint) -> Result<Self, Self::Error> {
        if hint.serial == 0 {
            return Err(ConvertError::new("serial", "is 0, but serials are counted from 1"));
        }
        if hint.offset < 0 {
            return Err(ConvertError::new("offset", format!("is negative: {}", hint.offset)));
        }
        Ok(Self {
            topic_id: (hint.topic_id_high, hint.topic_id_low),
            partition: hint.partition,
            offset: hint.offset,
            serial: hint.serial,
        })
    }
}
