//! Secrets and encryption, on either side.

use tidewire_shared::SecretRef;
use tidewire_shared::spec::{Tls, TlsMode};

use super::place::{Keys, Place, Walk};

/// `{env: NAME}`, `{file: PATH}` or `{value: …}`.
pub(super) fn secret(place: &Place<'_>, warnings: &mut Vec<String>) -> Walk<SecretRef> {
    let reference = reference(place)?;
    if matches!(reference, SecretRef::Value(_)) {
        warnings.push(format!(
            "{}: the secret stands in the document and in the coordinators' log; use {{env: NAME}} or {{file: PATH}}",
            place.path()
        ));
    }
    Ok(reference)
}

/// A certificate or key, which may as well be a path or stand in the document.
pub(super) fn pem(place: &Place<'_>) -> Walk<SecretRef> {
    match place.as_text() {
        Some(_) => Ok(SecretRef::File(place.filled_text()?.to_owned())),
        None => reference(place),
    }
}

fn reference(place: &Place<'_>) -> Walk<SecretRef> {
    if place.as_text().is_some() {
        return place.wrong(
            "is a bare text",
            "write {env: NAME}, {file: PATH} or, where everyone may read it, {value: TEXT}",
        );
    }
    let keys = place.keys(&["env", "file", "secret", "value"])?;
    let env = keys.get("env").map(|at| at.filled_text()).transpose()?;
    let file = keys.get("file").map(|at| at.filled_text()).transpose()?;
    let value = keys.get("value").map(|at| at.text()).transpose()?;
    if let Some(named) = keys.get("secret") {
        named.filled_text()?;
        return named.later("a secret kept by the cluster", "use {env: NAME} or {file: PATH}");
    }
    match (env, file, value) {
        (Some(name), None, None) => Ok(SecretRef::Env(name.to_owned())),
        (None, Some(path), None) => Ok(SecretRef::File(path.to_owned())),
        (None, None, Some(value)) => Ok(SecretRef::Value(value.to_owned())),
        _ => place.wrong("names not exactly one place", "keep one of env, file and value"),
    }
}

/// Encryption of the source connection.
pub(super) fn tls(keys: &Keys<'_>, warnings: &mut Vec<String>) -> Walk<Tls> {
    let Some(place) = keys.get("tls") else {
        return Ok(Tls { mode: TlsMode::Prefer, ca: None, cert: None, key: None });
    };
    let keys = place.keys(&["mode", "ca", "cert", "key"])?;
    let mode = keys.get_or("mode", TlsMode::Prefer, |at| at.word(&MODES))?;
    let ca = keys.get("ca").map(|at| pem(&at)).transpose()?;
    let cert = keys.get("cert").map(|at| pem(&at)).transpose()?;
    let key = keys.get("key").map(|at| pem(&at)).transpose()?;
    if let Some(at) = keys.get("key")
        && matches!(key, Some(SecretRef::Value(_)))
    {
        secret(&at, warnings)?;
    }
    let tls = Tls { mode, ca, cert, key };
    fits_together(&keys, &tls)?;
    Ok(tls)
}

fn fits_together(keys: &Keys<'_>, tls: &Tls) -> Walk<()> {
    // As in libpq, `require` checks the certificate where there is an authority to check it by.
    let verifies = !matches!(tls.mode, TlsMode::Disable | TlsMode::Prefer);
    if let Some(at) = keys.get("ca")
        && !verifies
    {
        return at.wrong(
            format_args!("has no use: mode {} checks no certificate", mode_word(tls.mode)),
            "write mode: verify-full, or leave `ca` out",
        );
    }
    match (keys.get("cert"), keys.get("key")) {
        (Some(at), None) => at.wrong("has no key", "add `key`"),
        (None, Some(at)) => at.wrong("has no certificate", "add `cert`"),
        (Some(at), Some(_)) if tls.mode == TlsMode::Disable => at
            .wrong("has no use: mode disable encrypts nothing", "leave it out, or change the mode"),
        _ => Ok(()),
    }
}

const MODES: [(&str, TlsMode); 5] = [
    ("disable", TlsMode::Disable),
    ("prefer", TlsMode::Prefer),
    ("require", TlsMode::Require),
    ("verify-ca", TlsMode::VerifyCa),
    ("verify-full", TlsMode::VerifyFull),
];

/// The word that a document uses for `mode`.
pub(super) fn mode_word(mode: TlsMode) -> &'static str {
    MODES.iter().find(|(_, known)| *known == mode).map_or("", |(word, _)| word)
}
