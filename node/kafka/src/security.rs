//! From the security of a cluster to librdkafka's properties.
//!
//! The certificate of a broker and its name are always checked; without a `ca` the system's
//! authorities are trusted. Keys and certificates are handed over as PEM texts, never as paths.

use tidewire_secret::resolve;
use tidewire_shared::spec::{KafkaSecurity, Sasl, SaslMechanism, SecurityProtocol};
use tidewire_shared::{Fault, FaultKind, Secret, SecretRef};

use crate::config::Side;

/// A property of librdkafka and its value, which nobody prints.
pub(crate) type Secrets = Vec<(&'static str, Secret)>;

/// Reads the secrets that `security` names.
///
/// # Errors
///
/// `Configuration` when one of them is absent or not what it should be.
pub(crate) fn properties(security: &KafkaSecurity, side: Side) -> Result<Secrets, Fault> {
    let protocol = match security.protocol {
        SecurityProtocol::Plaintext => "plaintext",
        SecurityProtocol::Ssl => "ssl",
        SecurityProtocol::SaslPlaintext => "sasl_plaintext",
        SecurityProtocol::SaslSsl => "sasl_ssl",
    };
    let mut properties = vec![plain("security.protocol", protocol)];
    if matches!(security.protocol, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl) {
        encryption(security, side, &mut properties)?;
    }
    if matches!(security.protocol, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl) {
        let Some(sasl) = &security.sasl else {
            let message = format!("protocol {protocol} needs a login");
            let object = format!("{}.security", side.as_str());
            return Err(Fault::new(FaultKind::Configuration, object, message)
                .remedy("add mechanism, user and password"));
        };
        login(sasl, side, &mut properties)?;
    }
    Ok(properties)
}

fn plain(name: &'static str, value: &str) -> (&'static str, Secret) {
    (name, Secret::new(value.to_owned()))
}

fn encryption(security: &KafkaSecurity, side: Side, properties: &mut Secrets) -> Result<(), Fault> {
    properties.push(plain("enable.ssl.certificate.verification", "true"));
    properties.push(plain("ssl.endpoint.identification.algorithm", "https"));
    match &security.ca {
        Some(ca) => properties.push(("ssl.ca.pem", pem(ca, side, "ca", "CERTIFICATE")?)),
        None => properties.push(plain("ssl.ca.location", "probe")),
    }
    match (&security.cert, &security.key) {
        (Some(cert), Some(key)) => {
            properties.push(("ssl.certificate.pem", pem(cert, side, "cert", "CERTIFICATE")?));
            properties.push(("ssl.key.pem", pem(key, side, "key", "PRIVATE KEY")?));
        }
        (None, None) => {}
        _ => return Err(refused(side, "cert", "a client certificate needs both cert and key")),
    }
    Ok(())
}

fn login(sasl: &Sasl, side: Side, properties: &mut Secrets) -> Result<(), Fault> {
    let mechanism = match sasl.mechanism {
        SaslMechanism::Plain => "PLAIN",
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
    };
    let password = resolve(&sasl.password)?;
    if password.expose().contains('\0') {
        return Err(refused(side, "password", "holds a zero byte"));
    }
    properties.push(plain("sasl.mechanism", mechanism));
    properties.push(plain("sasl.username", &sasl.user));
    properties.push(("sasl.password", password));
    Ok(())
}

/// A PEM text that holds what its place needs.
fn pem(reference: &SecretRef, side: Side, place: &str, kind: &str) -> Result<Secret, Fault> {
    let text = resolve(reference)?;
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.ends_with("-----");
    let holds = text.expose().lines().any(|line| begins(line.trim_end()) && line.contains(kind));
    if holds { Ok(text) } else { Err(refused(side, place, format_args!("holds no {kind} in PEM"))) }
}

fn refused(side: Side, place: &str, message: impl std::fmt::Display) -> Fault {
    let object = format!("{}.security.{place}", side.as_str());
    Fault::new(FaultKind::Configuration, object, message)
        .remedy("give PEM files that belong together, and a password of one line")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERT: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

    fn value(properties: &Secrets, key: &str) -> Option<String> {
        properties.iter().find(|(name, _)| *name == key).map(|(_, value)| value.expose().to_owned())
    }

    fn sasl(mechanism: SaslMechanism) -> Option<Sasl> {
        let password = SecretRef::Value("p w".to_owned());
        Some(Sasl { mechanism, user: "u".to_owned(), password })
    }

    #[test]
    fn each_mechanism_is_handed_over_with_its_login() {
        for (mechanism, word) in [
            (SaslMechanism::Plain, "PLAIN"),
            (SaslMechanism::ScramSha256, "SCRAM-SHA-256"),
            (SaslMechanism::ScramSha512, "SCRAM-SHA-512"),
        ] {
            let protocol = SecurityProtocol::SaslPlaintext;
            let security =
                KafkaSecurity { protocol, sasl: sasl(mechanism), ..KafkaSecurity::default() };
            let properties = properties(&security, Side::Target).expect("properties");
            assert_eq!(value(&properties, "sasl.mechanism").as_deref(), Some(word));
            assert_eq!(value(&properties, "sasl.password").as_deref(), Some("p w"));
            assert!(!format!("{properties:?}").contains("p w"));
            assert_eq!(value(&properties, "ssl.ca.location"), None);
        }
    }

    #[test]
    fn brokers_are_checked_against_the_ca_or_the_systems_authorities() {
        let mut security =
            KafkaSecurity { protocol: SecurityProtocol::Ssl, ..KafkaSecurity::default() };
        let without = properties(&security, Side::Target).expect("properties");
        assert_eq!(value(&without, "ssl.ca.location").as_deref(), Some("probe"));
        security.ca = Some(SecretRef::Value(CERT.to_owned()));
        let with = properties(&security, Side::Target).expect("properties");
        assert_eq!(value(&with, "ssl.ca.location"), None);
        assert_eq!(value(&with, "ssl.ca.pem").as_deref(), Some(CERT));
        let checks = "enable.ssl.certificate.verification";
        assert_eq!(value(&with, checks).as_deref(), Some("true"));
    }

    #[test]
    fn what_is_no_pem_is_refused_without_showing_it() {
        let mut security =
            KafkaSecurity { protocol: SecurityProtocol::Ssl, ..KafkaSecurity::default() };
        security.ca = Some(SecretRef::Value("hunter2".to_owned()));
        let fault = properties(&security, Side::Target).expect_err("no PEM");
        assert_eq!(fault.kind, FaultKind::Configuration);
        assert_eq!(fault.object, "target.security.ca");
        assert!(!fault.message.contains("hunter2"));
        security.ca = None;
        security.cert = Some(SecretRef::Value(CERT.to_owned()));
        assert_eq!(
            properties(&security, Side::Target).expect_err("half").kind,
            FaultKind::Configuration
        );
    }
}
