//! Ids that requests to Code Assist carry: UUIDs of hashes or fresh random bits, and Antigravity's
//! session ids.

use ring::digest::{SHA256, digest};

pub(super) use crate::ids::uuid;

/// 128 bits that hang on all of `parts`: equal parts give equal bits.
pub(super) fn bits(parts: &[&[u8]]) -> u128 {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&part.len().to_be_bytes());
        all.extend_from_slice(part);
    }
    let mut bits = [0; 16];
    for (to, from) in bits.iter_mut().zip(digest(&SHA256, &all).as_ref()) {
        *to = *from;
    }
    u128::from_be_bytes(bits)
}

/// Antigravity's id of a conversation: a minus sign and 63 bits of the SHA-256 of the text it begins
/// with (as CLIProxyAPI makes it, read 2026-11-22). The same from turn to turn, which its prompt
/// cache wants.
pub(super) fn session(first_text: &str) -> String {
    let mut first = [0; 8];
    let hash = digest(&SHA256, first_text.as_bytes());
    for (to, from) in first.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    format!("-{}", u64::from_be_bytes(first) & (u64::MAX >> 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_by_its_first_text() {
        assert_eq!(
            session("What is the weather in Paris?"),
            "-6009649069285727516"
        );
        assert_ne!(session("a"), session("b"));
    }

    #[test]
    fn equal_parts_give_equal_bits() {
        assert_eq!(bits(&[b"a", b"b"]), bits(&[b"a", b"b"]));
        assert_ne!(bits(&[b"a", b"b"]), bits(&[b"ab", b""]));
    }
}
