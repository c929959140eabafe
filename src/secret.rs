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

    /// Compares with what somebody sent, in time that does not depend on where they differ.
    pub fn matches(&self, candidate: &str) -> bool {
        // Digests: `ct_eq` on slices of unequal length returns early and tells the length.
        self.digest().matches(&Digest::of(candidate))
    }

    /// What is enough to know the secret again.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// A keyed hash that names this secret in stored state without telling anything about it.
    pub fn fingerprint(&self, key: &FingerprintKey) -> Fingerprint {
        Fingerprint::new(self.0.as_bytes(), key)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The SHA-256 of a secret: enough to know it again, too little to send it. Of a secret that nobody
/// can guess it may be stored; one that people think up would be found by trying.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// What a written digest begins with.
    pub const PREFIX: &str = "sha256:";

    /// The digest of a text as it is.
    pub fn of(text: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// Reads `sha256:` and 64 hex digits, in any case; `None` for everything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(Self::PREFIX)?.as_bytes();
        let (pairs, rest) = digits.as_chunks::<2>();
        let mut bytes = [0; 32];
        if !rest.is_empty() || pairs.len() != bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            *byte = u8::try_from(high? << 4 | low?).ok()?;
        }
        Some(Self(bytes))
    }

    /// Compares in time that does not depend on where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// A keyed hash that names whoever holds the secret, whether that is known or only its digest.
    pub fn fingerprint(&self, key: &FingerprintKey) -> Fingerprint {
        Fingerprint::new(&self.0, key)
    }
}

impl fmt::Debug for Digest {
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

impl Fingerprint {
    fn new(secret: &[u8], key: &FingerprintKey) -> Self {
        let tag = hmac::sign(&key.0, secret);
        Self(tag.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

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
    fn a_digest_is_read_as_people_write_it_and_knows_its_secret() {
        // `printf %s key-one | sha256sum`
        let hex = "9b346041bc9a49574eb2665b2ad2a0a3f9f9cce4e42f5d1f26deb8a256b5966a";
        for written in [hex.to_owned(), hex.to_uppercase()] {
            let digest = Digest::parse(&format!("sha256:{written}")).expect("a digest");
            assert!(digest.matches(&Secret::new("key-one").digest()));
            assert!(!digest.matches(&Digest::of("key-onf")));
            assert_eq!(format!("{digest:?}"), "[redacted]");
        }
        for other in [
            "",
            "sha256:",
            "key-one",
            hex,
            "sha256:9b",
            &format!("sha256:{hex}0"),
        ] {
            assert!(Digest::parse(other).is_none(), "{other}");
        }
        assert!(Digest::parse(&format!("sha256:+{}", &hex[1..])).is_none());
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
