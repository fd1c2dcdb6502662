//! Secrets of a document that was shown, which hides them, and is given back.

use tidewire_shared::SecretRef;
use tidewire_shared::connection::HIDDEN;

use crate::outcome::{Rejection, RejectionCode};

/// A hidden secret that is given back stays as it is. It does not follow to another server, `elsewhere`:
/// whoever may change a document could have it sent to a server of theirs.
pub(super) fn keep_hidden<const N: usize>(
    object: &str,
    wanted: [Option<&mut SecretRef>; N],
    present: Option<[Option<&mut SecretRef>; N]>,
    elsewhere: Option<&str>,
) -> Result<(), Rejection> {
    let refused = |why: &str| {
        let message = format!("a secret is `{HIDDEN}`, and {why}");
        Rejection::new(RejectionCode::Invalid, object, message).advise("write the secret itself")
    };
    let present = present.unwrap_or([const { None }; N]);
    for (place, kept) in wanted.into_iter().zip(present) {
        let Some(place) = place else { continue };
        if *place != SecretRef::Value(HIDDEN.to_owned()) {
            continue;
        }
        let Some(SecretRef::Value(kept)) = kept else {
            return Err(refused("there is none to keep"));
        };
        if let Some(other) = elsewhere {
            return Err(refused(&format!("none is kept for {other}, which is new")));
        }
        *place = SecretRef::Value(std::mem::take(kept));
    }
    Ok(())
}
