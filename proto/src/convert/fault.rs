//! Trouble as a user reads it.

use tidewire_shared::{Fault, FaultKind};

use super::{ConvertError, text};
use crate::task::v1 as pb;

impl From<Fault> for pb::Fault {
    fn from(fault: Fault) -> Self {
        Self {
            kind: name(fault.kind).to_owned(),
            object: fault.object,
            message: fault.message,
            remedy: fault.remedy,
        }
    }
}

impl TryFrom<pb::Fault> for Fault {
    type Error = ConvertError;

    fn try_from(fault: pb::Fault) -> Result<Self, Self::Error> {
        let kind = kind(&fault.kind).ok_or_else(|| {
            ConvertError::new("kind", format!("`{}` is no kind of fault", fault.kind))
        })?;
        Ok(Self {
            kind,
            object: fault.object,
            message: text("message", fault.message)?,
            remedy: fault.remedy,
        })
    }
}

fn name(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::SourceUnreachable => "SourceUnreachable",
        FaultKind::SourceBusy => "SourceBusy",
        FaultKind::SourceDenied => "SourceDenied",
        FaultKind::SourceLogin => "SourceLogin",
        FaultKind::TargetLogin => "TargetLogin",
        FaultKind::SourceState => "SourceState",
        FaultKind::SourceHistory => "SourceHistory",
        FaultKind::Decode => "Decode",
        FaultKind::Encode => "Encode",
        FaultKind::TargetUnreachable => "TargetUnreachable",
        FaultKind::TargetBusy => "TargetBusy",
        FaultKind::TargetDenied => "TargetDenied",
        FaultKind::TargetState => "TargetState",
        FaultKind::TargetHistory => "TargetHistory",
        FaultKind::Fenced => "Fenced",
        FaultKind::Coordination => "Coordination",
        FaultKind::Configuration => "Configuration",
        FaultKind::Internal => "Internal",
    }
}

fn kind(name: &str) -> Option<FaultKind> {
    Some(match name {
        "SourceUnreachable" => FaultKind::SourceUnreachable,
        "SourceBusy" => FaultKind::SourceBusy,
        "SourceDenied" => FaultKind::SourceDenied,
        "SourceLogin" => FaultKind::SourceLogin,
        "TargetLogin" => FaultKind::TargetLogin,
        "SourceState" => FaultKind::SourceState,
        "SourceHistory" => FaultKind::SourceHistory,
        "Decode" => FaultKind::Decode,
        "Encode" => FaultKind::Encode,
        "TargetUnreachable" => FaultKind::TargetUnreachable,
        "TargetBusy" => FaultKind::TargetBusy,
        "TargetDenied" => FaultKind::TargetDenied,
        "TargetState" => FaultKind::TargetState,
        "TargetHistory" => FaultKind::TargetHistory,
        "Fenced" => FaultKind::Fenced,
        "Coordination" => FaultKind::Coordination,
        "Configuration" => FaultKind::Configuration,
        "Internal" => FaultKind::Internal,
        _ => return None,
    })
}
