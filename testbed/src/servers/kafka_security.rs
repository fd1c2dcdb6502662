//! A broker that demands who comes: SASL over plain and TLS, mutual TLS, and one listener whose
//! certificate has expired.

use anyhow::Result;

use super::free_port;
use super::kafka::{Kafka, KafkaOptions, Listener};
use crate::authority::{Authority, Identity};

/// The user that every SASL mechanism knows.
pub const USER: &str = "carrier";
/// Its password.
pub const PASSWORD: &str = "swordfish";

/// A running broker with its secured listeners. All of them are on 127.0.0.1, which is also the only
/// name in their certificates.
#[derive(Debug)]
pub struct SecuredKafka {
    /// The broker itself, with its open listeners for the testbed's own clients.
    pub kafka: Kafka,
    /// Who signed the brokers' certificates, and whose clients are let in.
    pub authority: Authority,
    /// Port that takes SASL without encryption.
    pub sasl_plaintext: u16,
    /// Port that takes SASL inside TLS.
    pub sasl_ssl: u16,
    /// Port that takes clients with a certificate.
    pub mutual: u16,
    /// Port whose certificate has expired.
    pub expired: u16,
}

impl SecuredKafka {
    /// Starts it.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub fn start() -> Result<Self> {
        Self::start_with(Settings::new())
    }

    /// Starts one that allows [`USER`] nothing unless it is told so ([`Kafka::allow`]); who comes without
    /// a login, as the testbed's own clients do, may do everything.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub fn start_guarded() -> Result<Self> {
        let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        Self::start_with(vec![
            ("authorizer.class.name".to_owned(), authorizer.to_owned()),
            ("super.users".to_owned(), "User:ANONYMOUS".to_owned()),
        ])
    }

    fn start_with(settings: Settings) -> Result<Self> {
        let authority = Authority::new("kafka authority")?;
        let fresh = authority.server(&["127.0.0.1"])?;
        let stale = authority.expired_server(&["127.0.0.1"])?;
        let [sasl_plaintext, sasl_ssl, mutual, expired] =
            [free_port()?, free_port()?, free_port()?, free_port()?];
        let listener = |name, protocol, port| Listener { name, protocol, port };
        let listeners = vec![
            listener("OPENLOGIN", "SASL_PLAINTEXT", sasl_plaintext),
            listener("LOGIN", "SASL_SSL", sasl_ssl),
            listener("MUTUAL", "SSL", mutual),
            listener("EXPIRED", "SSL", expired),
        ];
        let mut settings = settings;
        settings.extend(login("openlogin"));
        settings.extend(login("login"));
        settings.extend(encryption("login", &fresh));
        settings.extend(encryption("mutual", &fresh));
        settings.extend(encryption("expired", &stale));
        settings.extend(trust("mutual", &authority));
        let format = ["SCRAM-SHA-256", "SCRAM-SHA-512"].into_iter().flat_map(|mechanism| {
            let user = format!("{mechanism}=[name={USER},password={PASSWORD}]");
            ["--add-scram".to_owned(), user]
        });
        let options = KafkaOptions {
            settings,
            listeners,
            format: format.collect(),
            ..KafkaOptions::default()
        };
        let kafka = Kafka::start(options)?;
        Ok(Self { kafka, authority, sasl_plaintext, sasl_ssl, mutual, expired })
    }
}

type Settings = Vec<(String, String)>;

/// PLAIN and SCRAM on a listener.
fn login(listener: &str) -> Settings {
    let modules = "org.apache.kafka.common.security";
    let plain = format!("{modules}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";");
    let scram = format!("{modules}.scram.ScramLoginModule required;");
    let mechanisms = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned();
    let name = |rest: &str| format!("listener.name.{listener}.{rest}");
    vec![
        (name("sasl.enabled.mechanisms"), mechanisms),
        (name("plain.sasl.jaas.config"), plain),
        (name("scram-sha-256.sasl.jaas.config"), scram.clone()),
        (name("scram-sha-512.sasl.jaas.config"), scram),
    ]
}

fn encryption(listener: &str, identity: &Identity) -> Settings {
    let name = |rest: &str| format!("listener.name.{listener}.ssl.{rest}");
    vec![
        (name("keystore.type"), "PEM".to_owned()),
        (name("keystore.certificate.chain"), one_line(&identity.cert)),
        (name("keystore.key"), one_line(&identity.key)),
    ]
}

/// Lets in who has a certificate of `authority`, and nobody else.
fn trust(listener: &str, authority: &Authority) -> Settings {
    let name = |rest: &str| format!("listener.name.{listener}.ssl.{rest}");
    vec![
        (name("client.auth"), "required".to_owned()),
        (name("truststore.type"), "PEM".to_owned()),
        (name("truststore.certificates"), one_line(&authority.pem())),
    ]
}

/// A PEM text as the value of a Java property.
fn one_line(pem: &str) -> String {
    pem.replace('\r', "").replace('\n', "\\n")
}
