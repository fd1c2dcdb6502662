//! Where a task goes on from.

use tidewire_shared::{LogPlace, Lsn, Place, PlaceAt};

use super::ConvertError;
use crate::task::v1 as pb;
use crate::task::v1::kafka_start::{Earliest, Latest};
use crate::task::v1::log_place::{At, Now, Slot};

impl From<Place> for pb::Place {
    fn from(place: Place) -> Self {
        let at = match place.at {
            PlaceAt::Earliest => pb::place::At::Earliest(Earliest {}),
            PlaceAt::Latest => pb::place::At::Latest(Latest {}),
            PlaceAt::Timestamp(ms) => pb::place::At::TimestampMs(ms),
            PlaceAt::Offset(offset) => pb::place::At::Offset(offset),
        };
        let topic = place.topic.unwrap_or_default();
        Self { topic, partition: place.partition, at: Some(at) }
    }
}

impl TryFrom<pb::Place> for Place {
    type Error = ConvertError;

    fn try_from(place: pb::Place) -> Result<Self, Self::Error> {
        let at = match place.at {
            Some(pb::place::At::Earliest(Earliest {})) => PlaceAt::Earliest,
            Some(pb::place::At::Latest(Latest {})) => PlaceAt::Latest,
            Some(pb::place::At::TimestampMs(ms)) => PlaceAt::Timestamp(ms),
            Some(pb::place::At::Offset(offset)) if offset >= 0 => PlaceAt::Offset(offset),
            Some(pb::place::At::Offset(_)) => {
                return Err(ConvertError::new("offset", "is negative"));
            }
            None => return Err(ConvertError::new("at", "is missing")),
        };
        let topic = Some(place.topic).filter(|topic| !topic.is_empty());
        if topic.is_none() && (place.partition.is_some() || matches!(at, PlaceAt::Offset(_))) {
            return Err(ConvertError::new("topic", "is missing: an offset belongs to one"));
        }
        Ok(Self { topic, partition: place.partition, at })
    }
}

impl From<LogPlace> for pb::LogPlace {
    fn from(place: LogPlace) -> Self {
        let at = match place {
            LogPlace::Lsn(lsn) => At::Lsn(lsn.0),
            LogPlace::Slot => At::Slot(Slot {}),
            LogPlace::Now => At::Now(Now {}),
        };
        Self { at: Some(at) }
    }
}

impl TryFrom<pb::LogPlace> for LogPlace {
    type Error = ConvertError;

    fn try_from(place: pb::LogPlace) -> Result<Self, Self::Error> {
        match place.at {
            Some(At::Lsn(lsn)) => Ok(Self::Lsn(Lsn(lsn))),
            Some(At::Slot(Slot {})) => Ok(Self::Slot),
            Some(At::Now(Now {})) => Ok(Self::Now),
            None => Err(ConvertError::new("at", "is missing")),
        }
    }
}
