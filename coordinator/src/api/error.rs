//! How a failed call is told: a gRPC status that carries an `ErrorDetail` with its remedy.

use tidewire_coordinator_core::{Rejection, RejectionCode};
use tidewire_proto::admin::v1::ErrorDetail;
use tidewire_proto::convert::{LEADER_METADATA, status};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::raft::{Handle, ProposeError, ReadError};

fn told(code: Code, word: &str, object: &str, message: &str, remedy: &str) -> Status {
    let detail = ErrorDetail {
        code: word.to_owned(),
        message: message.to_owned(),
        remedy: remedy.to_owned(),
        object: object.to_owned(),
    };
    status(code, &detail)
}

/// Nothing was done; asking again later is safe.
pub(super) fn unavailable(object: &str, message: &str, remedy: &str) -> Status {
    told(Code::Unavailable, "unavailable", object, message, remedy)
}

/// The object does not exist.
pub(super) fn not_found(object: &str, remedy: &str) -> Status {
    told(Code::NotFound, "not_found", object, "there is none of this name", remedy)
}

/// The request makes no sense.
pub(super) fn invalid(object: &str, message: &str, remedy: &str) -> Status {
    told(Code::InvalidArgument, "invalid", object, message, remedy)
}

/// The request id stands for something else.
pub(super) fn used_before() -> Status {
    invalid("request_id", "it was used for another wish", "give each wish an id of its own")
}

/// Not in this state.
pub(super) fn refused(object: &str, message: &str, remedy: &str) -> Status {
    told(Code::FailedPrecondition, "refused", object, message, remedy)
}

/// The name belongs to another.
pub(super) fn already_exists(object: &str, message: &str, remedy: &str) -> Status {
    told(Code::AlreadyExists, "already_exists", object, message, remedy)
}

/// It may have been done, or may still be.
pub(super) fn unknown_outcome(object: &str) -> Status {
    told(
        Code::Unknown,
        "unknown_outcome",
        object,
        "the outcome is unknown: no answer came in time",
        "look at the object, or send the same request with the same request id again",
    )
}

/// What the core refused.
pub(super) fn rejected(rejection: &Rejection) -> Status {
    let (code, word) = match rejection.code {
        RejectionCode::NotFound | RejectionCode::NoConnection => (Code::NotFound, "not_found"),
        RejectionCode::AlreadyExists => (Code::AlreadyExists, "already_exists"),
        RejectionCode::Refused | RejectionCode::Stale | RejectionCode::InUse => {
            (Code::FailedPrecondition, "refused")
        }
        RejectionCode::Invalid => (Code::InvalidArgument, "invalid"),
        RejectionCode::NotBootstrapped => (Code::Unavailable, "unavailable"),
    };
    told(code, word, &rejection.object, &rejection.message, &rejection.remedy())
}

/// Nobody who could decide is known or answers.
pub(super) async fn no_leader(handle: &Handle) -> Status {
    let (answering, members) = handle.answering().await;
    unavailable(
        "cluster",
        &format!("no leader: {answering} of {members} coordinators answer"),
        "wait for an election, or start the coordinators that are down: more than half must answer",
    )
}

/// For nodes and coordinators, which follow the leader by themselves.
pub(super) fn elsewhere(leader: Option<&str>) -> Status {
    let mut status = refused("coordinator", "not the leader", "ask the leader");
    let url = leader.and_then(|address| MetadataValue::try_from(format!("http://{address}")).ok());
    if let Some(url) = url {
        status.metadata_mut().insert(LEADER_METADATA, url);
    }
    status
}

/// What became of a wish about `object`.
pub(super) async fn not_proposed(handle: &Handle, object: &str, error: ProposeError) -> Status {
    match error {
        ProposeError::Rejected(rejection) => rejected(&rejection),
        ProposeError::NotLeader(_) => no_leader(handle).await,
        ProposeError::Unknown => unknown_outcome(object),
    }
}

/// Why the state cannot be read.
pub(super) async fn not_read(handle: &Handle, error: ReadError) -> Status {
    match error {
        ReadError::NotLeader(_) | ReadError::NoQuorum => no_leader(handle).await,
    }
}
