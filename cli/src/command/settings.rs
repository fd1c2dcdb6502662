//! Settings of a server: a file, then the environment and flags, the later the stronger.
//!
//! (clap reads the environment for a flag that is not given, so both come as one layer.)

use std::path::Path;

use figment::Figment;
use figment::providers::{Format, Serialized, Yaml};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{Exit, Failure};

/// What `file` and `flags` say together; `object` names the settings in errors.
pub(super) fn layered<T: DeserializeOwned>(
    object: &str,
    file: Option<&Path>,
    flags: impl Serialize,
) -> Result<T, Failure> {
    let invalid = |why: String| {
        let object = file.map_or_else(|| object.to_owned(), |file| file.display().to_string());
        Failure::new(Exit::Usage, "invalid", object, why)
            .remedy("see `--help` for the flags; the keys of a file are the flags in camelCase")
    };
    let mut layers = Figment::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| invalid(error.to_string()))?;
        layers = layers.merge(Yaml::string(&text));
    }
    layers.merge(Serialized::defaults(flags)).extract().map_err(|error| {
        let why = error.kind.to_string();
        invalid(if error.path.is_empty() {
            why
        } else {
            format!("{}: {why}", error.path.join("."))
        })
    })
}

/// A setting that has no default and was not given.
pub(super) fn missing(object: &str, remedy: String) -> Failure {
    Failure::new(Exit::Usage, "invalid", object, "is missing").remedy(remedy)
}
