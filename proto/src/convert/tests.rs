//! Every word survives the wire, and what has no meaning is refused by its path.

mod arbitrary;

use proptest::prelude::*;
use prost::Message;
use tidewire_shared::precheck::PrecheckReport;
use tidewire_shared::spec::{PostgresTask, TaskSpec};
use tidewire_shared::{Channel, Fault, KafkaPosition, PgPosition, PositionHint, ShardReport};
use tonic::{Code, Status};

use super::{ConvertError, detail_of, required, status};
use crate::admin::v1::ErrorDetail;
use crate::{alert::v1 as alert, position::v1 as position, task::v1 as task};

/// What `word` is after it went over the wire as bytes.
fn carried<T, M>(word: T) -> Result<T, ConvertError>
where
    M: Message + Default + From<T>,
    T: TryFrom<M, Error = ConvertError>,
{
    let bytes = M::from(word).encode_to_vec();
    T::try_from(M::decode(bytes.as_slice()).expect("what was encoded decodes"))
}

proptest! {
    #[test]
    fn tasks_survive_the_wire(spec in arbitrary::spec()) {
        prop_assert_eq!(carried::<TaskSpec, task::TaskSpec>(spec.clone()), Ok(spec));
    }

    #[test]
    fn reports_survive_the_wire(report in arbitrary::report()) {
        prop_assert_eq!(carried::<ShardReport, task::ShardReport>(report.clone()), Ok(report));
    }

    #[test]
    fn faults_survive_the_wire(fault in arbitrary::fault()) {
        prop_assert_eq!(carried::<Fault, task::Fault>(fault.clone()), Ok(fault));
    }

    #[test]
    fn prechecks_survive_the_wire(report in arbitrary::precheck()) {
        prop_assert_eq!(
            carried::<PrecheckReport, task::PrecheckReport>(report.clone()),
            Ok(report)
        );
    }

    #[test]
    fn positions_survive_the_wire(place in arbitrary::position()) {
        prop_assert_eq!(carried::<PgPosition, position::PgPosition>(place.clone()), Ok(place));
    }

    #[test]
    fn positions_of_copies_survive_the_wire(place in arbitrary::kafka_position()) {
        prop_assert_eq!(carried::<KafkaPosition, position::KafkaPosition>(place.clone()), Ok(place));
    }

    #[test]
    fn channels_survive_the_wire(channel in arbitrary::channel()) {
        prop_assert_eq!(carried::<Channel, alert::Channel>(channel.clone()), Ok(channel));
    }

    #[test]
    fn hints_survive_the_wire(hint in arbitrary::hint()) {
        prop_assert_eq!(carried::<PositionHint, position::PositionHint>(hint), Ok(hint));
    }

    #[test]
    fn damaged_tasks_are_refused_or_still_whole(
        spec in arbitrary::spec(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = task::TaskSpec::from(spec).encode_to_vec();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(message) = task::TaskSpec::decode(bytes.as_slice())
            && let Ok(spec) = TaskSpec::try_from(message)
        {
            prop_assert_eq!(carried::<TaskSpec, task::TaskSpec>(spec.clone()), Ok(spec));
        }
    }
}

/// The path of the field that is refused after `damage`.
fn refused_path(damage: impl FnOnce(&mut task::PostgresTask)) -> String {
    let mut message = task::PostgresTask::from(arbitrary::plain_spec());
    damage(&mut message);
    required::<_, PostgresTask>("spec", Some(message)).expect_err("the damage is seen").path
}

#[test]
fn what_does_not_fit_is_named_by_its_path() {
    let source = |message: &mut task::PostgresTask| message.source.take().expect("source");
    let cases = [
        (refused_path(|m| m.name = "Orders".into()), "spec.name"),
        (refused_path(|m| m.source = None), "spec.source"),
        (refused_path(|m| m.partition = 0), "spec.partition"),
        (refused_path(|m| m.key_change = 77), "spec.key_change"),
        (refused_path(|m| m.objects.clear()), "spec.objects"),
        (refused_path(|m| m.objects[0].topic.clear()), "spec.objects[0].topic"),
        (
            refused_path(|m| m.objects[0].tables[0].schema.clear()),
            "spec.objects[0].tables[0].schema",
        ),
        (
            refused_path(|m| {
                let mut from = source(m);
                from.tls.as_mut().expect("tls").mode = 0;
                m.source = Some(from);
            }),
            "spec.source.tls.mode",
        ),
        (
            refused_path(|m| {
                let mut from = source(m);
                from.password = Some(task::SecretRef { place: None });
                m.source = Some(from);
            }),
            "spec.source.password.place",
        ),
        (
            refused_path(|m| {
                let mut from = source(m);
                from.hosts.push(String::new());
                m.source = Some(from);
            }),
            "spec.source.hosts[1]",
        ),
        (refused_path(|m| m.limits = Some(task::Limits::default())), "spec.limits.record_bytes"),
        (refused_path(|m| limits(m).record_bytes = (256 << 20) + 1), "spec.limits.record_bytes"),
        (refused_path(|m| retry(m).connection_ms = 599_999), "spec.retry.connection_ms"),
        (refused_path(|m| retry(m).connection_ms = 86_400_001), "spec.retry.connection_ms"),
        (refused_path(|m| retry(m).other_ms = 59_999), "spec.retry.other_ms"),
        (refused_path(|m| retry(m).other_ms = 86_400_001), "spec.retry.other_ms"),
    ];
    for (path, expected) in cases {
        assert_eq!(path, expected);
    }
    let none = task::TaskSpec { kind: None };
    let none = required::<_, TaskSpec>("spec", Some(none)).expect_err("no kind");
    assert_eq!(none.path, "spec.kind");
    let absent = required::<task::TaskSpec, TaskSpec>("spec", None).expect_err("absent");
    assert_eq!(absent.to_string(), "spec: is missing");
}

fn retry(task: &mut task::PostgresTask) -> &mut task::Retry {
    task.retry.as_mut().expect("retry")
}

fn limits(task: &mut task::PostgresTask) -> &mut task::Limits {
    task.limits.as_mut().expect("limits")
}

#[test]
fn a_status_carries_its_detail() {
    let detail = ErrorDetail {
        code: "not_found".into(),
        message: "there is no such task".into(),
        remedy: "see `tidewire task list`".into(),
        object: "task orders — naïve".into(),
    };
    let refused = status(Code::NotFound, &detail);
    assert_eq!(refused.message(), "task orders — naïve: there is no such task");
    assert_eq!(detail_of(&refused), Some(detail));
    assert_eq!(detail_of(&Status::unavailable("tcp connect error")), None);

    let invalid = Status::from(ConvertError::new("spec.name", "is empty"));
    assert_eq!(invalid.code(), Code::InvalidArgument);
    assert_eq!(detail_of(&invalid).expect("detail").object, "spec.name");
}
