//! The tables of a task.

use tidewire_shared::precheck::CheckItem;

use super::source::SourceLook;
use crate::facts::SourcePrecheck;

/// The items on tables.
pub(super) fn judge(_look: &SourceLook<'_>, _seen: &SourcePrecheck) -> Vec<CheckItem> {
    Vec::new()
}
