//! What a precheck found.

use tidewire_shared::precheck::{CheckItem, CheckResult, PrecheckReport, Waiver, WaiverKind};

use super::{ConvertError, each, enumerated, optional, same_variants, text};
use crate::task::v1 as pb;

same_variants!(CheckResult, pb::CheckResult, [Pass, Warn, Fail]);
same_variants!(WaiverKind, pb::WaiverKind, [Ignored, Overridden]);

impl From<PrecheckReport> for pb::PrecheckReport {
    fn from(report: PrecheckReport) -> Self {
        Self { at_ms: report.at_ms, items: report.items.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<pb::PrecheckReport> for PrecheckReport {
    type Error = ConvertError;

    fn try_from(report: pb::PrecheckReport) -> Result<Self, Self::Error> {
        Ok(Self { at_ms: report.at_ms, items: each("items", report.items)? })
    }
}

impl From<CheckItem> for pb::CheckItem {
    fn from(item: CheckItem) -> Self {
        Self {
            name: item.name,
            result: pb::CheckResult::from(item.result).into(),
            found: item.found,
            message: item.message,
            remedy: item.remedy,
            overridable: item.overridable,
            waiver: item.waiver.map(Into::into),
        }
    }
}

impl TryFrom<pb::CheckItem> for CheckItem {
    type Error = ConvertError;

    fn try_from(item: pb::CheckItem) -> Result<Self, Self::Error> {
        Ok(Self {
            name: text("name", item.name)?,
            result: enumerated::<pb::CheckResult, _>("result", item.result)?,
            found: item.found,
            message: item.message,
            remedy: item.remedy,
            overridable: item.overridable,
            waiver: optional("waiver", item.waiver)?,
        })
    }
}

impl From<Waiver> for pb::Waiver {
    fn from(waiver: Waiver) -> Self {
        let kind = pb::WaiverKind::from(waiver.kind).into();
        Self { kind, by: waiver.by, at_ms: waiver.at_ms }
    }
}

impl TryFrom<pb::Waiver> for Waiver {
    type Error = ConvertError;

    fn try_from(waiver: pb::Waiver) -> Result<Self, Self::Error> {
        let kind = enumerated::<pb::WaiverKind, _>("kind", waiver.kind)?;
        Ok(Self { kind, by: waiver.by, at_ms: waiver.at_ms })
    }
}
