//! Reads secrets from where the task document says they are: the one place for both ends of a task.

use std::path::Path;

use tidewire_shared::{Fault, FaultKind, Secret, SecretRef};

/// The secret itself: of an environment variable, of a file without its last newline, or as written.
///
/// # Errors
/// `Configuration`, naming the variable or file, when it is absent, unreadable or not UTF-8.
pub fn resolve(reference: &SecretRef) -> Result<Secret, Fault> {
    match reference {
        SecretRef::Value(text) => Ok(Secret::new(text.clone())),
        SecretRef::Env(name) => std::env::var(name).map(Secret::new).map_err(|_| {
            let message = "is not set on this node, or is not UTF-8";
            Fault::new(FaultKind::Configuration, format!("environment variable {name}"), message)
                .remedy("set it for every node that may run the task")
        }),
        SecretRef::File(path) => {
            let text = std::fs::read_to_string(Path::new(path)).map_err(|error| {
                let message = format!("cannot be read on this node: {}", error.kind());
                Fault::new(FaultKind::Configuration, format!("file {path}"), message)
                    .remedy("put it on every node that may run the task, readable for the node")
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
