//! Signatures of messages, as their receivers check them: HMAC-SHA256 over the time and a secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // Keys of any length are taken.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

/// `DingTalk`'s, base64: keyed by the secret, over the time in milliseconds and the secret.
pub(super) fn dingtalk(at_ms: i64, secret: &str) -> String {
    STANDARD.encode(hmac(secret.as_bytes(), format!("{at_ms}\n{secret}").as_bytes()))
}

/// Feishu's, base64: keyed by the time in seconds and the secret, over nothing.
pub(super) fn feishu(at_s: i64, secret: &str) -> String {
    STANDARD.encode(hmac(format!("{at_s}\n{secret}").as_bytes(), b""))
}

/// Our own, hexadecimal: keyed by the secret, over the time in milliseconds, a full stop and the body.
pub(super) fn plain(at_ms: i64, secret: &str, body: &str) -> String {
    let bytes = hmac(secret.as_bytes(), format!("{at_ms}.{body}").as_bytes());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the vendors' own sample programs (Python's `hmac`) give for these inputs: the secret of
    /// `DingTalk`'s sample and the time of Feishu's.
    #[test]
    fn signatures_are_those_of_the_vendors_samples() {
        assert_eq!(
            dingtalk(1577262236757, "this is secret"),
            "hmPWwU+7lVdm3ZZz0r9tSfx0L4Q26jWOZr9+Gs6EZQM="
        );
        assert_eq!(feishu(1599360473, "demo"), "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8=");
        assert_eq!(
            plain(1577262236757, "key", r#"{"a":1}"#),
            "899efb8e9002252cba27b4d9a1f6a14e25c9b921baff70e5e41f8ee7b7d26620"
        );
    }
}
