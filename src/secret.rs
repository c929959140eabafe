//! A string that never prints: API keys, tokens, client keys.
//!
//! `Secret` has no `Display` and no `Serialize`; `Debug` says `[redacted]`. Whoever needs the text
//! calls [`Secret::expose`], which is easy to search for.

use std::fmt;
use std::sync::Arc;

use ring::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::ids::write_hex;

/// A secret string, zeroed when its last owner drops it. Cloning shares it.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Wraps a secret. Surrounding white space, which pasted keys often carry, is removed.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Zeroizing::new(text.trim().to_owned())))
    }

    /// The text itself: for the header, file or request that needs it, and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `true` for the empty string, which is never a usable secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `…abcd`: the last four characters, or only `…` where that would show most of the secret.
    pub fn last4(&self) -> String {
        let characters = self.0.chars().count();
        if characters < 12 {
            return "…".to_owned();
        }
        let tail: String = self.0.chars().skip(characters - 4).collect();
        format!("…{tail}")
    }

    /// Compares with what a client sent, in time that does not depend on where they differ.
    pub fn matches(&self, candidate: &str) -> bool {
        // Digests first: `ct_eq` on slices of unequal length returns early and tells the length.
        let ours = ring::digest::digest(&ring::digest::SHA256, self.0.as_bytes());
        let theirs = ring::digest::digest(&ring::digest::SHA256, candidate.as_bytes());
        ours.as_ref().ct_eq(theirs.as_ref()).into()
    }

    /// A keyed hash that names this secret in stored state without telling anything about it.
    pub fn fingerprint(&self, key: &FingerprintKey) -> Fingerprint {
        let tag = hmac::sign(&key.0, self.0.as_bytes());
        let mut short = [0; 16];
        short.copy_from_slice(&tag.as_ref()[..16]);
        Fingerprint(short)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The per-installation key of [`Secret::fingerprint`]; 32 random bytes kept beside the
/// credentials, so that a stored fingerprint cannot be checked against a guessed secret.
#[derive(Clone)]
pub struct FingerprintKey(hmac::Key);

impl FingerprintKey {
    /// Uses the given random bytes as key.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Which secret some stored state belongs to. Prints as 32 hex digits.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_never_holds_the_secret() {
        let secret = Secret::new("sk-canary-0123456789");
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }

    #[test]
    fn a_short_secret_shows_none_of_its_characters() {
        assert_eq!(Secret::new("short").last4(), "…");
        assert_eq!(Secret::new("sk-0123456789abcd").last4(), "…abcd");
    }

    #[test]
    fn a_secret_matches_itself_only() {
        let secret = Secret::new(" key-one\n");
        assert!(secret.matches("key-one"));
        assert!(!secret.matches("key-onf"));
        assert!(!secret.matches("key-one-and-more"));
        assert!(!secret.matches(""));
    }

    #[test]
    fn fingerprints_depend_on_secret_and_key() {
        let (a, b) = (FingerprintKey::new(&[1; 32]), FingerprintKey::new(&[2; 32]));
        let secret = Secret::new("sk-0123456789abcd");
        assert_eq!(secret.fingerprint(&a), secret.fingerprint(&a));
        assert_ne!(secret.fingerprint(&a), secret.fingerprint(&b));
        assert_ne!(secret.fingerprint(&a), Secret::new("other").fingerprint(&a));
    }
}
