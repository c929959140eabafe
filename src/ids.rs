//! The names things go by: providers, credentials, requests.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use thiserror::Error;

/// Longest name part of an id: long enough for any email address.
const MAX_NAME_BYTES: usize = 254;

/// A provider's name as users write it: `gemini`, `my_vllm`. Lower case; cheap to clone.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProviderId(Arc<str>);

impl ProviderId {
    /// Accepts lower-case letters, digits, `_`, `-` and `.`, beginning with a letter or digit.
    pub fn parse(name: &str) -> Result<Self, IdError> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
        let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if name.len() > 64 || !begins_well || !name.chars().all(legal) {
            return Err(IdError::Provider(name.to_owned()));
        }
        Ok(Self(name.into()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `PROVIDER/NAME`: stable, unique, never derived from the secret. Cheap to clone.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialId(Arc<str>);

impl CredentialId {
    /// Joins a provider with a name: a number, a label or an email address.
    pub fn new(provider: &ProviderId, name: &str) -> Result<Self, IdError> {
        let legal = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(legal) {
            return Err(IdError::Name(name.to_owned()));
        }
        Ok(Self(format!("{provider}/{name}").into()))
    }

    /// Reads `PROVIDER/NAME`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let (provider, name) = text
            .split_once('/')
            .ok_or_else(|| IdError::Shape(text.to_owned()))?;
        Self::new(&ProviderId::parse(provider)?, name)
    }

    /// The part before the slash.
    pub fn provider(&self) -> &str {
        self.0.split_once('/').map_or("", |(provider, _)| provider)
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request's id, 16 random bytes, printed as 32 hex digits in `x-request-id`, logs and journal.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct RequestId(pub u128);

impl RequestId {
    /// A new random id. It names, it does not protect: no cryptographic randomness needed.
    pub fn random() -> Self {
        Self(fastrand::u128(..))
    }

    /// Reads the 32 hex digits that `Display` writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }

    /// What `Display` writes.
    pub fn to_hex(self) -> [u8; 32] {
        hex(self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.0)
    }
}

/// Writes 32 lower-case hex digits in one piece.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bits: u128) -> fmt::Result {
    f.write_str(str::from_utf8(&hex(bits)).unwrap_or_default())
}

/// 32 lower-case hex digits. Each request prints several ids, and the standard library's way of writing
/// a `u128` takes ten times as long.
#[expect(clippy::indexing_slicing, reason = "four bits, in a table of sixteen")]
fn hex(bits: u128) -> [u8; 32] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = [b'0'; 32];
    for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(bits.to_be_bytes()) {
        *pair = [byte >> 4, byte & 15].map(|nibble| DIGITS[usize::from(nibble)]);
    }
    text
}

/// A version 4 UUID of 128 bits, for vendors whose requests carry one.
pub fn uuid(bits: u128) -> String {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0x3 << 62;
    let bits = bits & !VERSION & !VARIANT | 0x4 << 76 | 0x2 << 62;
    let mut text = String::with_capacity(36);
    for (at, byte) in bits.to_be_bytes().iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Why a text is no id.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IdError {
    #[error(
        "`{0}` is not a credential name (no spaces, slashes or control characters, 254 bytes at most)"
    )]
    Name(String),
    #[error("`{0}` is not a provider name (lower-case letters, digits, `_`, `-`, `.`)")]
    Provider(String),
    #[error("`{0}` is not a credential id (PROVIDER/NAME)")]
    Shape(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_id_splits_at_its_slash() {
        let id = CredentialId::parse("antigravity/me@example.com").expect("a valid id");
        assert_eq!(
            (id.provider(), id.name()),
            ("antigravity", "me@example.com")
        );
        assert_eq!(id.to_string(), "antigravity/me@example.com");
    }

    #[test]
    fn malformed_ids_are_refused() {
        for bad in [
            "",
            "gemini",
            "/1",
            "gemini/",
            "Gemini/1",
            "gemini/a b",
            "gemini/a/b",
            "-x/1",
        ] {
            assert!(CredentialId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn uuids_have_version_and_variant() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn a_request_id_survives_print_and_parse() {
        let id = RequestId(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "00000000000000000123456789abcdef");
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(RequestId::parse(&id.to_string()), Some(id));
        assert_eq!(RequestId::parse("xyz"), None);
    }
}
