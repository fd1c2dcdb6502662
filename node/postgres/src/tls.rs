//! TLS by rustls with ring, with the meaning that libpq gives to `sslmode`.
//!
//! `prefer` and `require` encrypt without checking who answers; `require` with a CA checks as
//! `verify-ca` does, as libpq's does when a root certificate exists. `verify-ca` checks the chain,
//! `verify-full` also the name. Roots are the given CA, else Mozilla's (`webpki-roots`).

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tidewire_secret::resolve;
use tidewire_shared::spec::{Tls, TlsMode};
use tidewire_shared::{Fault, FaultKind, SecretRef};
use x509_cert::der::{Decode, oid::ObjectIdentifier};

/// Whether and how connections are encrypted.
#[derive(Clone)]
pub struct TlsPolicy {
    /// What is demanded.
    pub mode: TlsMode,
    /// How a handshake is done; unused when `mode` is `disable`.
    pub config: Arc<ClientConfig>,
}

impl fmt::Debug for TlsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPolicy").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl TlsPolicy {
    /// Reads the certificates that `tls` names.
    ///
    /// # Errors
    /// `Configuration` when one of them is absent or not PEM.
    pub fn new(tls: &Tls) -> Result<Self, Fault> {
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(tls, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused("tls", error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates(cert, "tls.cert")?, private_key(key)?)
                .map_err(|error| refused("tls.cert", error))?,
            (None, None) => builder.with_no_client_auth(),
            _ => return Err(refused("tls", "a client certificate needs both cert and key")),
        };
        Ok(Self { mode: tls.mode, config: Arc::new(config) })
    }
}

fn refused(object: &str, message: impl fmt::Display) -> Fault {
    Fault::new(FaultKind::Configuration, object, message)
        .remedy("give PEM files that belong together")
}

fn verifier(
    tls: &Tls,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Fault> {
    let chain = match tls.mode {
        TlsMode::Disable | TlsMode::Prefer => None,
        TlsMode::Require if tls.ca.is_none() => None,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => {
            let roots = Arc::new(roots(tls.ca.as_ref())?);
            let built =
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
            Some(built.map_err(|error| refused("tls.ca", error))?)
        }
    };
    Ok(match chain {
        Some(full) if tls.mode == TlsMode::VerifyFull => full,
        chain => Arc::new(Lenient { chain, provider: Arc::clone(provider) }),
    })
}

fn roots(ca: Option<&SecretRef>) -> Result<RootCertStore, Fault> {
    let Some(ca) = ca else {
        return Ok(RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, "tls.ca")? {
        roots.add(certificate).map_err(|error| refused("tls.ca", error))?;
    }
    Ok(roots)
}

fn certificates(
    reference: &SecretRef,
    object: &str,
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let pem = resolve(reference)?;
    let found = rustls_pemfile::certs(&mut pem.expose().as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused(object, error))?;
    if found.is_empty() { Err(refused(object, "holds no certificate")) } else { Ok(found) }
}

fn private_key(reference: &SecretRef) -> Result<PrivateKeyDer<'static>, Fault> {
    let pem = resolve(reference)?;
    rustls_pemfile::private_key(&mut pem.expose().as_bytes())
        .map_err(|error| refused("tls.key", error))?
        .ok_or_else(|| refused("tls.key", "holds no private key"))
}

/// Checks less than `verify-full`: with `chain` all but the name, without it nothing but that the
/// peer holds the key of the certificate it shows.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The chain, its dates and its use are checked before the name is.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The `tls-server-end-point` channel binding of a server certificate (RFC 5929 §4.1): its hash by
/// the algorithm of its signature, SHA-256 in place of MD5 and SHA-1. `None` where that is undefined.
#[must_use]
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1");
    const ECDSA_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");
    const ECDSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3");
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let algorithm = parsed.signature_algorithm.oid;
    let last = algorithm.arcs().last()?;
    let family = algorithm.parent()?;
    match (family == RSA, family == ECDSA, last) {
        (true, _, 4 | 5 | 11) | (_, true, 2) => Some(Sha256::digest(certificate).to_vec()),
        (true, _, 12) | (_, true, 3) => Some(Sha384::digest(certificate).to_vec()),
        (true, _, 13) | (_, true, 4) => Some(Sha512::digest(certificate).to_vec()),
        _ if algorithm == ECDSA_SHA1 => Some(Sha256::digest(certificate).to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Self-signed, P-256, by ecdsa-with-SHA384.
    const PEM: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBbzCCARWgAwIBAgIUWHobXN9lxiTzyU8xLM9/NxLoaxEwCgYIKoZIzj0EAwMw\n\
DDEKMAgGA1UEAwwBYTAgFw0yNjExMjEwODM4NTdaGA8yMTI2MTAyODA4Mzg1N1ow\n\
DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFdwmhy3/fO0\n\
nsYd3sYTsi7gIVLfsMeVhMWNz2yNcl2Ww0GBMuqXYj0gMhikWDmBSbfiRDnnt9kj\n\
Q7+ZmX1vHF2jUzBRMB0GA1UdDgQWBBRsmUQQuXDIQ4GAWxKm68ZG3Z0xLzAfBgNV\n\
HSMEGDAWgBRsmUQQuXDIQ4GAWxKm68ZG3Z0xLzAPBgNVHRMBAf8EBTADAQH/MAoG\n\
CCqGSM49BAMDA0gAMEUCICTsgTngEQb5RsWgCYurb6HfylCXkO5abPohtj6pxCS4\n\
AiEA0JqFMif2le9ie7BFOFoO8ICPScm2uxVf6u2BoFI43K4=\n\
-----END CERTIFICATE-----\n\
";

    #[test]
    fn a_channel_is_bound_by_the_hash_of_the_certificates_own_signature() {
        let found = certificates(&SecretRef::Value(PEM.into()), "cert").expect("certificate");
        let hash = server_end_point(&found[0]).expect("binding");
        assert_eq!(hash, Sha384::digest(&found[0]).to_vec());
        assert_eq!(server_end_point(b"no certificate"), None);
    }

    #[test]
    fn half_a_client_certificate_is_refused() {
        let cert = Some(SecretRef::Value(PEM.into()));
        let tls = Tls { mode: TlsMode::Require, ca: None, cert, key: None };
        assert_eq!(TlsPolicy::new(&tls).expect_err("no key").kind, FaultKind::Configuration);
    }
}
