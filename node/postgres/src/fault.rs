//! Turns PostgreSQL's and the socket's errors into faults.
use tidewire_shared::{Fault, FaultKind};
pub(crate) fn unbuilt<T>() -> Result<T, Fault> {
    Err(Fault::new(FaultKind::Internal, "tidewire-postgres", "is not built yet"))
}
