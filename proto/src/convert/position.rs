//! How far a shard has come, and where that is written.

use tidewire_shared::{InTransaction, Lsn, PgPosition, PositionHint};

use super::{ConvertError, optional};
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
        })
    }
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
