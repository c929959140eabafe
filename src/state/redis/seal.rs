//! Tokens under a seal: ChaCha20-Poly1305 with a key that is not in Redis and a random nonce for
//! each text. Whoever reads Redis learns how long they are and when they changed.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Seals and opens.
pub(super) struct Seal {
    key: Option<LessSafeKey>,
}

impl Seal {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).ok();
        Self {
            key: key.map(LessSafeKey::new),
        }
    }

    /// The text under seal, for one purpose (`about`); it cannot be opened for another.
    pub(super) fn close(&self, text: &[u8], about: &str) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = text.to_vec();
        let aad = Aad::from(about.as_bytes());
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        let key = self.key.as_ref()?;
        key.seal_in_place_append_tag(nonce_used, aad, &mut sealed)
            .ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// The text again; `None` for what was not sealed with this key for this purpose.
    pub(super) fn open(&self, sealed: &[u8], about: &str) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(rest.to_vec());
        let aad = Aad::from(about.as_bytes());
        let opened = self.key.as_ref()?.open_in_place(nonce, aad, &mut text);
        let length = opened.ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_purpose_open_a_seal() {
        let seal = Seal::new(&[1; 32]);
        let sealed = seal.close(b"canary-refresh-token", "one").expect("sealed");
        assert!(memchr::memmem::find(&sealed, b"canary").is_none());
        let opened = seal.open(&sealed, "one").expect("opened");
        assert_eq!(&opened[..], b"canary-refresh-token");
        assert!(seal.open(&sealed, "two").is_none());
        assert!(Seal::new(&[2; 32]).open(&sealed, "one").is_none());
    }

    #[test]
    fn the_same_text_is_never_sealed_alike() {
        let seal = Seal::new(&[1; 32]);
        assert_ne!(seal.close(b"text", "one"), seal.close(b"text", "one"));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_refused() {
        let seal = Seal::new(&[1; 32]);
        let sealed = seal.close(b"text", "one").expect("sealed");
        for at in 0..sealed.len() {
            assert!(seal.open(&sealed[..at], "one").is_none(), "cut at {at}");
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(seal.open(&flipped, "one").is_none(), "flipped at {at}");
        }
    }
}
