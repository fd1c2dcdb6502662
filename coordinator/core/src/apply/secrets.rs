//! A document that was shown has its secrets hidden; given back so, they stay as they are.

use std::mem;
use std::sync::Arc;

use tidewire_shared::connection::HIDDEN;
use tidewire_shared::{SecretRef, TaskSpec};

use crate::outcome::{Rejection, RejectionCode};

const NONE: &str = "there is none to keep";

/// The refusal of a hidden secret.
fn refused(object: &str, why: &str) -> Rejection {
    let message = format!("a secret is `{HIDDEN}`, and {why}");
    Rejection::new(RejectionCode::Invalid, object, message).advise("write the secret itself")
}

/// Puts what was kept in the place of a secret that is hidden.
fn put_back(
    place: &mut SecretRef,
    kept: Option<&mut SecretRef>,
    object: &str,
) -> Result<(), Rejection> {
    match kept {
        Some(SecretRef::Value(kept)) => *place = SecretRef::Value(mem::take(kept)),
        Some(_) | None => return Err(refused(object, NONE)),
    }
    Ok(())
}

/// The document with the secrets that `present` has in place of hidden ones. They go with the whole of
/// what they belong to: server, account and encryption. Whoever may change a task could have them sent
/// to a server of theirs otherwise.
pub(crate) fn with_kept(
    wanted: &Arc<TaskSpec>,
    present: Option<&TaskSpec>,
) -> Result<Arc<TaskSpec>, Rejection> {
    let mut spec = wanted.as_ref().clone();
    let hides = spec.secrets_mut().into_iter().flatten().flatten().any(|place| place.is_hidden());
    if !hides {
        return Ok(Arc::clone(wanted));
    }
    let object = format!("task {}", wanted.name());
    let Some(present) = present else { return Err(refused(&object, NONE)) };
    let agree = surroundings_agree(wanted, present);
    let mut present = present.clone();
    let sides = spec.secrets_mut().into_iter().zip(present.secrets_mut());
    for (((places, kept), agrees), changed) in sides.zip(agree).zip(CHANGED) {
        for (place, kept) in places.into_iter().zip(kept) {
            let Some(place) = place.filter(|place| place.is_hidden()) else { continue };
            put_back(place, kept, &object)?;
            if !agrees {
                return Err(refused(&object, changed));
            }
        }
    }
    Ok(Arc::new(spec))
}

/// Why nothing is kept for source and target.
const CHANGED: [&str; 2] = [
    "the source's servers, account or encryption changed, so that none is kept for it",
    "target.brokers or security changed, so that none is kept for it",
];

/// Whether source and target, their secrets aside, are reached as before.
fn surroundings_agree(wanted: &TaskSpec, present: &TaskSpec) -> [bool; 2] {
    let (a, b) = (wanted.clone().hidden(), present.clone().hidden());
    let source = match (&a, &b) {
        (TaskSpec::PostgresToKafka(a), TaskSpec::PostgresToKafka(b)) => {
            let (a, b) = (&a.source, &b.source);
            (&a.hosts, &a.user, &a.tls) == (&b.hosts, &b.user, &b.tls)
        }
        (TaskSpec::KafkaToKafka(a), TaskSpec::KafkaToKafka(b)) => {
            (&a.source.brokers, &a.source.security) == (&b.source.brokers, &b.source.security)
        }
        (TaskSpec::PostgresToKafka(_), TaskSpec::KafkaToKafka(_))
        | (TaskSpec::KafkaToKafka(_), TaskSpec::PostgresToKafka(_)) => false,
    };
    let (a, b) = (a.target(), b.target());
    [source, (&a.brokers, &a.security) == (&b.brokers, &b.security)]
}

/// A hidden secret that is given back stays as it is. It does not follow to another server, `elsewhere`:
/// whoever may change a document could have it sent to a server of theirs.
pub(super) fn keep_hidden<const N: usize>(
    object: &str,
    wanted: [Option<&mut SecretRef>; N],
    present: Option<[Option<&mut SecretRef>; N]>,
    elsewhere: Option<&str>,
) -> Result<(), Rejection> {
    let present = present.unwrap_or([const { None }; N]);
    for (place, kept) in wanted.into_iter().zip(present) {
        let Some(place) = place.filter(|place| place.is_hidden()) else { continue };
        put_back(place, kept, object)?;
        if let Some(other) = elsewhere {
            return Err(refused(object, &format!("none is kept for {other}, which is new")));
        }
    }
    Ok(())
}
