//! Reads secrets from where documents say they are: the one place for both ends of a task, and for
//! channels of alerts.

use std::path::Path;

use tidewire_shared::{Fault, FaultKind, Secret, SecretRef};

/// Who reads a secret, and where it must be therefore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A node, for a task.
    Node,
    /// A coordinator, for an alert.
    Coordinator,
}

impl Reader {
    fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Coordinator => "coordinator",
        }
    }

    fn everyone(self) -> &'static str {
        match self {
            Self::Node => "every node that may run the task",
            Self::Coordinator => "every coordinator: each of them may lead",
        }
    }
}

/// The secret itself, as a node reads it.
///
/// # Errors
/// As [`resolve_by`].
pub fn resolve(reference: &SecretRef) -> Result<Secret, Fault> {
    resolve_by(Reader::Node, reference)
}

/// The secret itself: of an environment variable, of a file without its last newline, or as written.
///
/// # Errors
/// `Configuration`, naming the variable or file, when it is absent, unreadable or not UTF-8.
pub fn resolve_by(reader: Reader, reference: &SecretRef) -> Result<Secret, Fault> {
    let (here, everyone) = (reader.word(), reader.everyone());
    match reference {
        SecretRef::Value(text) => Ok(Secret::new(text.clone())),
        SecretRef::Env(name) => std::env::var(name).map(Secret::new).map_err(|_| {
            let message = format!("is not set on this {here}, or is not UTF-8");
            Fault::new(FaultKind::Configuration, format!("environment variable {name}"), message)
                .remedy(format!("set it for {everyone}"))
        }),
        SecretRef::File(path) => {
            let text = std::fs::read_to_string(Path::new(path)).map_err(|error| {
                let message = format!("cannot be read on this {here}: {}", error.kind());
                Fault::new(FaultKind::Configuration, format!("file {path}"), message)
                    .remedy(format!("put it on {everyone}, readable for its process"))
            })?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_loses_its_last_newline_only() {
        let mut file = tempfile::NamedTempFile::new().expect("file");
        file.write_all(b"a\nb\n").expect("write");
        let path = file.path().to_str().expect("path").to_owned();
        assert_eq!(resolve(&SecretRef::File(path)).expect("secret").expose(), "a\nb");
    }

    #[test]
    fn what_is_missing_is_named() {
        let fault = resolve(&SecretRef::File("/nowhere/pw".into())).expect_err("absent");
        assert_eq!(fault.object, "file /nowhere/pw");
        let fault = resolve(&SecretRef::Env("TIDEWIRE_NOT_SET".into())).expect_err("absent");
        assert_eq!(fault.kind, FaultKind::Configuration);
    }
}
