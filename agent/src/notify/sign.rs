//! What signatures are made of: HMAC-SHA-256, SHA-256, and their spellings.
//!
//! Not here: what is signed (each provider's file), and Standard Webhooks, which a crate does.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::fmt::Write as _;

#[must_use]
pub fn hmac(key: impl AsRef<[u8]>, message: impl AsRef<[u8]>) -> [u8; 32] {
    hmac_sha256::HMAC::mac(message, key)
}

#[must_use]
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex(hmac_sha256::Hash::hash(bytes.as_ref()))
}

#[must_use]
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[must_use]
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// The value of an `Authorization` header.
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}")))
}

/// As RFC 3986 has it: all but letters, digits and `-._~` as `%XX`.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors_hold() {
        // RFC 4231, test case 2; FIPS 180-2, "abc"; RFC 7617's example; RFC 3986, section 2.
        let mac = hex(hmac("Jefe", "what do ya want for nothing?"));
        assert_eq!(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let hash = sha256_hex("abc");
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(percent_encode("a b/é~*+"), "a%20b%2F%C3%A9~%2A%2B");
    }
}
