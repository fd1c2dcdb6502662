//! Where a task is to go on from, as it is written on the command line.

use std::str::FromStr;

use jiff::Timestamp;
use tidewire_shared::{LogPlace, Place, PlaceAt};

/// A position in a log of PostgreSQL, or places in the topics that a copy reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    Log(LogPlace),
    Places(Vec<Place>),
}

/// What was written means no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no place; write 0/16B3748, slot or now for a task from PostgreSQL, and for a copy \
     TOPIC/PARTITION=OFFSET, TOPIC=WHERE or WHERE, where WHERE is earliest, latest or a time like \
     2026-01-01T00:00:00Z; several are separated by commas"
)]
pub(crate) struct NoPlace(String);

impl FromStr for Goal {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "slot" => return Ok(Self::Log(LogPlace::Slot)),
            "now" => return Ok(Self::Log(LogPlace::Now)),
            position => {
                if let Ok(lsn) = position.parse() {
                    return Ok(Self::Log(LogPlace::Lsn(lsn)));
                }
            }
        }
        let places: Option<Vec<_>> = text.split(',').map(|part| place(part.trim())).collect();
        places.map(Self::Places).ok_or_else(|| NoPlace(text.to_owned()))
    }
}

fn place(text: &str) -> Option<Place> {
    let Some((named, at)) = text.split_once('=') else {
        let at = place_at(text).filter(|at| !matches!(at, PlaceAt::Offset(_)))?;
        return Some(Place { topic: None, partition: None, at });
    };
    let (topic, partition) = match named.split_once('/') {
        Some((topic, partition)) => (topic, Some(partition.parse().ok()?)),
        None => (named, None),
    };
    let at = place_at(at)?;
    Some(Place { topic: Some(topic.to_owned()).filter(|it| !it.is_empty()), partition, at })
        .filter(|place| place.topic.is_some())
}

fn place_at(text: &str) -> Option<PlaceAt> {
    match text {
        "earliest" => Some(PlaceAt::Earliest),
        "latest" => Some(PlaceAt::Latest),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().map(PlaceAt::Offset)
        }
        time => {
            let time: Timestamp = time.parse().ok()?;
            Some(PlaceAt::Timestamp(time.as_millisecond()))
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewire_shared::Lsn;

    use super::*;

    fn places(text: &str) -> Vec<(Option<String>, Option<u32>, PlaceAt)> {
        match text.parse().expect("places") {
            Goal::Places(places) => {
                places.into_iter().map(|it| (it.topic, it.partition, it.at)).collect()
            }
            Goal::Log(place) => panic!("{place} is a position"),
        }
    }

    #[test]
    fn positions_and_places_are_told_apart() {
        assert_eq!("0/16B3748".parse(), Ok(Goal::Log(LogPlace::Lsn(Lsn(0x16B_3748)))));
        assert_eq!("slot".parse(), Ok(Goal::Log(LogPlace::Slot)));
        assert_eq!("now".parse(), Ok(Goal::Log(LogPlace::Now)));
        let orders = Some("orders".to_owned());
        assert_eq!(
            places("orders/0=120, orders=latest,earliest"),
            [
                (orders.clone(), Some(0), PlaceAt::Offset(120)),
                (orders.clone(), None, PlaceAt::Latest),
                (None, None, PlaceAt::Earliest)
            ]
        );
        let moment = PlaceAt::Timestamp(1_767_225_600_000);
        assert_eq!(places("orders=2026-01-01T00:00:00Z"), [(orders, None, moment)]);
    }

    #[test]
    fn what_means_no_place_is_refused_with_what_would() {
        for bad in [
            "",
            "120",
            "orders",
            "orders=",
            "=5",
            "orders/x=5",
            "orders/0=-1",
            "a=1,",
            "orders/0=soon",
        ] {
            let error = bad.parse::<Goal>().expect_err(bad).to_string();
            assert!(error.contains("TOPIC/PARTITION=OFFSET"), "{error}");
        }
    }
}
