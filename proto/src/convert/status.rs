//! Errors of the admin service: a gRPC status that carries an [`ErrorDetail`] in its metadata.

use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use super::ConvertError;
use crate::admin::v1::ErrorDetail;

/// Metadata key of the encoded [`ErrorDetail`] of a failed admin call.
pub const ERROR_METADATA: &str = "tidewire-error-bin";

/// Metadata key under which a coordinator that does not lead names the endpoint of the one that does.
pub const LEADER_METADATA: &str = "tidewire-leader";

/// Metadata key under which a client says who asks, like `ann@host`.
pub const CALLER_METADATA: &str = "tidewire-caller";

/// A status that carries `detail`.
#[must_use]
pub fn status(code: Code, detail: &ErrorDetail) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(ERROR_METADATA, MetadataValue::from_bytes(&detail.encode_to_vec()));
    let message = if detail.object.is_empty() {
        detail.message.clone()
    } else {
        format!("{}: {}", detail.object, detail.message)
    };
    Status::with_metadata(code, message, metadata)
}

/// The detail that a status carries; absent when it was not made by [`status`].
#[must_use]
pub fn detail_of(status: &Status) -> Option<ErrorDetail> {
    let bytes = status.metadata().get_bin(ERROR_METADATA)?.to_bytes().ok()?;
    ErrorDetail::decode(bytes).ok()
}

impl From<ConvertError> for Status {
    fn from(error: ConvertError) -> Self {
        let detail = ErrorDetail {
            code: "invalid".to_owned(),
            message: error.problem,
            remedy: "correct the field and call again".to_owned(),
            object: error.path,
        };
        status(Code::InvalidArgument, &detail)
    }
}
